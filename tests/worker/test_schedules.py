"""Scheduled workflows over days of virtual time: every tick once, whatever happens to clocks, workers and runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import ScheduleRow
from makegood.store.sqlite import SqliteStore
from tests.worker.calendar import HOUR, MONDAY, Days, hours, only_once, times

HOURLY = "0 * * * *"


def hourly(begun: list[datetime], schedule: Any = HOURLY, takes: float = 0.0) -> mg.Workflow[..., Any]:
    """A workflow that notes which tick it is, and takes its time."""

    @mg.step
    async def work(tick: datetime) -> None:
        begun.append(tick)
        await asyncio.sleep(takes)

    @mg.workflow(name="hourly", schedule=schedule)
    async def workflow(tick: datetime) -> None:
        await work(tick)

    return workflow


def test_a_workflow_starts_at_each_tick_and_gets_it() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    days.live(3.5 * HOUR, hourly(begun))
    assert begun == hours(MONDAY, 1, 3)
    assert days.runs() == [f"hourly@2026-11-23T0{hour}:00:00+00:00" for hour in (1, 2, 3)]


def test_no_run_starts_before_its_tick() -> None:
    days = Days(MemoryStore(), MONDAY + timedelta(milliseconds=1))
    days.live(3 * HOUR, hourly([]))

    async def started(engine: mg.Engine) -> list[float]:
        return [run.started_at for run in await engine.list()]

    for at in days.ask(started):
        assert 0 <= at % HOUR < 1


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (datetime(2026, 10, 24, 12, tzinfo=UTC), ["24T02:30+02", "25T02:30+02", "26T02:30+01"]),
        (datetime(2026, 3, 28, 12, tzinfo=UTC), ["28T02:30+01", "29T03:00+02", "30T02:30+02"]),
    ],
    ids=["set back", "set forward"],
)
def test_a_daily_tick_comes_once_when_the_clocks_in_berlin_are_changed(
    begin: datetime, expected: list[str]
) -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore(), begin - timedelta(days=1))
    days.live(72 * HOUR, hourly(begun, mg.Schedule("30 2 * * *", timezone="Europe/Berlin")))
    assert [f"{tick:%dT%H:%M%z}"[:-2] for tick in begun] == expected
    assert len(days.runs()) == 3


def test_a_tick_that_follows_the_clock_comes_again_in_the_repeated_hour_as_a_run_of_its_own() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore(), datetime(2026, 10, 24, 22, 15, tzinfo=UTC))
    days.live(5 * HOUR, hourly(begun, mg.Schedule("0 * * * *", timezone="Europe/Berlin")))
    assert times(days.runs()) == ["01:00", "02:00", "02:00", "03:00", "04:00"]
    only_once(days.runs())
    assert [later - tick for tick, later in pairwise(begun)] == [timedelta(hours=1)] * 4


# ---- nobody was there ------------------------------------------------------------------------------------------------


def test_ticks_missed_while_no_worker_was_alive_are_caught_up_in_their_order() -> None:
    begun: list[datetime] = []
    workflow = hourly(begun, mg.Schedule(HOURLY, overlap="allow"))
    days = Days(MemoryStore())
    days.live(1.5 * HOUR, workflow)
    days.down(5 * HOUR)
    days.live(1 * HOUR, workflow)
    assert begun == hours(MONDAY, 1, 7)
    assert times(days.runs()) == [f"0{hour}:00" for hour in range(1, 8)]


def test_ticks_missed_for_longer_than_the_window_are_skipped_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[datetime] = []
    workflow = hourly(begun, mg.Schedule(HOURLY, overlap="allow", catch_up=2 * HOUR))
    days = Days(MemoryStore())
    days.live(1.5 * HOUR, workflow)
    days.down(5 * HOUR)
    [schedule] = days.live(60, workflow)
    assert begun == [*hours(MONDAY, 1, 1), *hours(MONDAY, 5, 6)]
    [skipped] = schedule.skipped
    assert (skipped.first, skipped.reason) == ((MONDAY + timedelta(hours=2)).timestamp(), "too late")
    assert (
        "schedule hourly: skipped what was due from 2026-11-23T02:00:00+00:00 to 2026-11-23T04:30:00+00:00: too late."
        in caplog.messages
    )


def test_more_ticks_than_one_look_starts_are_all_caught_up() -> None:
    begun: list[datetime] = []
    workflow = hourly(begun, mg.Schedule("* * * * *", overlap="allow"))
    days = Days(MemoryStore())
    days.live(30, workflow)
    days.down(250 * 60)
    days.live(1, workflow)
    assert len(begun) == 250
    only_once(begun)


def test_a_schedule_counts_from_when_it_is_first_seen() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore(), MONDAY)
    days.live(10, hourly(begun))
    assert begun == []


# ---- an earlier run goes on ------------------------------------------------------------------------------------------


def test_with_skip_ticks_during_a_run_are_dropped_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    [schedule] = days.live(6.5 * HOUR, hourly(begun, takes=2.5 * HOUR))
    assert begun == [*hours(MONDAY, 1, 1), *hours(MONDAY, 4, 4)]
    assert [one.reason for one in schedule.skipped] == ["still running"] * 2
    assert [one.first for one in schedule.skipped] == [
        tick.timestamp() for tick in (*hours(MONDAY, 2, 2), *hours(MONDAY, 5, 5))
    ]
    assert len([message for message in caplog.messages if "still running" in message]) == 4


def test_with_buffer_one_the_first_tick_during_a_run_starts_when_it_ends_and_further_ones_are_dropped() -> (
    None
):
    begun: list[datetime] = []
    at: list[float] = []
    days = Days(MemoryStore())

    @mg.step
    async def work(tick: datetime) -> None:
        begun.append(tick)
        at.append(days.now() - MONDAY.timestamp())
        await asyncio.sleep(2.5 * HOUR)

    @mg.workflow(schedule=mg.Schedule(HOURLY, overlap="buffer one"))
    async def slow(tick: datetime) -> None:
        await work(tick)

    days.live(7 * HOUR, slow)
    assert begun == [*hours(MONDAY, 1, 2), *hours(MONDAY, 4, 4)]
    assert at == pytest.approx([1 * HOUR, 3.5 * HOUR, 6 * HOUR], abs=1)


def test_with_allow_runs_go_on_side_by_side() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    [schedule] = days.live(4.5 * HOUR, hourly(begun, mg.Schedule(HOURLY, overlap="allow"), takes=2.2 * HOUR))
    assert begun == hours(MONDAY, 1, 4)
    assert times(list(schedule.running)) == ["03:00", "04:00"]
    assert schedule.skipped == ()


def test_a_run_that_goes_on_over_a_restart_is_still_in_the_way() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    @mg.workflow(schedule=HOURLY)
    async def slow(tick: datetime) -> None:
        begun.append(tick)
        await asyncio.sleep(2.5 * HOUR)

    days.live(1.5 * HOUR, slow)
    days.live(1 * HOUR, slow)
    assert set(begun) == {MONDAY + timedelta(hours=1)}
    days.live(2 * HOUR, slow)
    assert times(days.runs()) == ["01:00", "04:00"]


def test_a_buffered_tick_starts_after_the_restart_that_ended_the_run() -> None:
    days = Days(MemoryStore())

    @mg.workflow(schedule=mg.Schedule(HOURLY, overlap="buffer one"))
    async def slow() -> None:
        await asyncio.sleep(1.5 * HOUR)

    days.live(2.2 * HOUR, slow)
    days.down(0.4 * HOUR)  # the run would have ended
    days.live(60, slow)
    assert times(days.runs()) == ["01:00", "02:00"]


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "asleep"])
def test_a_buffered_tick_starts_when_an_operator_ends_the_run_in_its_way(*, in_memory: bool) -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    @mg.workflow(name="hourly", schedule=mg.Schedule(HOURLY, overlap="buffer one"))
    async def endless(tick: datetime) -> None:
        begun.append(tick)
        await mg.sleep(365 * mg.DAY)

    async def main() -> None:
        async with days.engine(endless, waiting_limit=1000 if in_memory else 0) as engine:
            await asyncio.sleep(2.5 * HOUR)
            [run] = await engine.list()
            await (await engine.get(run.id)).terminate("it takes too long")
            await asyncio.sleep(1)

    days.run(main)
    assert begun == hours(MONDAY, 1, 2)


def test_a_tick_that_was_started_by_hand_is_left_alone_and_does_not_stop_the_next() -> None:
    begun: list[datetime] = []
    workflow = hourly(begun, mg.Schedule(HOURLY, overlap="buffer one"))
    days = Days(MemoryStore())

    async def by_hand() -> None:
        async with days.engine(workflow) as engine:
            tick = MONDAY + timedelta(hours=2)
            await engine.run(workflow, tick, id=f"hourly@{tick.isoformat()}")
            await asyncio.sleep(3.5 * HOUR)

    days.run(by_hand)
    assert begun == [*hours(MONDAY, 2, 2), *hours(MONDAY, 1, 1), *hours(MONDAY, 3, 3)]
    assert times(days.runs()) == ["02:00", "01:00", "03:00"]


def test_a_tick_that_was_run_by_hand_does_not_hold_up_the_one_that_waits_for_it() -> None:
    begun: list[datetime] = []
    workflow = hourly(begun, mg.Schedule(HOURLY, overlap="buffer one"))
    days = Days(MemoryStore())

    async def by_hand() -> None:
        async with days.engine(workflow) as engine:
            await engine.run(workflow, MONDAY, id="hourly@2026-11-23T01:00:00+00:00")

    days.run(by_hand)
    days.down(2.5 * HOUR)
    days.live(10, workflow)
    assert times(days.runs()) == ["01:00", "02:00"]


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_repeats_no_tick() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine(hourly(begun)):
            await asyncio.sleep(3.5 * HOUR)
            days.set_by_seconds -= 2 * HOUR
            await asyncio.sleep(4 * HOUR)

    days.run(main)
    assert begun == hours(MONDAY, 1, 5)


def test_a_clock_that_was_set_back_while_no_worker_was_alive_repeats_no_tick() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    days.live(3.5 * HOUR, hourly(begun))
    days.set_by_seconds -= 2 * HOUR
    days.live(4 * HOUR, hourly(begun))
    assert begun == hours(MONDAY, 1, 5)


def test_a_clock_that_is_set_forward_starts_what_became_due_within_a_minute() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine(hourly(begun, mg.Schedule(HOURLY, overlap="allow"))):
            await asyncio.sleep(1.2 * HOUR)
            days.set_by_seconds += 3 * HOUR
            await asyncio.sleep(61)

    days.run(main)
    assert begun == hours(MONDAY, 1, 4)


@pytest.mark.parametrize("pace", [0.999, 1.001], ids=["slower", "faster"])
def test_solid_queue_615_a_tick_is_not_started_twice_by_a_timer_that_drifts(pace: float) -> None:
    """There, a timer woke up a little before its tick, and took the same tick for the next one."""
    days = Days(MemoryStore(), pace=pace)
    days.live(24 * HOUR / pace + 1, hourly([], "*/5 * * * *"))

    async def started(engine: mg.Engine) -> list[tuple[str, float]]:
        return [(run.id, run.started_at) for run in await engine.list(limit=1000)]

    runs = days.ask(started)
    assert len(runs) == 24 * 12
    for run_id, at in runs:
        late = at - datetime.fromisoformat(run_id.partition("@")[2]).timestamp()
        assert 0 <= late < 1, run_id


# ---- operators -------------------------------------------------------------------------------------------------------


def test_a_paused_schedule_starts_nothing_and_resumed_it_catches_up() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine(hourly(begun, mg.Schedule(HOURLY, overlap="allow"))) as engine:
            await asyncio.sleep(1.5 * HOUR)
            await engine.pause_schedule("hourly", "maintenance", by="ops")
            await asyncio.sleep(3 * HOUR)
            assert begun == hours(MONDAY, 1, 1)
            await engine.resume_schedule("hourly", by="ops")
            await asyncio.sleep(10)
            assert begun == hours(MONDAY, 1, 4)
            await asyncio.sleep(1 * HOUR)

    days.run(main)
    assert begun == hours(MONDAY, 1, 5)


def test_a_pause_outlives_the_worker() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    days.live(1.5 * HOUR, hourly(begun))
    days.ask(lambda engine: engine.pause_schedule("hourly", "maintenance"))
    [schedule] = days.live(3 * HOUR, hourly(begun))
    assert begun == hours(MONDAY, 1, 1)
    assert schedule.paused.why == "maintenance"
    assert schedule.next_tick is None


def test_a_backfill_runs_each_missed_tick_once_and_those_that_ran_stay_as_they_are() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine(hourly(begun, takes=60)) as engine:
            await asyncio.sleep(2.5 * HOUR)
            ids = await engine.backfill("hourly", MONDAY - timedelta(hours=2), why="new report", by="ops")
            assert times(ids) == ["22:00", "23:00", "00:00"]
            assert await engine.backfill("hourly", MONDAY - timedelta(hours=2)) == ids[1:]
            await asyncio.sleep(10 * 60)
            assert await engine.backfill("hourly", MONDAY - timedelta(hours=2)) == []
            await asyncio.sleep(10 * 60)

    days.run(main)
    assert begun == [*hours(MONDAY, 1, 2), *hours(MONDAY, -2, 0)]


def test_backfilled_ticks_go_one_after_the_other_where_runs_may_not_overlap() -> None:
    going_on: list[int] = []
    most = 0
    days = Days(MemoryStore())

    @mg.step
    async def work() -> None:
        nonlocal most
        going_on.append(1)
        most = max(most, len(going_on))
        await asyncio.sleep(60)
        going_on.pop()

    @mg.workflow(name="hourly", schedule=HOURLY)
    async def slow() -> None:
        await work()

    async def main() -> None:
        async with days.engine(slow) as engine:
            assert len(await engine.backfill("hourly", MONDAY - timedelta(hours=30), MONDAY)) == 31
            await asyncio.sleep(30 * 60)

    days.run(main)
    assert most == 1
    assert len(days.runs()) >= 29


def test_a_backfill_that_was_asked_for_without_a_worker_is_seen_to_by_the_next() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    days.live(60, hourly(begun))
    days.ask(lambda engine: engine.backfill("hourly", MONDAY - timedelta(hours=3)))
    assert begun == []
    days.live(60, hourly(begun))
    assert begun == hours(MONDAY, -3, 0)


# ---- code that changes -----------------------------------------------------------------------------------------------


def test_a_schedule_whose_workflow_is_gone_stays_and_says_so_and_goes_on_when_it_is_back() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    @mg.workflow(name="hourly")
    async def without_schedule(tick: datetime) -> None: ...

    days.live(1.5 * HOUR, hourly(begun))
    for code in ([], [without_schedule]):
        [schedule] = days.live(1 * HOUR, *code)
        assert "no schedule of workflow hourly is in the worker's code any more" in schedule.problem
        assert schedule.next_tick is None
    [schedule] = days.live(60, hourly(begun, mg.Schedule(HOURLY, overlap="allow")))
    assert schedule.problem == ""
    assert begun == hours(MONDAY, 1, 3)


def test_a_changed_expression_takes_over_without_repeating_or_inventing_ticks() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    days.live(2.7 * HOUR, hourly(begun))
    days.live(1 * HOUR, hourly(begun, "30 * * * *"))
    assert times(days.runs()) == ["01:00", "02:00", "03:30"]


def test_a_workflow_that_is_added_by_starting_it_is_scheduled_from_then_on() -> None:
    begun: list[datetime] = []
    workflow = hourly(begun)
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine() as engine:
            await engine.run(workflow, MONDAY)
            await asyncio.sleep(1.5 * HOUR)
            assert [schedule.workflow for schedule in await engine.schedules()] == ["hourly"]

    days.run(main)
    assert begun == hours(MONDAY, 0, 1)


def test_schedules_are_not_worked_out_again_whenever_somebody_writes_to_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []
    next_after = mg.Schedule.next_after
    monkeypatch.setattr(mg.Schedule, "next_after", lambda self, at: asked.append(at) or next_after(self, at))
    begun: list[datetime] = []
    days = Days(MemoryStore())

    async def main() -> None:
        async with days.engine(hourly(begun)) as engine:
            await engine.schedules()
            asked.clear()
            for _ in range(50):
                days.store._tell_watchers()  # type: ignore[attr-defined]
                await asyncio.sleep(1)
            assert asked == []
            await asyncio.sleep(HOUR)

    days.run(main)
    assert begun == hours(MONDAY, 1, 1)


# ---- one bad schedule harms no other ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (mg.PayloadError("its default cannot be stored"), "its default cannot be stored"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_schedule_whose_run_cannot_be_created_says_why_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, problem: str
) -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())

    @mg.workflow(name="a_bad_one", schedule=HOURLY)
    async def bad() -> None: ...

    def fail(_tick: datetime) -> Any:
        raise error

    monkeypatch.setattr(bad, "arguments_at", fail)
    schedules = days.live(2.5 * HOUR, bad, hourly(begun))
    assert begun == hours(MONDAY, 1, 2)
    assert [schedule.problem for schedule in schedules] == [problem, ""]
    monkeypatch.undo()
    days.live(60, bad, hourly(begun))
    assert times([run for run in days.runs() if run.startswith("a_bad_one")]) == ["01:00"]


def test_a_schedule_that_cannot_be_read_is_left_alone_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[datetime] = []
    store = MemoryStore()
    damaged = ScheduleRow("damaged", 1, b"{")
    store._schedules["damaged"] = damaged
    days = Days(store)

    async def main() -> None:
        async with days.engine(hourly(begun)):
            await asyncio.sleep(1.5 * HOUR)

    days.run(main)
    assert begun == hours(MONDAY, 1, 1)
    assert store._schedules["damaged"] == damaged
    assert any("schedule damaged: its state in the store cannot be read" in text for text in caplog.messages)


@pytest.mark.parametrize("refusal", [mg.StoreFull, mg.StoreLocked])
def test_a_full_or_locked_store_only_delays_a_tick(refusal: type[mg.StoreError]) -> None:
    class Refusing(MemoryStore):
        refusals = 3

        async def advance_schedule(self, *args: Any) -> bool:
            if args[2] and self.refusals:
                self.refusals -= 1
                raise refusal("not now")
            return await super().advance_schedule(*args)

    begun: list[datetime] = []
    days = Days(Refusing())
    days.live(1.5 * HOUR, hourly(begun))
    assert begun == hours(MONDAY, 1, 1)


def test_an_engine_that_is_being_closed_starts_no_tick() -> None:
    begun: list[datetime] = []
    days = Days(MemoryStore())
    workflow = hourly(begun, mg.Schedule(HOURLY, overlap="allow"), takes=1.5 * HOUR)

    async def main() -> None:
        async with days.engine(workflow, grace_seconds=2 * HOUR):
            await asyncio.sleep(1.2 * HOUR)

    days.run(main)  # draining takes until 02:30
    assert times(days.runs()) == ["01:00"]
    assert days.now() == pytest.approx(MONDAY.timestamp() + 2.5 * HOUR, abs=1)


# ---- several processes -----------------------------------------------------------------------------------------------


def two_engines(file: Path, begun: list[datetime]) -> tuple[Days, Callable[[], mg.Engine]]:
    days = Days(SqliteStore(str(file)))
    workflow = hourly(begun)

    def engine() -> mg.Engine:
        made = days.engine(workflow)
        made._store = SqliteStore(str(file))
        return made

    return days, engine


def test_of_two_engines_on_one_file_one_starts_the_ticks_and_the_other_takes_over(tmp_path: Path) -> None:
    begun: list[datetime] = []
    days, engine = two_engines(tmp_path / "shared.db", begun)

    async def main() -> None:
        async with engine() as second, engine():
            await asyncio.sleep(2.5 * HOUR)
            await second.pause_schedule("hourly")
            await second.resume_schedule("hourly")
            await asyncio.sleep(0)
        async with engine(), engine():
            await asyncio.sleep(2 * HOUR)

    days.run(main)
    assert begun == hours(MONDAY, 1, 4)


def test_a_worker_whose_place_was_taken_starts_no_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[datetime] = []
    days, engine = two_engines(tmp_path / "shared.db", begun)
    errors: list[str] = []

    async def main() -> None:
        async with engine() as zombie:
            await asyncio.sleep(1.5 * HOUR)
            monkeypatch.setattr("makegood.store.filelock.FileLock.acquire", lambda _: True)
            async with engine():
                await asyncio.sleep(2 * HOUR)
            try:
                await zombie.serve()
            except mg.StoreError as error:
                errors.append(str(error))

    days.run(main)
    assert begun == hours(MONDAY, 1, 3)
    assert "has taken over" in errors[0]


def test_the_log_tells_of_each_run_that_was_started(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="makegood"):
        Days(MemoryStore()).live(1.5 * HOUR, hourly([]))
    assert "schedule hourly: run hourly@2026-11-23T01:00:00+00:00 started." in caplog.messages
