"""A schedule from one look to the next: what is remembered, and what operators change. Pure, and without waiting."""

from datetime import UTC, datetime

from msgspec.structs import replace

import makegood as mg
from makegood.engine.schedule_state import (
    REMEMBERED,
    Next,
    ScheduleAct,
    ScheduleState,
    acted,
    agreed,
    planned,
)

HOUR = 3600.0
BEGIN = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
HOURLY = mg.Schedule("0 * * * *")
BUFFERED = mg.Schedule("0 * * * *", overlap="buffer one")
ALLOWED = mg.Schedule("0 * * * *", overlap="allow")


def seen(schedule: mg.Schedule = HOURLY, at: float = BEGIN) -> ScheduleState:
    return agreed(None, schedule, at)


def look(state: ScheduleState, hours: float, schedule: mg.Schedule = HOURLY) -> Next:
    return planned(state, schedule, "hourly", BEGIN + hours * HOUR)


def ended(state: ScheduleState) -> ScheduleState:
    return replace(state, running=())


def run_id(hour: int) -> str:
    return f"hourly@2026-11-23T{hour:02}:00:00+00:00"


def test_a_new_schedule_counts_from_when_it_is_first_seen() -> None:
    assert look(seen(), 0.5).start == ()
    assert look(seen(), 1).start == (BEGIN + HOUR,)


def test_the_ticks_run_is_remembered_as_going_on_and_as_the_last() -> None:
    state = look(seen(), 1).state
    assert state.running == (run_id(1),)
    assert (state.last_tick, state.last_run) == (BEGIN + HOUR, run_id(1))


def test_planned_again_it_starts_nothing_twice() -> None:
    assert look(look(seen(), 1).state, 1).start == ()


def test_ticks_skipped_for_one_run_are_one_line_that_grows() -> None:
    state = look(seen(), 1).state
    for hours in (2, 3, 4):
        state = look(state, hours).state
    [line] = state.skipped
    assert (line.first, line.until, line.reason) == (BEGIN + 2 * HOUR, BEGIN + 4 * HOUR, "still running")


def test_ticks_skipped_for_another_run_are_another_line() -> None:
    state = look(look(seen(), 1).state, 2).state
    state = look(look(ended(state), 3).state, 4).state
    assert [line.first for line in state.skipped] == [BEGIN + 2 * HOUR, BEGIN + 4 * HOUR]


def test_a_buffered_tick_parts_the_skipped_ones_before_and_after_it() -> None:
    state = seen(BUFFERED)
    for hours in (1, 2, 3):  # the first runs, the second waits, the third is skipped
        state = look(state, hours, BUFFERED).state
    state = look(ended(state), 3.5, BUFFERED).state
    for hours in (4, 5):  # the second runs, the fourth waits, the fifth is skipped
        state = look(state, hours, BUFFERED).state
    assert [(line.first - BEGIN) / HOUR for line in state.skipped] == [3, 5]


def test_ticks_missed_for_too_long_are_a_line_of_their_own() -> None:
    state = look(seen(), 30).state
    assert [(line.first, line.reason) for line in state.skipped] == [
        (BEGIN + HOUR, "too late"),
        (BEGIN + 8 * HOUR, "still running"),
    ]


def test_only_the_latest_skipped_ticks_are_remembered() -> None:
    state = seen()
    for hours in range(1, 2 * REMEMBERED + 3, 2):
        state = ended(look(look(state, hours).state, hours + 1).state)
    assert len(state.skipped) == REMEMBERED
    assert state.skipped[-1].first == BEGIN + (2 * REMEMBERED + 2) * HOUR


def test_a_changed_expression_counts_from_now() -> None:
    half_past = mg.Schedule("30 * * * *")
    state = agreed(seen(), half_past, BEGIN + 5 * HOUR)
    assert look(state, 5.2, half_past).start == ()
    assert look(state, 5.5, half_past).start == (BEGIN + 5.5 * HOUR,)


def test_a_changed_time_zone_counts_from_now() -> None:
    berlin = mg.Schedule("0 * * * *", timezone="Europe/Berlin")
    assert agreed(seen(), berlin, BEGIN + 5 * HOUR).handled_until == BEGIN + 5 * HOUR


def test_a_changed_expression_on_a_clock_set_back_repeats_no_tick() -> None:
    state = look(seen(), 5).state
    assert agreed(state, mg.Schedule("30 * * * *"), BEGIN).handled_until == state.handled_until


def test_a_longer_catch_up_window_saves_ticks_that_were_missed_already() -> None:
    patient = mg.Schedule("0 * * * *", catch_up=48 * HOUR)
    state = agreed(seen(), patient, BEGIN + 30 * HOUR)
    assert look(state, 30, patient).start == (BEGIN + HOUR,)


def test_what_the_code_says_is_kept_and_comes_back() -> None:
    schedule = mg.Schedule("5 2 * * *", timezone="Europe/Berlin", overlap="buffer one", catch_up=60)
    assert repr(seen(schedule).schedule) == repr(schedule)


def test_a_workflow_that_is_back_in_the_code_has_no_problem_any_more() -> None:
    assert agreed(replace(seen(), problem="gone"), HOURLY, BEGIN).problem == ""


def test_a_backfilled_tick_starts_at_the_next_look_also_between_ticks() -> None:
    begun = look(replace(seen(), backlog=(BEGIN - HOUR, BEGIN)), 0.5)
    assert begun.start == (BEGIN - HOUR,)
    assert begun.state.backlog == (BEGIN,)
    assert begun.wake_at == BEGIN + HOUR


def test_a_backfilled_tick_waits_for_the_run_that_goes_on() -> None:
    state = replace(seen(), backlog=(BEGIN,), running=("x",))
    assert look(state, 0.5).start == ()
    assert look(ended(state), 0.5).start == (BEGIN,)


def test_what_is_due_goes_before_what_is_backfilled() -> None:
    state = replace(seen(), backlog=(BEGIN,))
    due = look(state, 1)
    assert due.start == (BEGIN + HOUR,)
    assert look(ended(due.state), 1).start == (BEGIN,)


def test_a_buffered_tick_goes_before_what_is_backfilled() -> None:
    state = replace(look(look(seen(BUFFERED), 1, BUFFERED).state, 2, BUFFERED).state, backlog=(BEGIN,))
    assert state.waiting == (BEGIN + 2 * HOUR, BEGIN)
    assert look(ended(state), 2, BUFFERED).start == (BEGIN + 2 * HOUR,)


def test_where_overlap_is_allowed_backfilled_ticks_start_together() -> None:
    ticks = tuple(BEGIN - hour * HOUR for hour in range(250, 0, -1))
    state = replace(seen(ALLOWED), backlog=ticks, running=("x",))
    started: list[float] = []
    looks = 0
    while state.backlog:
        begun = look(state, 0.5, ALLOWED)
        started += begun.start
        state = begun.state
        looks += 1
        assert begun.wake_at == (BEGIN + 0.5 * HOUR if state.backlog else BEGIN + HOUR)
    assert tuple(started) == ticks
    assert looks == 3


def test_a_paused_schedule_starts_nothing_at_all_and_resumed_catches_up() -> None:
    pause = ScheduleAct("pause", BEGIN, "ops", "maintenance")
    state = acted(replace(seen(ALLOWED), backlog=(BEGIN,)), pause)
    assert look(state, 3, ALLOWED) == Next(state, (), (), None)
    resumed = acted(state, ScheduleAct("resume", BEGIN, "ops", ""))
    assert look(resumed, 2, ALLOWED).start == (BEGIN + HOUR, BEGIN + 2 * HOUR, BEGIN)


def test_operators_acts_are_remembered_and_a_backfill_ends_no_pause() -> None:
    acts = [ScheduleAct(action, BEGIN, "ops", "why") for action in ("pause", "backfill")]
    state = acted(acted(seen(), acts[0]), acts[1])
    assert state.acts == tuple(acts)
    assert state.paused == acts[0]


def test_a_pause_is_not_forgotten_with_older_acts() -> None:
    state = acted(seen(), ScheduleAct("pause", BEGIN, "ops", "maintenance"))
    for _ in range(REMEMBERED):
        state = acted(state, ScheduleAct("backfill", BEGIN, "ops", ""))
    assert {act.action for act in state.acts} == {"backfill"}
    assert state.paused is not None
