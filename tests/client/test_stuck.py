"""Runs that overstay what is usual: the hooks of ``mg.Engine(on_stuck=[…])``, and ``engine.stuck()``."""

import asyncio
from datetime import timedelta
from typing import Any

import makegood as mg
from makegood.backend.overdue import learned
from makegood.store.memory import MemoryStore
from makegood.testing import VirtualTimeLoop, in_virtual_time
from tests.worker.engines import engine_on

HOUR = 3600.0
Go = mg.Signal("go", str)


@mg.workflow(usual=timedelta(hours=1))
async def visit() -> str:
    return await Go.receive()


@mg.workflow
async def nap(seconds: float) -> None:
    await mg.sleep(seconds)


class Told:
    """What a hook was told, and when."""

    def __init__(self, store: Any = None, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.now = loop.now
        self.began_at = self.now()
        self.stuck: list[mg.StuckRun] = []
        self.hours: list[tuple[str, float]] = []
        self.store = store or MemoryStore()
        self.engine = engine_on(
            self.store, visit, nap, now=loop.now, on_stuck=[self.hook], grace_seconds=0, **options
        )

    async def hook(self, stuck: mg.StuckRun) -> None:
        self.stuck.append(stuck)
        self.hours.append((stuck.id, round((self.now() - self.began_at) / HOUR, 2)))


@in_virtual_time
async def test_a_run_is_told_of_when_it_overstays_and_whenever_its_age_has_doubled() -> None:
    told = Told()
    async with told.engine as engine:
        await engine.start(visit, id="v-1")
        await asyncio.sleep(9 * HOUR)
    assert told.hours == [("v-1", 1.0), ("v-1", 2.0), ("v-1", 4.0), ("v-1", 8.0)]
    stuck = told.stuck[0]
    assert (stuck.workflow, stuck.status, stuck.age_seconds, stuck.usual_seconds) == (
        "visit",
        "RUNNING",
        HOUR,
        HOUR,
    )
    assert stuck.waiting_for == "signal go"


@in_virtual_time
async def test_each_of_many_runs_is_told_of_in_its_time() -> None:
    told = Told()
    async with told.engine as engine:
        for n in range(3):
            await engine.start(visit, id=f"v-{n}")
            await asyncio.sleep(HOUR / 4)
        await asyncio.sleep(HOUR)
    assert told.hours == [("v-0", 1.0), ("v-1", 1.25), ("v-2", 1.5)]


@in_virtual_time
async def test_a_run_that_begins_long_after_the_last_one_has_ended_is_told_of_too() -> None:
    told = Told()
    async with told.engine as engine:
        await asyncio.sleep(100 * HOUR)
        await engine.start(visit, id="v-1")
        await asyncio.sleep(1.5 * HOUR)
    assert told.hours == [("v-1", 101.0)]


@in_virtual_time
async def test_a_run_that_ends_in_time_is_not_told_of() -> None:
    told = Told()
    async with told.engine as engine:
        run = await engine.start(visit)
        await asyncio.sleep(HOUR / 2)
        await run.signal(Go, "x")
        await asyncio.sleep(10 * HOUR)
    assert told.hours == []


@in_virtual_time
async def test_parked_evicted_and_paused_runs_are_told_of() -> None:
    told = Told(waiting_limit=0)
    async with told.engine as engine:
        await engine.start(visit, id="asleep")
        await (await engine.start(visit, id="paused")).pause("why not", by="ann")
        await asyncio.sleep(1.5 * HOUR)
    assert {one.id: one.status for one in told.stuck} == {"asleep": "RUNNING", "paused": "PAUSED"}


@in_virtual_time
async def test_what_is_usual_is_learned_from_the_workflows_own_runs() -> None:
    told = Told()
    async with told.engine as engine:
        for n in range(25):
            await engine.start(nap, 600.0, id=f"nap-{n}")
        await asyncio.sleep(601)
        await engine.start(nap, 20 * HOUR, id="long")
        await asyncio.sleep(HOUR)
        assert [stuck.id for stuck in await engine.stuck()] == ["long"]
    assert told.hours[0][0] == "long"
    assert 1800 <= told.stuck[0].usual_seconds <= 1801
    assert told.stuck[0].age_seconds < 2500


@in_virtual_time
async def test_without_anything_known_what_the_engine_was_given_counts() -> None:
    told = Told(stuck_after=timedelta(minutes=5))
    async with told.engine as engine:
        await engine.start(nap, 8 * 60.0, id="long")
        await engine.start(visit, id="own")
        await asyncio.sleep(HOUR / 2)
    assert [one.id for one in told.stuck] == ["long"]


@in_virtual_time
async def test_a_hook_that_fails_or_hangs_harms_nothing() -> None:
    told = Told()

    async def fails(stuck: mg.StuckRun) -> None:
        raise ValueError("no pager")

    async def hangs(stuck: mg.StuckRun) -> None:
        await asyncio.Event().wait()

    told.engine._on_stuck[:0] = [fails, hangs]
    async with told.engine as engine:
        run = await engine.start(visit, id="v-1")
        await asyncio.sleep(1.5 * HOUR)
        await run.signal(Go, "x")
        assert await run.result() == "x"
    assert [one for one, _ in told.hours] == ["v-1"]


@in_virtual_time
async def test_a_new_worker_tells_once_more_of_what_is_overdue() -> None:
    first = Told()
    async with first.engine as engine:
        await engine.start(visit, id="v-1")
        await asyncio.sleep(5 * HOUR)
    second = Told(first.store)
    async with second.engine:
        await asyncio.sleep(HOUR)
    assert [one.id for one in second.stuck] == ["v-1"]


def test_nothing_is_learned_from_a_few_runs_and_short_ones_get_a_minute() -> None:
    assert learned([("a", 100.0)] * 19 + [("b", 0.01)] * 20 + [("c", float(n)) for n in range(100)]) == {
        "b": 60.0,
        "c": 285.0,
    }
