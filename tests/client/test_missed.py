"""Best-effort steps that failed: listed over all runs, and tried again once their runs have completed."""

import asyncio
import contextlib
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store, Write
from makegood.store.sqlite import SqliteStore
from tests.until import eventually
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


class Mail:
    """What was sent, under which keys, and whether the server is down."""

    def __init__(self) -> None:
        self.down = True
        self.sent: list[str] = []
        self.tried: list[tuple[str, int]] = []
        self.gate: asyncio.Event | None = None


MAIL = Mail()


@pytest.fixture(autouse=True)
def mail() -> Mail:
    MAIL.__init__()  # type: ignore[misc]
    return MAIL


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runs.db"))


@mg.step(critical=False, retry=None)
async def confirm(order: str) -> str:
    MAIL.tried.append((mg.idempotency_key(), mg.attempt()))
    if MAIL.gate is not None:
        await MAIL.gate.wait()
    if MAIL.down:
        raise OSError("mail server down")
    MAIL.sent.append(mg.idempotency_key())
    return f"{order} confirmed"


@confirm.compensation
async def apologise(_: str | None, order: str) -> None:
    MAIL.sent.append("sorry")


@mg.step(critical=False, retry=None)
def survey(order: str) -> None:
    if MAIL.down:
        raise OSError("mail server down")


@mg.step(retry=None)
async def fail() -> None:
    raise ValueError("no")


@mg.workflow
async def fulfil(order: str) -> str:
    await confirm(order)
    return order


@mg.workflow
async def both(order: str) -> None:
    await asyncio.gather(confirm(order), survey(order))


@mg.workflow
async def fails(order: str) -> None:
    await confirm(order)
    await fail()


@mg.workflow
async def parent(order: str) -> None:
    await fulfil(order)
    await mg.sleep(0.2)
    await fail()


async def completed(engine: mg.Engine, workflow: Any = fulfil, id: str = "o-1") -> mg.RunHandle[Any]:
    run = await engine.start(workflow, id, id=id)
    await run.result()
    return run


async def test_a_missed_step_is_listed_until_it_is_made_good(store: Store) -> None:
    async with engine_on(store, fulfil) as engine:
        run = await completed(engine)
        (missed,) = await engine.missed()
        assert (missed.run, missed.workflow, missed.step, missed.name) == ("o-1", "fulfil", 1, "confirm")
        assert str(missed.failure) == "OSError: mail server down"
        MAIL.down = False
        await run.retry_missed(why="the server is back", by="ann")
        assert await engine.missed() == []
        described = await run.describe()
        assert (described.status, described.missed, described.result) == ("COMPLETED", [], "o-1")
        assert described.steps[0].result == "o-1 confirmed"
        assert await run.verify() > 0


async def test_the_idempotency_key_stays_and_the_attempts_go_on_counting(store: Store) -> None:
    async with engine_on(store, fulfil) as engine:
        run = await completed(engine)
        MAIL.down = False
        await run.retry_missed()
        assert MAIL.tried == [("o-1/1/confirm", 1), ("o-1/1/confirm", 2)]


async def test_who_and_why_are_recorded_with_the_outcome(store: Store) -> None:
    async with engine_on(store, fulfil) as engine:
        run = await completed(engine)
        with pytest.raises(
            mg.StillMissed, match="failed again, and is still missed: OSError: mail server down"
        ):
            await run.retry_missed(why="hope", by="ann")
        (item,) = [item for item in await run.history() if item.event == "MissedStepRetried"]
        assert (item.fields["by"], item.fields["why"], item.fields["attempt"]) == ("ann", "hope", 2)
        assert [missed.attempts for missed in await engine.missed()] == [2]


async def test_every_missed_step_of_a_run_is_tried_a_plain_function_too(store: Store) -> None:
    async with engine_on(store, both) as engine:
        run = await completed(engine, both)
        MAIL.down = False
        await run.retry_missed()
        assert (await run.describe()).missed == []


async def test_nothing_to_try_again_is_said_so(store: Store) -> None:
    async with engine_on(store, fulfil, fails) as engine:
        run = await engine.start(fails, "o-2")
        with pytest.raises(mg.RunFailed):
            await run.result()
        assert await engine.missed() == []
        with pytest.raises(mg.NotPossible, match="once it has COMPLETED"):
            await run.retry_missed()
        MAIL.down = False
        with pytest.raises(mg.NotPossible, match="has no missed steps"):
            await (await completed(engine)).retry_missed()


async def test_two_who_ask_at_once_have_it_done_once(store: Store) -> None:
    async with engine_on(store, fulfil) as engine:
        run = await completed(engine)
        MAIL.down, MAIL.gate = False, asyncio.Event()
        asked = [asyncio.create_task(run.retry_missed()) for _ in range(2)]
        await eventually(lambda: said(len(MAIL.tried) == 2))
        MAIL.gate.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert (
            sorted(map(type, outcomes), key=str) == [type(None), mg.NotPossible] or outcomes.count(None) == 1
        )
        assert MAIL.sent == ["o-1/1/confirm"]


async def test_lists_are_narrowed_by_workflow_and_come_in_pages(store: Store) -> None:
    async with engine_on(store, fulfil, both) as engine:
        for n in range(3):
            await completed(engine, fulfil, f"o-{n}")
        await completed(engine, both, "b-1")
        assert [one.run for one in await engine.missed(workflow="fulfil")] == ["o-2", "o-1", "o-0"]
        first = await engine.missed(workflow="fulfil", limit=1)
        rest = await engine.missed(workflow="fulfil", before_key=first[-1].key)
        assert [one.run for one in rest] == ["o-1", "o-0"]


async def test_a_child_whose_missed_step_was_made_good_is_undone_with_it(store: Store) -> None:
    async with engine_on(store, parent, fulfil) as engine:
        run = await engine.start(parent, "o-1", id="p-1")
        await eventually(lambda: said_missed(engine))
        MAIL.down = False
        child = await engine.get("p-1/1-fulfil")
        await child.retry_missed()
        with pytest.raises(mg.RunCompensated):
            await run.result()
        assert MAIL.sent == ["p-1/1-fulfil/1/confirm", "sorry"]
        assert (await child.describe()).status == "COMPENSATED"


async def test_without_a_worker_it_waits_for_the_next_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makegood.backend.local.ANSWER_SECONDS", 0.05)
    async with engine_on(store, fulfil) as engine:
        await completed(engine)
    async with engine_on(store, work=False) as client:
        with pytest.raises(mg.NoWorker):
            await (await client.get("o-1")).retry_missed()
    MAIL.down = False
    async with engine_on(store, fulfil) as engine:
        await eventually(lambda: said_none_missed(engine))
    assert MAIL.sent == ["o-1/1/confirm"]


class Dying(MemoryStore):
    """Dies at its n-th write, before or after that is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = 10_000
        self.durable = False

    async def commit(self, epoch: int, writes: Any) -> list[Write]:
        self.writes_left -= 1
        if self.writes_left < 0 and not self.durable:
            raise mg.StoreError("died")
        taken = await super().commit(epoch, writes)
        if self.writes_left < 0:
            raise mg.StoreError("died")
        return taken

    async def post(self, run_id: str, data: bytes) -> int:
        self.writes_left -= 1
        if self.writes_left < 0 and not self.durable:
            raise mg.StoreError("died")
        number = await super().post(run_id, data)
        if self.writes_left < 0:
            raise mg.StoreError("died")
        return number


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("write", range(3))
async def test_a_crash_at_any_write_records_it_once_and_loses_no_accepted_request(
    write: int, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makegood.backend.local.ANSWER_SECONDS", 0.05)
    store = Dying()
    async with engine_on(store, fulfil) as engine:
        run = await completed(engine)
        MAIL.down = False
        store.writes_left, store.durable = write, durable
        with contextlib.suppress(mg.MakegoodError, TimeoutError):
            await asyncio.wait_for(run.retry_missed(by="ann"), 1)
    accepted = bool(store._inbox) or write > 0
    store.writes_left, store._taken = 10_000, False
    async with engine_on(store, fulfil) as engine:
        run = await engine.get("o-1")
        if accepted:  # nobody asks again
            await eventually(lambda: said_none_missed(engine))
        else:
            await run.retry_missed(by="ann")
        events = [item for item in await run.history() if item.event == "MissedStepRetried"]
        assert [event.fields.get("failure") for event in events] == [None]
        assert set(MAIL.sent) == {"o-1/1/confirm"}
        assert (await run.describe()).missed == []
        assert await run.verify() > 0


async def said(yes: bool) -> bool:
    return yes


async def said_missed(engine: mg.Engine) -> bool:
    return bool(await engine.missed())


async def said_none_missed(engine: mg.Engine) -> bool:
    return not await engine.missed()
