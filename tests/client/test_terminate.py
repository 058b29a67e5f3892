"""``run.terminate()`` ends a run at once, in every state, and lists what it leaves behind."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import SealedEntry
from tests.until import eventually, parked, until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


class Port:
    """A container port: what has begun, what has ended, and what is refused."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.refused: set[str] = set()
        self.gate = asyncio.Event()


PORT = Port()


@pytest.fixture(autouse=True)
def port() -> Port:
    PORT.__init__()  # type: ignore[misc]
    return PORT


def call(what: str) -> str:
    PORT.begun.append(what)
    if what in PORT.refused:
        raise RuntimeError(f"{what} is refused")
    return what


@mg.step(retry=mg.Retry(delays=[0, 3_600]))
async def book(ship: str) -> str:
    return call("book")


@book.compensation(retry=mg.Retry(delays=[0, 3_600]))
async def unbook(_: str | None, ship: str) -> None:
    call("unbook")


@mg.step(retry=None, on_exhausted="park")
async def clear(ship: str) -> str:
    return call("clear")


@mg.step
async def load(ship: str) -> str:
    call("load")
    await PORT.gate.wait()
    PORT.ended.append("load")
    return "load"


@load.compensation
async def unload(_: str | None, ship: str) -> None:
    call("unload")


@mg.step(retry=None)
async def fail() -> None:
    raise RuntimeError("the ship has sunk")


@mg.workflow
async def loading(ship: str) -> None:
    await book(ship)
    await load(ship)


@mg.workflow
async def clearance(ship: str) -> None:
    await book(ship)
    await clear(ship)


@mg.workflow
async def waiting(ship: str) -> None:
    await book(ship)
    await asyncio.sleep(1_000_000)


@mg.workflow
async def sinking(ship: str) -> None:
    await book(ship)
    await fail()


async def left_open(run: mg.RunHandle[object]) -> tuple[str, ...]:
    with pytest.raises(mg.RunTerminated) as terminated:
        await run.result()
    return terminated.value.residue


async def reaches(run: mg.RunHandle[object], event: str) -> None:
    async def is_there() -> bool:
        return any(item.event == event for item in await run.history())

    await eventually(is_there)


async def test_an_attempt_under_way_is_stopped_and_its_late_result_is_not_heard(port: Port) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(loading, "Ada")
        await until(lambda: "load" in port.begun)
        await run.terminate("the berth is gone", by="ann")
        assert await left_open(run) == ("book", "load")
        port.gate.set()
        history = await run.history()
    assert history[-1].event == "RunTerminated"
    assert history[-2].fields == {"action": "terminate", "by": "ann", "why": "the berth is gone"}
    assert port.ended == []


async def test_a_result_that_arrives_while_the_ending_is_being_committed_is_not_applied(port: Port) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(loading, "Ada")
        await until(lambda: "load" in port.begun)
        port.gate.set()
        await run.terminate()
        assert await left_open(run) == ("book", "load")
        assert [item.event for item in await run.history()][-2:] == ["OperatorActed", "RunTerminated"]


async def test_a_step_that_waits_for_its_next_attempt(port: Port) -> None:
    port.refused = {"book"}
    async with mg.Engine("memory://") as engine:
        run = await engine.start(waiting, "Ada")
        await reaches(run, "AttemptFailed")
        await run.terminate()
        assert await left_open(run) == ()


async def test_a_run_that_waits_for_a_timer() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(waiting, "Ada")
        await reaches(run, "TimerStarted")
        await run.terminate()
        assert await left_open(run) == ("book",)


async def test_a_parked_run(port: Port) -> None:
    port.refused = {"clear"}
    async with mg.Engine("memory://") as engine:
        run = await engine.start(clearance, "Ada")
        await parked(run)
        await run.terminate()
        assert await left_open(run) == ("book",)
        assert (await run.describe()).parked == {}


async def test_a_run_whose_compensation_waits_for_its_next_attempt(port: Port) -> None:
    port.refused = {"unbook"}
    async with mg.Engine("memory://") as engine:
        run = await engine.start(sinking, "Ada")
        await reaches(run, "CompensationScheduled")
        await until(lambda: "unbook" in port.begun)
        await run.terminate()
        assert await left_open(run) == ("book",)


async def test_an_ended_run_is_not_terminated_again() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(waiting, "Ada", id="order-1")
        await run.terminate()
        with pytest.raises(
            mg.NotPossible, match="order-1 cannot terminate: it has already ended, TERMINATED"
        ):
            await run.terminate()


async def test_a_run_of_another_process(tmp_path: Path, port: Port) -> None:
    url = f"sqlite:///{tmp_path}/port.db"
    async with mg.Engine(url) as worker, mg.Engine(url, work=False) as client:
        mine = await worker.start(loading, "Ada", id="order-1")
        await until(lambda: "load" in port.begun)
        run = await client.get("order-1")
        await run.terminate()
        assert await left_open(mine) == await left_open(run) == ("book", "load")


async def test_a_run_whose_workflow_no_live_worker_knows() -> None:
    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store) as engine:
        run = await engine.get("order-1")
        await run.terminate("nobody knows it", by="ann")
        assert await left_open(run) == ("book",)
        assert await run.verify() == len({item.entry for item in await run.history()})


async def test_a_run_whose_code_no_longer_fits(port: Port) -> None:
    @mg.workflow(name="waiting")
    async def changed(ship: str) -> None:
        await clear(ship)

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await parked(run)
        await run.terminate()
        assert await left_open(run) == ("book",)


async def test_a_run_that_cannot_be_cancelled_because_its_code_does_not_fit_is_told_of_terminate() -> None:
    @mg.workflow(name="waiting")
    async def changed(ship: str) -> None:
        await clear(ship)

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await parked(run)
        with pytest.raises(mg.NotPossible, match="terminate"):
            await run.cancel()


async def test_a_poisonous_run_is_ended_before_a_new_worker_takes_it_in(port: Port) -> None:
    @mg.workflow(name="waiting")
    async def poisonous(ship: str) -> None:
        port.begun.append("poison")

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store, work=False) as client:
        run = await client.get("order-1")
        asking = asyncio.create_task(run.terminate())
        await until(lambda: store._inbox)
        async with engine_on(store, poisonous):
            await asking
    assert port.begun == ["book"]


async def test_a_run_whose_input_is_too_large_for_its_workflow_temporal_6638() -> None:
    """Temporal: a run with an oversized input could not even be terminated."""

    @mg.workflow(name="waiting")
    async def changed(ship: int) -> None: ...

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "A" * 1_500_000, id="order-1"), "TimerStarted")
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await run.terminate()
        assert await left_open(run) == ("book",)


@pytest.mark.parametrize(
    ("damage", "residue"),
    [
        ("UPDATE journal SET data = 'x' WHERE number = 2", ("book", "entry 2 on")),
        ("DELETE FROM journal WHERE number = 1", ("entry 1 on",)),
        ("DELETE FROM journal", ("entry 1 on",)),
    ],
)
async def test_a_run_whose_journal_cannot_be_read(
    tmp_path: Path, damage: str, residue: tuple[str, ...]
) -> None:
    path = tmp_path / "port.db"
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(damage)
    async with mg.Engine(f"sqlite:///{path}", [waiting]) as engine:
        run = await engine.get("order-1")
        await run.terminate()
        assert [row.status for row in await engine.list()] == ["TERMINATED"]
        if damage != "DELETE FROM journal":
            with pytest.raises(mg.JournalCorrupt):
                await run.result()
    with closing(apsw.Connection(str(path))) as connection:
        last = connection.execute("SELECT data FROM journal ORDER BY number DESC LIMIT 1").get
    assert all(name in last.decode() for name in residue)


# ---- after undoing what was done -------------------------------------------------------------------------------------


async def test_what_was_done_is_undone_first(port: Port) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(loading, "Ada")
        await until(lambda: "load" in port.begun)
        await run.terminate("the berth is gone", compensate=True)
        assert await left_open(run) == ()
        assert (await run.describe()).undone == ["load", "book"]
    assert port.begun == ["book", "load", "unload", "unbook"]


async def test_a_run_whose_code_no_longer_fits_is_undone_without_it(port: Port) -> None:
    @mg.workflow(name="waiting")
    async def changed(ship: str) -> None:
        port.begun.append("the changed code")
        await clear(ship)

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await parked(run)
        port.begun.clear()
        await run.terminate(compensate=True)
        assert await left_open(run) == ()
    assert port.begun == ["unbook"]


async def test_a_restart_while_such_a_run_is_undone(port: Port) -> None:
    @mg.workflow(name="waiting")
    async def changed(ship: str) -> None:
        port.begun.append("the changed code")
        await clear(ship)

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    port.refused = {"unbook"}
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await parked(run)
        await run.terminate(compensate=True)
        await reaches(run, "CompensationScheduled")
        await reaches(run, "AttemptFailed")
    port.begun.clear()
    port.refused = {"unbook"}
    async with engine_on(store, changed) as engine:
        run = await engine.get("order-1")
        await run.terminate("enough")
        assert await left_open(run) == ("book",)
    assert "the changed code" not in port.begun


async def test_a_run_whose_steps_nobody_knows_is_not_undone_and_nothing_is_changed() -> None:
    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store) as engine:
        run = await engine.get("order-1")
        before = await run.history()
        with pytest.raises(mg.NotPossible, match=r"no live worker knows its workflow waiting.*without comp"):
            await run.terminate(compensate=True)
        assert await run.history() == before


async def test_a_poisonous_run_is_undone_before_a_new_worker_takes_it_in(port: Port) -> None:
    @mg.workflow(name="waiting")
    async def poisonous(ship: str) -> None:
        port.begun.append("poison")

    store = MemoryStore()
    async with engine_on(store) as engine:
        await reaches(await engine.start(waiting, "Ada", id="order-1"), "TimerStarted")
    async with engine_on(store, work=False) as client:
        run = await client.get("order-1")
        asking = asyncio.create_task(run.terminate(compensate=True))
        await until(lambda: store._inbox)
        async with engine_on(store, poisonous) as engine:
            await asking
            assert await left_open(await engine.get("order-1")) == ()
    assert port.begun == ["book", "unbook"]


class SlowStore(MemoryStore):
    """Its first reading of a journal waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.gate = asyncio.Event(), asyncio.Event()

    async def journal(self, *args: Any, **options: Any) -> Sequence[SealedEntry]:
        if not self.asked.is_set():
            self.asked.set()
            await self.gate.wait()
        return await super().journal(*args, **options)


async def test_a_run_that_is_terminated_while_others_are_being_adopted_hears_nothing_more():
    store = SlowStore()
    store.asked.set()
    async with engine_on(store, loading, grace_seconds=0) as engine:
        for number in (1, 2):
            await engine.start(loading, "ship", id=f"l-{number}")
        await until(lambda: PORT.begun.count("load") == 2)
    store.asked.clear()
    async with engine_on(store, loading, grace_seconds=0) as engine:
        await store.asked.wait()  # both are being adopted
        run = await engine.get("l-2")
        await run.terminate("enough")
        store.gate.set()
        await until(lambda: PORT.begun.count("load") == 3)  # that of the other one
        assert (await run.history())[-1].event == "RunTerminated"
        await run.verify()
