"""What a run held in memory is free once the run has ended, also if it failed."""

from __future__ import annotations

import gc

import pytest

import makegood as mg
from tests.until import until
from tests.worker.engines import Clock, WatchedStore, engine_on

pytestmark = pytest.mark.anyio


@mg.step
async def charge(number: int) -> int:
    return number


@charge.compensation
async def refund(receipt: int | None, number: int) -> None: ...


@mg.step(retry=None)
async def decline(number: int) -> None:
    raise ValueError("no")


@mg.workflow
async def order(number: int) -> None:
    await decline(await charge(number))


async def run_some(engine: mg.Engine, first: int) -> int:
    for number in range(first, first + 200):
        with pytest.raises(mg.RunCompensated):
            await engine.run(order, number, id=f"order-{number}")
    gc.collect()
    return len(gc.get_objects())


async def test_runs_that_failed_leave_nothing_behind() -> None:
    store = WatchedStore()
    async with engine_on(store) as engine:
        await run_some(engine, 0)
        store.batches.clear()
        before = await run_some(engine, 1_000)
        store.batches.clear()
        after = await run_some(engine, 2_000)
    # The store keeps a few objects for each run, and nothing else may: a leaked run held more than fifty.
    assert (after - before) / 200 < 20


Wake = mg.Signal("wake", int)


@mg.workflow
async def sleeper(number: int) -> int:
    await mg.sleep(1)
    return await Wake.receive()


async def test_evicted_runs_leave_nothing_behind_not_even_for_the_collector() -> None:
    clock = Clock()
    async with engine_on(WatchedStore(), now=clock, waiting_limit=0) as engine:

        async def start_and_forget(first: int) -> None:
            for number in range(first, first + 100):
                await engine.start(sleeper, number, id=f"sleeper-{number}")
            clock.now += 1
            await until(lambda: not engine.backend.worker.runs)  # type: ignore[attr-defined]

        await start_and_forget(0)
        gc.collect()
        gc.disable()
        try:
            await start_and_forget(100)
            assert gc.collect() < 100
        finally:
            gc.enable()
