"""Back-off and timers over restarts: never early, never twice."""

import asyncio

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import until
from tests.worker.engines import Clock, engine_on, names

pytestmark = pytest.mark.anyio


async def test_a_restart_during_back_off_retries_neither_early_nor_twice() -> None:
    clock, attempts = Clock(), []

    @mg.step(retry=mg.Retry(delays=[0, 100, 100]))
    async def flaky() -> str:
        attempts.append(clock.now)
        if len(attempts) < 2:
            raise OSError("not yet")
        return "done"

    @mg.workflow
    async def trying() -> str:
        return await flaky()

    store, begun = MemoryStore(), clock.now
    async with engine_on(store, trying, now=clock) as engine:
        run = await engine.start(trying, id="run-1")
        await until(lambda: len(store._journals[1]) == 2)
        assert (await run.describe()).steps[0].next_attempt_at == begun + 100
    for later in (10, 50, 99.9):
        clock.now = begun + later
        async with engine_on(store, trying, now=clock) as engine:
            run = await engine.get("run-1")
            assert (await run.describe()).steps[0].next_attempt_at == begun + 100
            await asyncio.sleep(0.01)
            assert len(attempts) == 1
    clock.now = begun + 100
    async with engine_on(store, trying, now=clock) as engine:
        run = await engine.get("run-1")
        assert await run.result() == "done"
        assert attempts == [begun, begun + 100]


async def test_a_timer_survives_restarts_and_fires_once_and_not_early() -> None:
    clock, woken = Clock(), []

    @mg.step
    async def wake() -> None:
        woken.append(clock.now)

    @mg.workflow
    async def sleeping() -> None:
        await asyncio.sleep(1000)
        await wake()

    store, begun = MemoryStore(), clock.now
    async with engine_on(store, sleeping, now=clock) as engine:
        await engine.start(sleeping, id="run-1")
    for later in (500, 999.9):
        clock.now = begun + later
        async with engine_on(store, sleeping, now=clock) as engine:
            await asyncio.sleep(0.01)
            assert woken == []
    clock.now = begun + 1000
    async with engine_on(store, sleeping, now=clock) as engine:
        run = await engine.get("run-1")
        await run.result()
        assert woken == [begun + 1000]
        assert names(await run.history()).count("TimerFired") == 1


async def test_a_clock_that_is_set_back_fires_no_timer_early() -> None:
    clock, woken = Clock(), []

    @mg.workflow
    async def sleeping() -> None:
        await asyncio.sleep(0.02)
        woken.append(clock.now)

    async with engine_on(MemoryStore(), sleeping, now=clock) as engine:
        run = await engine.start(sleeping)
        clock.now -= 3600
        await asyncio.sleep(0.05)
        assert woken == []
        await run.cancel()


async def test_timers_of_many_runs_fire_in_the_order_in_which_they_are_due() -> None:
    woken: list[int] = []

    @mg.step
    async def wake(number: int) -> None:
        woken.append(number)

    @mg.workflow
    async def sleeping(number: int) -> None:
        await asyncio.sleep(number / 50)
        await wake(number)

    async with engine_on(MemoryStore()) as engine:
        await asyncio.gather(*(engine.run(sleeping, number) for number in (4, 1, 3, 2)))
    assert woken == [1, 2, 3, 4]
