"""Requests for runs that are not in memory: read together, taken in once, and forgotten when they are answered."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Stored
from makegood.worker import reader
from tests.until import eventually, until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio

Go = mg.Signal("go", int)


@mg.workflow
async def waiting(count: int) -> list[int]:
    return [await Go.receive() for _ in range(count)]


class CountingStore(MemoryStore):
    """Notes which runs are read together."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []
        self.error: Exception | None = None

    async def stored(self, run_ids: Sequence[str]) -> Sequence[Stored]:
        self.reads.append(list(run_ids))
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0)
        return await super().stored(run_ids)


async def sleeping(engine: mg.Engine, runs: int, signals_each: int = 1) -> list[mg.RunHandle[list[int]]]:
    handles = [await engine.start(waiting, signals_each, id=f"run-{number}") for number in range(runs)]
    await until(lambda: not engine.backend.worker.runs)  # type: ignore[attr-defined]
    return handles


async def test_runs_that_are_signalled_at_once_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READ_AT_ONCE", 4)
    store = CountingStore()
    async with engine_on(store, waiting, waiting_limit=0) as engine:
        runs = await sleeping(engine, 10)
        await asyncio.gather(*(run.signal(Go, number) for number, run in enumerate(runs)))
        assert [await run.result() for run in runs] == [[number] for number in range(10)]
        assert [len(read) for read in store.reads] == [4, 4, 2]


async def test_a_run_that_is_signalled_many_times_at_once_is_taken_in_once() -> None:
    store = CountingStore()
    async with engine_on(store, waiting, waiting_limit=0) as engine:
        (run,) = await sleeping(engine, 1, signals_each=20)
        await asyncio.gather(*(run.signal(Go, number) for number in range(20)))
        assert await run.result() == list(range(20))
        assert store.reads == [["run-0"]]


async def test_signals_and_evictions_in_any_order_lose_nothing() -> None:
    async with engine_on(CountingStore(), waiting, waiting_limit=0) as engine:
        runs = await sleeping(engine, 5, signals_each=30)

        async def signal(run: mg.RunHandle[list[int]], offset: int) -> None:
            for number in range(offset, 30, 3):
                await run.signal(Go, number)
                await asyncio.sleep(0)

        await asyncio.gather(*(signal(run, offset) for run in runs for offset in range(3)))
        for run in runs:
            assert sorted(await run.result()) == list(range(30))
            await run.verify()


async def test_whoever_signals_learns_that_the_store_cannot_be_read() -> None:
    store = CountingStore()
    async with engine_on(store, waiting, waiting_limit=0) as engine:
        (run,) = await sleeping(engine, 1)
        store.error = mg.StoreError("the disk is gone")
        with pytest.raises(mg.StoreError, match="the disk is gone"):
            await run.signal(Go, 1)
        store.error = None
        await run.signal(Go, 2)
        assert await run.result() == [2]


async def test_a_signal_to_a_run_that_does_not_exist_is_an_error_and_the_others_arrive() -> None:
    async with engine_on(CountingStore(), waiting, waiting_limit=0) as engine:
        (run,) = await sleeping(engine, 1)
        nobody = mg.RunHandle("nobody", engine, waiting)
        outcomes = await asyncio.gather(nobody.signal(Go, 1), run.signal(Go, 1), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [mg.RunNotFound, type(None)]
        assert await run.result() == [1]


async def test_answered_requests_of_other_processes_are_forgotten() -> None:
    store = MemoryStore()
    async with engine_on(store, waiting) as engine:
        run = await engine.start(waiting, 51, id="run")
        inbox = engine.backend.worker.recovery.inbox  # type: ignore[attr-defined]
        for number in range(50):
            request = Request("signal", "somebody", result=msgspec.Raw(b"%d" % number), name="go")
            await store.post("run", msgspec.json.encode(request))

        async def nothing_posted() -> bool:
            return not await store.inbox()

        await eventually(nothing_posted)
        engine.backend.worker.recovery.look()  # type: ignore[attr-defined] # as when anybody writes
        await until(lambda: not inbox._granted)
        await run.signal(Go, 50)
        assert await run.result() == list(range(51))
