"""Crashes at every store write of a worker with schedules: every tick has one run, or is said to be skipped."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import makegood as mg
from makegood.definition.schedule import Overlap
from makegood.store.memory import MemoryStore
from makegood.testing import VirtualTimeLoop
from makegood.worker import timers
from tests.faults.evidence import Evidence
from tests.faults.harness import RESTART_SECONDS, Life, WatchedStore, _bury, _forget

BEGIN = datetime.fromisoformat("2026-11-23T00:00:00+00:00").timestamp()
HOUR = 3600.0
HOURS_WATCHED = 4.5
WORK_SECONDS = 1.5 * HOUR
MOMENTS = ("before", "unacknowledged", "acknowledged", "stop")
TICKS = [BEGIN + hour * HOUR for hour in range(1, int(HOURS_WATCHED) + 1)]


@dataclass
class World:
    """What ``harness.WatchedStore`` asks of a world: the faults, by the number of the write."""

    faults: dict[int, str]
    evidence: Evidence = field(default_factory=Evidence)
    case: Any = field(default_factory=lambda: SimpleNamespace(commit_seconds=0.0))
    saga: Any = field(default_factory=lambda: SimpleNamespace(services=SimpleNamespace(now=lambda: 0.0)))
    writes: int = 0
    fired: int = 0

    def count(self, _kind: str) -> tuple[int, str | None]:
        self.writes += 1
        when = self.faults.get(self.writes)
        self.fired += when is not None
        return self.writes, when

    def came_to(self, *_: Any) -> None:
        """Every moment is tried here."""


@dataclass
class Watched:
    """What came of the hours."""

    writes: int
    fired: int
    ticks: Counter[float]  # how many runs each has
    excused: set[float]  # ticks that are said to be skipped, or to wait
    going_on: int


def hourly(overlap: Overlap) -> mg.Workflow[..., Any]:
    @mg.step
    async def work(_tick: datetime) -> None:
        await asyncio.sleep(WORK_SECONDS)

    @mg.workflow(schedule=mg.Schedule("0 * * * *", overlap=overlap))
    async def nightly(tick: datetime) -> None:
        await work(tick)

    return nightly


def watch(overlap: Overlap, faults: dict[int, str]) -> Watched:
    """Let workers live one after the other until the hours are over; a fault ends a worker."""
    store, world, elapsed = MemoryStore(), World(faults), 0.0
    for number in itertools.count(1):
        loop = VirtualTimeLoop(begin=BEGIN + elapsed)
        asyncio.set_event_loop(loop)
        try:
            left = HOURS_WATCHED * HOUR - elapsed
            seen = loop.run_until_complete(
                _live(store, world, Life(world.evidence, number, loop), overlap, left)
            )
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        elapsed += loop.elapsed + RESTART_SECONDS
        if seen is not None:
            return seen
    raise AssertionError


async def _live(
    store: MemoryStore, world: World, life: Life, overlap: Overlap, seconds: float
) -> Watched | None:
    """One worker; what it saw if it lived to the end of the hours."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    engine = mg.Engine("memory://", [hourly(overlap)], now=loop.now, grace_seconds=1.0)
    engine._store = WatchedStore(store, world, life)  # type: ignore[assignment]
    opening = loop.create_task(engine.__aenter__())
    await asyncio.wait((life.died, life.stopped), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not (life.died.done() or life.doomed or life.stopped.done()):
        await opening
        seen = await _seen(engine, store, world)
        world.faults = {}
        await engine.__aexit__(None, None, None)
        return seen
    if life.stopped.done() and not life.doomed:
        closing = loop.create_task(engine.__aexit__(None, None, None))
        await asyncio.wait((closing, life.died), return_when=asyncio.FIRST_COMPLETED)
    life.dead = True
    await _bury(store)
    _forget(engine)
    return None


async def _seen(engine: mg.Engine, store: MemoryStore, world: World) -> Watched:
    runs = await engine.list()
    ticks = [msgspec.json.decode(await _input(store, run.key))[0] for run in runs]
    [schedule] = await engine.schedules()
    excused = set(schedule.waiting)
    for one in schedule.skipped:
        excused.update(tick for tick in TICKS if one.first <= tick <= one.until)
    return Watched(
        world.writes,
        world.fired,
        Counter(datetime.fromisoformat(tick).timestamp() for tick in ticks),
        excused,
        sum(run.ended_at is None for run in runs),
    )


async def _input(store: MemoryStore, key: int) -> bytes:
    first = (await store.journal(key))[0]
    started = msgspec.json.decode(first.data)["events"][0]
    return msgspec.json.encode(started["input"])


def wrong(overlap: Overlap, seen: Watched) -> list[str]:
    """What is not as promised."""
    found = [f"{count} runs of tick {tick}" for tick, count in seen.ticks.items() if count > 1]
    found += [f"tick {tick} is lost" for tick in TICKS if tick not in seen.ticks and tick not in seen.excused]
    found += [f"tick {tick} ran and is said not to have" for tick in seen.ticks if tick in seen.excused]
    found += [f"tick {tick} does not exist" for tick in seen.ticks if tick not in TICKS]
    if overlap == "allow" and seen.excused:
        found.append("a tick was not allowed")
    if overlap != "allow" and seen.going_on > 1:
        found.append("runs overlap")
    return found


def crash_everywhere(overlap: Overlap, moments: Iterable[str] = MOMENTS) -> Iterator[str]:
    """One crash at each write; what went wrong."""
    yield from wrong(overlap, seen := watch(overlap, {}))
    for number, when in itertools.product(range(1, seen.writes + 1), moments):
        crashed = watch(overlap, {number: when})
        yield from (f"{when} write {number}: {what}" for what in wrong(overlap, crashed))
        if crashed.fired != 1:
            yield f"{when} write {number}: the worker did not crash"


@pytest.fixture(autouse=True)
def _quiet_hours(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log line for every tick, and no look at a wall clock that does not jump here in every minute of them."""
    caplog.set_level("CRITICAL", logger="makegood")
    monkeypatch.setattr(timers, "LONGEST_NAP_SECONDS", HOUR)


OVERLAPS: tuple[Overlap, ...] = ("skip", "buffer one", "allow")


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_each_tick_has_one_run_wherever_a_worker_crashes(overlap: Overlap) -> None:
    assert list(crash_everywhere(overlap)) == []


def test_each_tick_has_one_run_when_two_workers_crash_in_a_row() -> None:
    writes = watch("allow", {}).writes
    for number, pair in enumerate(itertools.combinations(range(1, writes + 1), 2)):
        when = ("before", "unacknowledged")[number % 2]
        seen = watch("allow", dict.fromkeys(pair, when))
        assert wrong("allow", seen) == [], (pair, when)
        assert seen.fired == 2


# ---- engines that are broken on purpose ------------------------------------------------------------------------------


def give_ticks_random_ids(patch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    patch.setattr(mg.Schedule, "tick_id", lambda _self, workflow, tick: f"{workflow}@{tick}/{next(numbers)}")


def start_ticks_in_a_transaction_of_their_own(patch: pytest.MonkeyPatch) -> None:
    """The runs are created, and only later is it remembered that they were."""
    advance, submit = WatchedStore.advance_schedule, MemoryStore.submit

    async def parted(self: Any, epoch: int, row: Any, starts: Any) -> Any:
        for start in starts:
            await submit(self.inner, start)
        return await advance(self, epoch, row, ())

    patch.setattr(WatchedStore, "advance_schedule", parted)


def forget_what_was_started(patch: pytest.MonkeyPatch) -> None:
    """It is remembered first, and only later are the runs created."""
    advance, submit = WatchedStore.advance_schedule, MemoryStore.submit

    async def parted(self: Any, epoch: int, row: Any, starts: Any) -> Any:
        written = await advance(self, epoch, row, ())
        for start in starts:
            await submit(self.inner, start)
        return written

    patch.setattr(WatchedStore, "advance_schedule", parted)


def test_the_transaction_alone_keeps_a_tick_from_starting_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    give_ticks_random_ids(monkeypatch)
    assert list(crash_everywhere("allow", ("before", "unacknowledged"))) == []


def test_the_id_alone_keeps_a_tick_from_starting_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    start_ticks_in_a_transaction_of_their_own(monkeypatch)
    assert list(crash_everywhere("allow", ("before", "unacknowledged"))) == []


def test_an_engine_that_starts_a_tick_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    give_ticks_random_ids(monkeypatch)
    start_ticks_in_a_transaction_of_their_own(monkeypatch)
    assert any("2 runs of tick" in what for what in crash_everywhere("allow"))


def test_an_engine_that_loses_a_tick_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_what_was_started(monkeypatch)
    assert any("is lost" in what for what in crash_everywhere("allow"))


def test_an_engine_that_forgets_which_run_goes_on_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr("makegood.worker.scheduler.Scheduler._going_on", nobody)
    assert any("runs overlap" in what for what in crash_everywhere("skip"))
