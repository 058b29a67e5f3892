"""What a run held in memory is free once the run has ended, also if it failed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

import makegood as mg
from tests.until import eventually, until
from tests.worker.engines import Clock, WatchedStore, engine_on


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


@pytest.mark.anyio
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


RUNS = 300
Wake = mg.Signal("wake", int)


@mg.workflow
async def sleeper(number: int) -> int:
    await mg.sleep(1)
    return await Wake.receive()


@pytest.mark.anyio
async def test_evicted_runs_leave_nothing_behind_not_even_for_the_collector() -> None:
    clock = Clock()
    async with engine_on(WatchedStore(), now=clock, waiting_limit=0) as engine:

        async def start_and_forget(first: int) -> None:
            for number in range(first, first + RUNS):
                await engine.start(sleeper, number, id=f"sleeper-{number}")
            clock.now += 1
            await until(lambda: not engine.backend.worker.runs)  # type: ignore[attr-defined]

        await start_and_forget(0)
        gc.collect()
        gc.disable()
        try:
            await start_and_forget(RUNS)
            assert (
                gc.collect() < RUNS
            )  # an earlier test's loop, at most: a cycle is more than one object for each run
        finally:
            gc.enable()


async def closed_while_a_client_waits() -> weakref.ref[object]:
    engine = engine_on(WatchedStore())
    async with engine:
        run = await engine.start(sleeper, 1)
        waiting = asyncio.ensure_future(run.result())
        await asyncio.sleep(0)
        worker = weakref.ref(engine.backend.worker)  # type: ignore[attr-defined]
    with contextlib.suppress(mg.StoreError):
        await waiting
    return worker


def test_an_engine_closed_while_a_client_waits_leaves_nothing_behind() -> None:
    worker = asyncio.run(closed_while_a_client_waits())
    gc.collect()
    assert worker() is None


class Quote:
    """Something that a workflow holds on to."""


quotes: list[weakref.ref[Quote]] = []


@mg.step(timeout=None)
async def ask(number: int) -> None:
    await asyncio.get_running_loop().create_future()


@ask.compensation(retry=mg.Retry(delays=[3600]))
async def take_back(result: None, number: int) -> None: ...


@mg.workflow
async def leg(number: int) -> None:
    quote = Quote()
    quotes.append(weakref.ref(quote))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask(number)
    mg.continue_as_new(number + 1)


@pytest.mark.anyio
async def test_a_run_that_leaves_memory_before_it_goes_on_as_new_leaves_nothing_behind() -> None:
    async with engine_on(WatchedStore()) as engine:
        run = await engine.start(leg, 1)

        async def waits_for_its_undo() -> bool:
            return (await run.history())[-1].event == "CompensationScheduled"

        await eventually(waits_for_its_undo)
    gc.collect()
    assert [quote() for quote in quotes] == [None]
