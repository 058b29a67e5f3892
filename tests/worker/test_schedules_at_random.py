"""Schedules under generated lives: workers come and go, clocks are set, operators pause and backfill."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import makegood as mg
from makegood.engine import schedule_state
from makegood.store.memory import MemoryStore
from tests.worker.calendar import HOUR, Days, only_once

BEFORE_THE_CHANGE = datetime(2026, 10, 24, 12, tzinfo=UTC)  # in Berlin, clocks are set back 13 hours later
CRONS = ("0 * * * *", "*/30 * * * *", "30 2 * * *", "15 1-4 * * *")
SEEDS = range(24)


class Life:
    """One seed's schedule, and what happens to it."""

    def __init__(self, seed: int, *, set_clocks: bool) -> None:
        self.dice = random.Random(seed)
        self.schedule = mg.Schedule(
            self.dice.choice(CRONS),
            timezone=self.dice.choice(["UTC", "Europe/Berlin"]),
            overlap=self.dice.choice(["skip", "buffer one", "allow"]),
            catch_up=self.dice.choice([1, 6, 48]) * HOUR,
        )
        self.takes = self.dice.choice([0.0, 0.3, 1.4, 2.5]) * HOUR
        self.acts = ["work", "work", "work", "down", "pause", "resume", "backfill"]
        self.acts += ["set"] * 2 * set_clocks
        self.days = Days(MemoryStore(), BEFORE_THE_CHANGE)

        @mg.workflow(name="job", schedule=self.schedule)
        async def job(_tick: datetime) -> None:
            await mg.sleep(self.takes)

        self.job = job

    def live(self) -> None:
        self.days.live(60, self.job)
        for act in self.dice.choices(self.acts, k=14):
            hours = self.dice.uniform(0.1, 5)
            if act == "work":
                self.days.live(hours * HOUR, self.job)
            elif act == "down":
                self.days.down(hours * HOUR)
            elif act == "set":
                self.days.set_by_seconds += self.dice.uniform(-3, 3) * HOUR
            else:
                with contextlib.suppress(mg.NotPossible, mg.UsageError):
                    self.days.ask(lambda engine, act=act, hours=hours: self.operate(engine, act, hours))
        with contextlib.suppress(mg.NotPossible):
            self.days.ask(lambda engine: engine.resume_schedule("job"))
        self.days.live(8 * HOUR, self.job)

    async def operate(self, engine: mg.Engine, act: str, hours: float) -> None:
        if act == "backfill":
            await engine.backfill("job", datetime.fromtimestamp(self.days.now() - hours * HOUR, UTC))
        else:
            await {"pause": engine.pause_schedule, "resume": engine.resume_schedule}[act]("job")

    def seen(self) -> tuple[Any, list[Any]]:
        async def look(engine: mg.Engine) -> tuple[Any, list[Any]]:
            [schedule] = await engine.schedules()
            return schedule, list(reversed(await engine.list(limit=1000)))

        return self.days.ask(look)  # type: ignore[no-any-return]


def tick_of(run: Any) -> float:
    return datetime.fromisoformat(run.id.partition("@")[2]).timestamp()


@pytest.fixture(autouse=True)
def _nothing_skipped_is_forgotten(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(schedule_state, "REMEMBERED", 10_000)
    caplog.set_level("CRITICAL", logger="makegood")


def lost(life: Life, schedule: Any, runs: list[Any]) -> Iterator[float]:
    """Ticks that neither ran nor wait nor are said to be skipped."""
    known = {tick_of(run) for run in runs} | set(schedule.waiting)
    begin, end = life.days.begin + 60, schedule.next_tick
    for tick in life.schedule.ticks(begin, math.nextafter(end, 0), 10_000):
        skipped = any(one.first <= tick <= one.until for one in schedule.skipped)
        if tick not in known and not skipped:
            yield tick


@pytest.mark.parametrize("set_clocks", [False, True], ids=["true clocks", "clocks are set"])
@pytest.mark.parametrize("seed", SEEDS)
def test_each_tick_has_one_run_or_is_said_to_have_none(seed: int, *, set_clocks: bool) -> None:
    life = Life(seed, set_clocks=set_clocks)
    life.live()
    schedule, runs = life.seen()
    ticks = [tick_of(run) for run in runs]
    only_once(ticks)
    assert list(lost(life, schedule, runs)) == []
    assert all(tick in life.schedule.ticks(tick - 1, tick, 1) for tick in ticks)
    if not set_clocks:
        assert all(run.started_at >= tick for run, tick in zip(runs, ticks, strict=True))
        if life.schedule.overlap != "allow":
            assert all(earlier.ended_at <= later.started_at for earlier, later in pairwise(runs))


def test_the_generated_lives_show_every_kind_of_tick() -> None:
    begun, skipped, waiting = 0, set(), 0
    for seed in SEEDS:
        life = Life(seed, set_clocks=False)
        life.live()
        schedule, runs = life.seen()
        begun += len(runs)
        waiting += len(schedule.waiting)
        skipped |= {one.reason for one in schedule.skipped}
    assert begun > 100
    assert waiting > 0
    assert skipped == {"too late", "still running"}
