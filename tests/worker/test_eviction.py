"""Runs that only wait leave the worker's memory, and come back when their time has come or somebody asks for them."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.testing.virtual_time import VirtualTimeLoop
from tests.until import eventually, until
from tests.worker.engines import Clock, engine_on

pytestmark = pytest.mark.anyio


@mg.step
async def note(number: int) -> int:
    return number


@mg.workflow
async def napping(number: int, seconds: float) -> int:
    await note(number)
    await mg.sleep(seconds)
    return await note(number)


def waits_for_its_timer(run: mg.RunHandle[int]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return "timer until" in (await run.describe()).waiting_for

    return ask


def in_memory(engine: mg.Engine) -> set[str]:
    return set(engine.backend.worker.runs)  # type: ignore[attr-defined]


async def asleep(store: MemoryStore) -> dict[str, float]:
    return {row.id: row.wake_at for row in await store.list(limit=10_000) if row.wake_at is not None}


async def test_waiting_runs_beyond_the_limit_leave_memory_the_longest_waiting_first() -> None:
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, napping, now=clock, waiting_limit=2) as engine:
        for number in range(5):
            run = await engine.start(napping, number, 1000 + number, id=f"nap-{number}")
            await eventually(waits_for_its_timer(run))
        await until(lambda: len(in_memory(engine)) == 2)
        assert in_memory(engine) == {"nap-3", "nap-4"}
        assert await asleep(store) == {f"nap-{n}": clock.now + 1000 + n for n in range(3)}
        handle = await engine.get("nap-0")
        assert "timer until" in (await handle.describe()).waiting_for


async def test_a_sleeping_run_is_woken_by_its_timer_once_and_not_early() -> None:
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        run = await engine.start(napping, 7, 1000, id="nap")
        await until(lambda: not in_memory(engine))
        clock.now += 999.9
        await asyncio.sleep(0.1)
        assert not in_memory(engine)
        clock.now += 0.1
        engine.backend.worker.recovery.look()  # type: ignore[attr-defined] # a real clock has an alarm for this
        assert await run.result() == 7
        assert [item.event for item in await run.history()].count("TimerFired") == 1
        assert await asleep(store) == {}


async def test_a_restart_leaves_sleeping_runs_where_they_are() -> None:
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        await engine.start(napping, 7, 1000, id="nap")
        await until(lambda: not in_memory(engine))
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        await asyncio.sleep(0.1)
        assert not in_memory(engine)
    clock.now += 1000
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        assert await (await engine.get("nap")).result() == 7


async def test_whoever_awaits_a_sleeping_run_is_answered_at_once_when_it_ends() -> None:
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        result = asyncio.create_task(engine.run(napping, 7, 1000, id="nap"))
        await until(lambda: bool(store._journals) and len(store._journals[1]) == 2)
        await until(lambda: not in_memory(engine))
        clock.now += 1000
        engine.backend.worker.recovery.look()  # type: ignore[attr-defined]
        assert await result == 7


async def test_an_operator_reaches_a_sleeping_run() -> None:
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, napping, now=clock, waiting_limit=0) as engine:
        run = await engine.start(napping, 7, 1000, id="nap")
        await until(lambda: not in_memory(engine))
        await run.cancel("no longer wanted")
        with pytest.raises(mg.RunCancelled):
            await run.result()


async def test_the_back_off_of_a_sleeping_run_is_neither_lost_nor_counted_as_an_attempt() -> None:
    store, clock, attempts = MemoryStore(), Clock(), []

    @mg.step(retry=mg.Retry(delays=[0, 3600]))
    async def flaky() -> str:
        attempts.append(clock.now)
        if len(attempts) == 1:
            raise OSError("down for maintenance")
        return "up"

    @mg.workflow
    async def patient() -> str:
        return await flaky()

    begun = clock.now
    async with engine_on(store, patient, now=clock, waiting_limit=0) as engine:
        run = await engine.start(patient, id="patient")
        await until(lambda: not in_memory(engine))
    clock.now = begun + 7200  # nobody was there when it was due: nothing has begun
    async with engine_on(store, patient, now=clock, waiting_limit=0) as engine:
        run = await engine.get("patient")
        assert await run.result() == "up"
        assert attempts == [begun, begun + 7200]
        assert [item.event for item in await run.history()].count("AttemptFailed") == 1


async def test_parked_runs_leave_memory_too_and_can_be_retried() -> None:
    store, broken = MemoryStore(), [True]

    @mg.step(retry=None, on_exhausted="park")
    async def fragile() -> str:
        if broken[0]:
            raise OSError("broken")
        return "mended"

    @mg.workflow
    async def careful() -> str:
        return await fragile()

    async with engine_on(store, careful, waiting_limit=0) as engine:
        run = await engine.start(careful, id="careful")
        await until(lambda: not in_memory(engine))
        assert await asleep(store) == {"careful": math.inf}
        assert (await run.describe()).status == "PARKED"
        broken[0] = False
        await run.retry()
        assert await run.result() == "mended"


def test_two_thousand_timers_of_one_second_all_fire_and_none_twice() -> None:
    loop = VirtualTimeLoop()
    store, fired = MemoryStore(), []

    @mg.step
    async def fire(number: int) -> None:
        fired.append(number)

    @mg.workflow
    async def alarm(number: int, due: datetime) -> None:
        await mg.sleep_until(due)
        await fire(number)

    async def main() -> None:
        due = datetime.fromtimestamp(loop.now() + 86_400, UTC)
        async with engine_on(store, alarm, now=loop.now, waiting_limit=100) as engine:
            runs = [await engine.start(alarm, number, due, id=f"alarm-{number}") for number in range(2_000)]
            await until(lambda: len(in_memory(engine)) <= 100)
            for run in runs:
                await run.result()
        assert sorted(fired) == list(range(2_000))
        assert loop.now() >= due.timestamp()

    loop.run_until_complete(main())
    loop.close()
