"""A run is asked, and its workflow answers: validated before, handled once, durable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import makegood as mg
from makegood.definition.payload import LIMIT_BYTES
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store
from makegood.store.sqlite import SqliteStore
from tests.until import eventually, until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


class Address(msgspec.Struct):
    street: str


class Slip(msgspec.Struct):
    number: int
    street: str


ChangeAddress = mg.Update("change_address", Address, Slip)
Finish = mg.Update("finish", None)
DONE: list[str] = []
GATE: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    DONE.clear()
    GATE[:] = [asyncio.Event()]


@mg.step(retry=None)
async def redirect(address: Address) -> int:
    if address.street == "hold":
        await GATE[0].wait()
    if address.street == "nowhere":
        raise ConnectionError("no such street")
    DONE.append(address.street)
    return len(DONE)


@redirect.compensation
async def redirect_back(number: int | None, address: Address) -> None:
    DONE.append(f"not {address.street}")


@mg.step(retry=None)
async def prepare() -> None:
    await GATE[0].wait()


@mg.step(retry=None)
async def fail() -> None:
    raise RuntimeError("out of stock")


def still_here(address: Address) -> None:
    if address.street == "abroad":
        raise ValueError("we do not deliver abroad")


@mg.workflow
async def deliver(*, late: bool = False, ending: str = "well") -> int:
    if late:
        await prepare()
    finished = asyncio.Event()
    changes = 0

    @ChangeAddress.handler(validator=still_here)
    async def change(address: Address) -> Slip:
        nonlocal changes
        changes += 1
        return Slip(await redirect(address), address.street)

    Finish.handler(lambda _: finished.set())
    await finished.wait()
    if ending == "badly":
        await fail()
    return changes


class Office:
    """Where a run is asked from: the worker's own process, or another one."""

    def __init__(self, engine: mg.Engine, client: mg.Engine, store: Callable[[], Store]) -> None:
        self.engine = engine
        self.client = client
        self.store = store

    async def started(self, **options: Any) -> "mg.RunHandle[Any]":
        await self.engine.start(deliver, id="order-1", **options)
        return await self.client.get("order-1")


@pytest.fixture(params=["memory, same process", "sqlite, same process", "sqlite, another process"])
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    memory = MemoryStore()

    def store() -> Store:
        return memory if "memory" in request.param else SqliteStore(str(tmp_path / "orders.db"))

    @asynccontextmanager
    async def client(engine: mg.Engine) -> AsyncIterator[mg.Engine]:
        if "same" in request.param:
            yield engine
        else:
            async with engine_on(store(), work=False) as other:
                yield other

    async with engine_on(store(), deliver, grace_seconds=0.1) as engine, client(engine) as asking:
        yield Office(engine, asking, store)


async def events(run: "mg.RunHandle[Any]") -> list[str]:
    return [item.event for item in await run.history()]


async def test_the_reply_is_typed_and_the_run_goes_on(office: Office) -> None:
    run = await office.started()
    assert await run.update(ChangeAddress, Address("Elm St")) == Slip(1, "Elm St")
    assert await run.update(ChangeAddress, Address("Oak St")) == Slip(2, "Oak St")
    assert await run.update(Finish, None) is None
    assert await run.result() == 2


async def test_a_rejected_update_leaves_no_trace(office: Office) -> None:
    run = await office.started()
    before = await events(run)
    with pytest.raises(mg.UpdateRejected) as rejected:
        await run.update(ChangeAddress, Address("abroad"))
    assert rejected.value.reason == "ValueError: we do not deliver abroad"
    assert (rejected.value.run_id, rejected.value.update) == ("order-1", "change_address")
    assert await events(run) == before


async def test_a_handler_that_fails_answers_with_its_error_and_the_run_goes_on(office: Office) -> None:
    run = await office.started()
    with pytest.raises(mg.UpdateFailed, match="no such street") as failed:
        await run.update(ChangeAddress, Address("nowhere"))
    assert failed.value.failure.type == "makegood.errors.StepFailed"
    await run.update(Finish, None)
    assert await run.result() == 1


async def test_the_same_id_is_handled_once_and_answered_alike_also_after_the_end(office: Office) -> None:
    run = await office.started()
    first = await run.update(ChangeAddress, Address("Elm St"), id="click-7")
    assert await run.update(ChangeAddress, Address("Elm St"), id="click-7") == first
    await run.update(Finish, None)
    await run.result()
    assert await run.update(ChangeAddress, Address("Elm St"), id="click-7") == first
    assert DONE == ["Elm St"]


async def test_the_same_id_asked_twice_at_once_is_handled_once(office: Office) -> None:
    run = await office.started()
    asked = [run.update(ChangeAddress, Address("Elm St"), id="click-7") for _ in range(5)]
    assert await asyncio.gather(*asked) == [Slip(1, "Elm St")] * 5
    assert DONE == ["Elm St"]


async def test_the_same_id_with_another_value_is_refused(office: Office) -> None:
    run = await office.started()
    await run.update(ChangeAddress, Address("Elm St"), id="click-7")
    with pytest.raises(mg.NotPossible, match="something else under the update id click-7"):
        await run.update(ChangeAddress, Address("Oak St"), id="click-7")
    await run.update(Finish, None)
    await run.result()
    with pytest.raises(mg.NotPossible, match="something else under the update id click-7"):
        await run.update(ChangeAddress, Address("Oak St"), id="click-7")


async def test_an_update_waits_for_its_handler(office: Office) -> None:
    run = await office.started(late=True)
    asked = asyncio.create_task(run.update(ChangeAddress, Address("Elm St")))
    late = asyncio.create_task(run.update(ChangeAddress, Address("abroad")))
    await until(lambda: office.engine.backend.worker.runs["order-1"].jobs)  # type: ignore[attr-defined]
    assert not asked.done()
    GATE[0].set()
    assert await asked == Slip(1, "Elm St")
    with pytest.raises(mg.UpdateRejected):
        await late


async def test_an_update_that_nobody_handles_fails_when_the_run_ends(office: Office) -> None:
    run = await office.started(late=True)
    asked = asyncio.create_task(run.update(mg.Update("dance", str, str), "tango"))
    await until(lambda: office.engine.backend.worker.runs["order-1"].jobs)  # type: ignore[attr-defined]
    GATE[0].set()
    await run.update(Finish, None)
    with pytest.raises(mg.NotPossible, match="answers no update dance: it has already ended, COMPLETED"):
        await asked


async def test_an_update_still_under_way_when_the_workflow_ends_is_answered_with_an_error(
    office: Office,
) -> None:
    run = await office.started()
    asked = asyncio.create_task(run.update(ChangeAddress, Address("hold")))

    async def is_accepted() -> bool:
        return "UpdateAccepted" in await events(run)

    await eventually(is_accepted)
    await run.update(Finish, None)
    with pytest.raises(mg.UpdateFailed, match="ended before"):
        await asked
    assert await run.result() == 1


async def test_an_update_still_under_way_when_the_run_is_terminated_is_answered_with_an_error(
    office: Office,
) -> None:
    run = await office.started()
    asked = asyncio.create_task(run.update(ChangeAddress, Address("hold")))

    async def is_accepted() -> bool:
        return "UpdateAccepted" in await events(run)

    await eventually(is_accepted)
    await run.terminate(why="closing")
    with pytest.raises(mg.NotPossible, match="already ended, TERMINATED"):
        await asked


async def test_what_a_handler_has_done_is_undone_with_the_rest(office: Office) -> None:
    run = await office.started(ending="badly")
    await run.update(ChangeAddress, Address("Elm St"))
    await run.update(Finish, None)
    with pytest.raises(mg.RunCompensated):
        await run.result()
    assert DONE == ["Elm St", "not Elm St"]


async def test_a_value_of_the_wrong_type_is_not_sent(office: Office) -> None:
    run = await office.started()
    before = await events(run)
    with pytest.raises(mg.PayloadError, match="update change_address"):
        await run.update(ChangeAddress, "Elm St")  # type: ignore[arg-type]
    assert await events(run) == before


async def test_a_value_of_a_type_that_the_workflow_does_not_take_is_refused(office: Office) -> None:
    run = await office.started()
    before = await events(run)
    with pytest.raises(mg.PayloadError, match="update change_address"):
        await run.update(mg.Update("change_address", int, int), 5)
    assert await events(run) == before


async def test_a_value_that_is_too_large_is_not_sent(office: Office) -> None:
    run = await office.started()
    with pytest.raises(mg.PayloadError, match="the limit is"):
        await run.update(ChangeAddress, Address("x" * LIMIT_BYTES))


async def test_a_reply_of_the_wrong_type_is_the_callers_error(office: Office) -> None:
    wrong = mg.Update("wrong", None, int)

    @mg.workflow
    async def careless() -> None:
        finished = asyncio.Event()
        wrong.handler(lambda _: "five")  # type: ignore[arg-type]
        Finish.handler(lambda _: finished.set())
        await finished.wait()

    await office.engine.start(careless, id="careless")
    run = await office.client.get("careless")
    with pytest.raises(mg.UpdateFailed, match="the reply to update wrong"):
        await run.update(wrong, None)
    await run.update(Finish, None)
    await run.result()


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\nb", 5])
async def test_an_id_that_cannot_be_used_is_refused(bad: Any) -> None:
    async with engine_on(MemoryStore()) as engine:
        run = await engine.start(deliver)
        with pytest.raises(mg.UsageError, match="update id"):
            await run.update(ChangeAddress, Address("Elm St"), id=bad)


async def test_an_unknown_run_and_something_that_is_no_update_are_refused(office: Office) -> None:
    await office.started()
    with pytest.raises(mg.RunNotFound):
        await mg.RunHandle("lost", office.client, None).update(Finish, None)
    with pytest.raises(mg.UsageError, match=r"takes an mg\.Update"):
        await mg.RunHandle("order-1", office.client, None).update(5, None)  # type: ignore[call-overload]


async def test_a_run_that_has_left_memory_is_loaded_to_answer(tmp_path: Path) -> None:
    async with engine_on(SqliteStore(str(tmp_path / "orders.db")), waiting_limit=0) as engine:
        run = await engine.start(deliver, id="order-1")
        worker = engine.backend.worker  # type: ignore[attr-defined]
        await until(lambda: "order-1" not in worker.runs)
        assert await run.update(ChangeAddress, Address("Elm St")) == Slip(1, "Elm St")
        await until(lambda: "order-1" not in worker.runs)
        await run.update(Finish, None)
        assert await run.result() == 1


async def test_an_update_under_way_is_answered_by_the_next_worker(tmp_path: Path) -> None:
    path = str(tmp_path / "orders.db")
    async with engine_on(SqliteStore(path), work=False) as client:
        async with engine_on(SqliteStore(path), grace_seconds=0) as engine:
            await engine.start(deliver, id="order-1")
            run = await client.get("order-1")
            asked = asyncio.create_task(run.update(ChangeAddress, Address("hold")))

            async def is_accepted() -> bool:
                return "UpdateAccepted" in await events(run)

            await eventually(is_accepted)
        GATE[0].set()
        async with engine_on(SqliteStore(path), deliver):
            assert await asked == Slip(1, "hold")


async def test_an_update_that_waits_for_its_handler_survives_its_worker(tmp_path: Path) -> None:
    path = str(tmp_path / "orders.db")
    async with engine_on(SqliteStore(path), work=False) as client:
        async with engine_on(SqliteStore(path), grace_seconds=0) as engine:
            await engine.start(deliver, late=True, id="order-1")
            run = await client.get("order-1")
            asked = asyncio.create_task(run.update(ChangeAddress, Address("Elm St")))
            worker = engine.backend.worker  # type: ignore[attr-defined]
            await until(lambda: worker.recovery.inbox._holding)
        GATE[0].set()
        async with engine_on(SqliteStore(path), deliver):
            assert await asked == Slip(1, "Elm St")


async def test_the_answer_is_not_told_before_it_is_durable() -> None:
    store = MemoryStore()
    held = asyncio.Event()
    commit = store.commit

    async def slow(epoch: int, writes: Any) -> Any:
        if any(b"UpdateAnswered" in write.entry.data for write in writes):
            await held.wait()
        return await commit(epoch, writes)

    store.commit = slow  # type: ignore[method-assign]
    async with engine_on(store) as engine:
        run = await engine.start(deliver)
        asked = asyncio.create_task(run.update(ChangeAddress, Address("Elm St")))
        worker = engine.backend.worker  # type: ignore[attr-defined]
        await until(lambda: (worker.runs[run.id].state.updates or {}) and worker.runs[run.id].committing)
        assert not asked.done()
        held.set()
        assert await asked == Slip(1, "Elm St")


async def test_a_worker_leaves_no_request_in_the_inbox(tmp_path: Path) -> None:
    path = str(tmp_path / "orders.db")
    async with engine_on(SqliteStore(path)) as engine, engine_on(SqliteStore(path), work=False) as client:
        await engine.start(deliver, id="order-1")
        run = await client.get("order-1")
        await run.update(ChangeAddress, Address("Elm St"))
        with pytest.raises(mg.UpdateRejected):
            await run.update(ChangeAddress, Address("abroad"))
        assert list(await client._store.inbox()) == []


async def test_an_update_is_asked_by_its_name_and_answered_with_plain_values(office: Office) -> None:
    run = await office.started()
    assert await run.update("change_address", {"street": "Elm St"}) == {"number": 1, "street": "Elm St"}
    assert await run.update("change_address", Address("Oak St")) == {"number": 2, "street": "Oak St"}
    with pytest.raises(mg.PayloadError, match=r"update change_address: the value does not fit"):
        await run.update("change_address", 5)
    with pytest.raises(
        mg.PayloadError, match=r"update change_address: [\d,]+ bytes of JSON, and the limit is"
    ):
        await run.update("change_address", {"street": "x" * LIMIT_BYTES})


async def test_the_time_for_an_answer_is_limited_and_the_answer_is_heard_later(office: Office) -> None:
    run = await office.started()
    with pytest.raises(
        TimeoutError, match=r"run order-1 has not answered update too_early within 0\.05 s"
    ) as late:
        await run.update(mg.Update("too_early", int, int), 5, timeout=0.05)
    assert str(late.value).endswith(f"ask again under the id {late.value.args[0].split()[-1]}")


@pytest.mark.parametrize("wrong", [-1, float("nan"), 10**400, "5", True])
async def test_a_time_for_an_answer_that_makes_no_sense_is_refused(office: Office, wrong: Any) -> None:
    run = await office.started()
    with pytest.raises(mg.UsageError, match=r"update change_address: timeout="):
        await run.update(ChangeAddress, Address("Elm St"), timeout=wrong)


async def test_without_a_worker_the_time_for_an_answer_is_limited_too_and_it_can_be_asked_for_again(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "orders.db")
    async with engine_on(SqliteStore(path), work=False) as client:
        run = await client.start(deliver, id="order-1")
        with pytest.raises(TimeoutError, match=r"or no worker is\. .* under the id click-7\.$"):
            await run.update(ChangeAddress, Address("Elm St"), id="click-7", timeout=0.05)
        async with engine_on(SqliteStore(path), deliver):
            assert await run.update(ChangeAddress, Address("Elm St"), id="click-7") == Slip(1, "Elm St")
            assert (await run.describe()).status == "RUNNING"
