"""Schedules: which moments they name, what they do about late and overlapping ticks, and what is refused."""

from __future__ import annotations

import math
import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from makegood.definition.keys import checked_run_id
from makegood.definition.schedule import Plan, Schedule, Skipped, checked_schedule
from makegood.errors import DefinitionError, UsageError

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BERLIN, NEW_YORK, LONDON = "Europe/Berlin", "America/New_York", "Europe/London"
CAIRO, LORD_HOWE = "Africa/Cairo", "Australia/Lord_Howe"  # set forward at midnight; set back by half an hour


def at(moment: str) -> float:
    """Seconds since 1970 of an ISO time; in UTC if it names no offset."""
    read = datetime.fromisoformat(moment)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def told(schedule: Schedule, after: str, count: int) -> list[str]:
    """The next ticks as the zone's clock shows them."""
    ids = [schedule.tick_id("nightly", tick) for tick in schedule.ticks(at(after), math.inf, count)]
    return [name.removeprefix("nightly@") for name in ids]


# Which moments


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 2 * * *", "2026-11-23T01:59", ["2026-11-23T02:00", "2026-11-24T02:00"]),
        ("0 2 * * *", "2026-11-23T02:00", ["2026-11-24T02:00", "2026-11-25T02:00"]),
        ("*/15 8-9 * * *", "2026-11-23T08:40", ["2026-11-23T08:45", "2026-11-23T09:00"]),
        ("5,50 * * * *", "2026-11-23T23:10", ["2026-11-23T23:50", "2026-11-24T00:05"]),
        ("0 9 * * MON-FRI", "2026-11-20T10:00", ["2026-11-23T09:00", "2026-11-24T09:00"]),
        ("0 9 * jan,jul sun", "2026-07-27T10:00", ["2027-01-03T09:00", "2027-01-10T09:00"]),
        ("0 0 31 * *", "2026-11-01T00:00", ["2026-12-31T00:00", "2027-01-31T00:00", "2027-03-31T00:00"]),
        ("0 0 L * *", "2028-01-31T00:00", ["2028-02-29T00:00", "2028-03-31T00:00", "2028-04-30T00:00"]),
        ("0 0 LW * *", "2026-10-31T00:00", ["2026-11-30T00:00", "2026-12-31T00:00", "2027-01-29T00:00"]),
        ("0 0 29 2 *", "2026-11-23T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29T00:00"]),
        ("0 0 * 2 MON#5", "2072-03-01T00:00", ["2112-02-29T00:00"]),
        ("0 17 * * 5L", "2026-11-23T00:00", ["2026-11-27T17:00", "2026-12-25T17:00"]),
        ("0 17 * * TUE#2", "2026-11-23T00:00", ["2026-12-08T17:00", "2027-01-12T17:00"]),
        ("0 0 13 * 5", "2026-11-10T00:00", ["2026-11-13T00:00", "2026-11-20T00:00"]),
        ("0 0 1 1 *", "1969-06-01T00:00", ["1970-01-01T00:00"]),
    ],
)
def test_an_expression_names_its_moments(cron, after, expected):
    assert told(Schedule(cron), after, len(expected)) == [f"{moment}:00+00:00" for moment in expected]


@pytest.mark.parametrize(
    ("timezone", "cron", "after", "expected"),
    [
        # set forward: a tick in the hour left out comes right after it
        (
            BERLIN,
            "30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            NEW_YORK,
            "30 2 * * *",
            "2026-03-07T12:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        (CAIRO, "0 0 * * *", "2026-04-23T12:00", ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]),
        # and two of them come as one
        (
            BERLIN,
            "0,30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        (
            BERLIN,
            "0 2,3 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        # set back: once, at the hour's first showing
        (
            BERLIN,
            "30 2 * * *",
            "2026-10-24T12:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            NEW_YORK,
            "30 1 * * *",
            "2026-10-31T12:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        # also seen from within the second showing
        (BERLIN, "45 2 * * *", "2026-10-25T02:30+01:00", ["2026-10-26T02:45:00+01:00"]),
        # those that go with the clock: nothing in the hour left out, and again in the repeated one
        (BERLIN, "*/30 2 * * *", "2026-03-29T00:00", ["2026-03-30T02:00:00+02:00"]),
        (BERLIN, "0 * * * *", "2026-03-29T00:30", ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
        (
            BERLIN,
            "*/30 * * * *",
            "2026-10-25T01:45+02:00",
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00",
            ],
        ),
        (
            NEW_YORK,
            "0 * * * *",
            "2026-11-01T00:30-04:00",
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"],
        ),
        (LORD_HOWE, "*/15 2 * * *", "2026-04-05T01:45+11:00", ["2026-04-05T02:00:00+10:30"]),
        # far from any change, the clock decides as ever
        (BERLIN, "0 2 * * *", "2026-11-23T00:00", ["2026-11-23T02:00:00+01:00"]),
        ("Asia/Kathmandu", "0 2 * * *", "2026-11-23T00:00", ["2026-11-24T02:00:00+05:45"]),
    ],
)
def test_a_clock_that_is_set_runs_each_tick_as_debians_cron_does(timezone, cron, after, expected):
    assert told(Schedule(cron, timezone=timezone), after, len(expected)) == expected


CLOCK_CHANGES = {
    BERLIN: ["2026-03-29T01:00", "2026-10-25T01:00"],
    NEW_YORK: ["2026-03-08T07:00", "2026-11-01T06:00"],
    LONDON: ["2026-03-29T01:00", "2026-10-25T01:00"],
    CAIRO: ["2026-04-23T22:00", "2026-10-29T21:00"],
    LORD_HOWE: ["2026-04-04T15:00", "2026-10-03T15:30"],
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],  # by two hours
    "Pacific/Apia": ["2011-12-30T10:00"],  # a whole day left out
}


@st.composite
def moments_around_a_clock_change(draw: st.DrawFn) -> tuple[str, float]:
    timezone = draw(st.sampled_from(sorted(CLOCK_CHANGES)))
    change = at(draw(st.sampled_from(CLOCK_CHANGES[timezone])))
    return timezone, change + draw(st.floats(-30 * HOUR, 6 * HOUR))


def daily_expressions(minutes: str, hours: str) -> st.SearchStrategy[str]:
    return st.builds(
        "{} {} * * *".format, st.from_regex(minutes, fullmatch=True), st.from_regex(hours, fullmatch=True)
    )


FIXED = daily_expressions("([1-5]?[0-9],)?[1-5]?[0-9]", "([0-9],)?[0-9]|0-[3-9]|[12][0-3]")
FOLLOWING = daily_expressions(r"\*|\*/[1-5]?[1-9]", r"[0-9]|\*|\*/[1-5]|1-[1-9]")


def numbers(field: str, count: int) -> set[int]:
    """What a field of digits, lists, ranges and star steps allows."""
    allowed: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = ("0-" + str(count - 1) if span == "*" else span).partition("-")
        allowed.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return allowed


def seen_by_a_daemon(cron: str, timezone: str, after: float, until: float) -> list[float]:
    """The ticks, found by looking at the zone's clock every minute from two days before."""
    minute_field, hour_field, *_ = cron.split()
    minutes, hours = numbers(minute_field, 60), numbers(hour_field, 24)
    follows_the_clock = cron.startswith("*") or hour_field.startswith("*")
    ticks: list[float] = []
    handled: datetime | None = None
    for instant in range(int(after // MINUTE * MINUTE - 2 * DAY), int(until) + 1, 60):
        shown = datetime.fromtimestamp(instant, ZoneInfo(timezone)).replace(tzinfo=None, fold=0)
        if follows_the_clock or handled is None:
            passed = [shown]
        else:
            passed = [
                handled + timedelta(minutes=1 + n) for n in range((shown - handled) // timedelta(minutes=1))
            ]
        if instant > after and any(one.minute in minutes and one.hour in hours for one in passed):
            ticks.append(float(instant))
        handled = shown if handled is None else max(handled, shown)
    return ticks


@settings(deadline=None)
@given(moments_around_a_clock_change(), FIXED | FOLLOWING)
@example((LORD_HOWE, at("2026-04-05T01:45+11:00")), "*/10 2 * * *")
@example((CAIRO, at("2026-04-23T21:59:59")), "*/20 0 * * *")
@example((BERLIN, at("2026-10-25T02:59:59.9999+02:00")), "*/5 2 * * *")
def test_wherever_one_looks_from_the_ticks_are_those_of_a_daemon_that_watches_the_clock(place, cron):
    timezone, moment = place
    expected = seen_by_a_daemon(cron, timezone, moment, moment + 8 * HOUR)
    found = Schedule(cron, timezone=timezone).ticks(moment, moment + 8 * HOUR, 1000)
    assert found == expected[:1000]


@settings(deadline=None)
@given(
    st.sampled_from(sorted(CLOCK_CHANGES)),
    st.floats(at("1995-01-01"), at("2060-01-01")),
    FIXED
    | FOLLOWING
    | st.sampled_from(["0 0 L * *", "30 2 29 2 *", "15 1 * * 5L", "0 12 31 * *", "7 7 7 7 7"]),
    st.floats(0, 1),
)
def test_ticks_strictly_increase_and_nothing_lies_between(timezone, moment, cron, fraction):
    schedule = Schedule(cron, timezone=timezone)
    ticks = schedule.ticks(moment, math.inf, 4)
    assert ticks[0] > moment
    for earlier, later in pairwise(ticks):
        assert earlier < later
        assert schedule.next_after(earlier) == later
        between = earlier + fraction * (later - earlier)
        assert schedule.next_after(between) == later or between == later
        assert schedule.next_after(math.nextafter(later, 0)) == later


def test_ticks_end_with_the_limit_or_with_the_given_moment_included():
    hourly = Schedule("0 * * * *")
    start = at("2026-11-23T00:00")
    assert hourly.ticks(start, start + 3 * HOUR, 10) == [start + HOUR, start + 2 * HOUR, start + 3 * HOUR]
    assert hourly.ticks(start, start + 3 * HOUR, 2) == [start + HOUR, start + 2 * HOUR]
    assert hourly.ticks(start, start, 10) == []


# Names


def test_a_ticks_run_is_named_by_workflow_and_local_time():
    schedule = Schedule("0 2 * * *", timezone=BERLIN)
    assert schedule.tick_id("nightly", at("2026-11-23T01:00")) == "nightly@2026-11-23T02:00:00+01:00"


def test_the_repeated_hours_ticks_have_ids_of_their_own_and_all_can_name_runs():
    schedule = Schedule("* * * * *", timezone=BERLIN)
    ticks = schedule.ticks(at("2026-10-25T00:00"), at("2026-10-25T03:00"), 1000)
    ids = {checked_run_id(schedule.tick_id("w" * 100, tick)) for tick in ticks}
    assert len(ids) == len(ticks) == 180


# What to do at a moment

NOON = at("2026-11-23T12:00")


def hourly(overlap: str = "skip", catch_up: float = 3.5 * HOUR) -> Schedule:
    return Schedule("0 * * * *", overlap=overlap, catch_up=catch_up)


def test_before_a_tick_there_is_only_to_wait_for_it():
    plan = hourly().plan(NOON - 1, NOON - HOUR, running=False)
    assert plan == Plan((), (), NOON - HOUR, None, wake_at=NOON)


def test_a_tick_starts_its_run_at_its_time():
    plan = hourly().plan(NOON, NOON - HOUR, running=False)
    assert plan == Plan((NOON,), (), NOON, None, wake_at=NOON + HOUR)


def test_skip_drops_a_tick_while_a_run_is_going_on():
    plan = hourly("skip").plan(NOON + 1, NOON - HOUR, running=True)
    assert plan == Plan((), (Skipped(NOON, NOON + 1, "still running"),), NOON + 1, None, wake_at=NOON + HOUR)


def test_allow_starts_a_tick_although_a_run_is_going_on():
    assert hourly("allow").plan(NOON, NOON - HOUR, running=True).start == (NOON,)


def test_buffer_one_lets_one_tick_wait_drops_the_next_and_starts_the_waiting_one_at_the_end():
    schedule = hourly("buffer one")
    waiting = schedule.plan(NOON, NOON - HOUR, running=True)
    assert waiting == Plan((), (), NOON, buffered=NOON, wake_at=NOON + HOUR)
    full = schedule.plan(NOON + HOUR, waiting.handled_until, running=True, buffered=waiting.buffered)
    assert (full.start, full.buffered) == ((), NOON)
    assert full.skipped == (Skipped(NOON + HOUR, NOON + HOUR, "still running"),)
    ended = schedule.plan(NOON + HOUR + 5, full.handled_until, running=False, buffered=full.buffered)
    assert ended == Plan((NOON,), (), NOON + HOUR, None, wake_at=NOON + 2 * HOUR)


def test_a_tick_due_when_the_waiting_one_starts_waits_in_its_place():
    plan = hourly("buffer one").plan(NOON, NOON - HOUR, running=False, buffered=NOON - HOUR)
    assert (plan.start, plan.buffered, plan.skipped) == ((NOON - HOUR,), NOON, ())


def test_a_waiting_tick_waits_for_longer_than_the_catch_up_window():
    plan = hourly("buffer one").plan(NOON + 30 * DAY, NOON + 30 * DAY, running=False, buffered=NOON)
    assert plan.start == (NOON,)


@pytest.mark.parametrize(
    ("overlap", "start", "buffered", "still_running"),
    [
        ("allow", (NOON - 3 * HOUR, NOON - 2 * HOUR, NOON - HOUR, NOON), None, ()),
        ("skip", (NOON - 3 * HOUR,), None, (Skipped(NOON - 2 * HOUR, NOON, "still running"),)),
        ("buffer one", (NOON - 3 * HOUR,), NOON - 2 * HOUR, (Skipped(NOON - HOUR, NOON, "still running"),)),
    ],
)
def test_missed_ticks_are_caught_up_in_order_within_the_window(overlap, start, buffered, still_running):
    plan = hourly(overlap).plan(NOON, NOON - 8 * HOUR, running=False)
    too_late = Skipped(NOON - 7 * HOUR, NOON - 3.5 * HOUR, "too late")
    assert plan == Plan(start, (too_late, *still_running), NOON, buffered, wake_at=NOON + HOUR)


def test_years_of_missed_ticks_are_passed_over_at_once():
    plan = Schedule("* * * * *", catch_up=MINUTE).plan(NOON, NOON - 5000 * DAY, running=False)
    assert plan.start == (NOON,)
    assert plan.skipped == (Skipped(NOON - 5000 * DAY + MINUTE, NOON - MINUTE, "too late"),)


def test_more_due_ticks_than_one_plan_takes_come_with_the_next_plan():
    schedule = hourly("allow")
    first = schedule.plan(NOON, NOON - 3 * HOUR, running=False, limit=2)
    assert (first.start, first.wake_at) == ((NOON - 2 * HOUR, NOON - HOUR), NOON)
    second = schedule.plan(NOON, first.handled_until, running=True, limit=2)
    assert (second.start, second.wake_at) == ((NOON,), NOON + HOUR)


def test_paused_nothing_starts_and_nothing_is_forgotten():
    plan = hourly().plan(NOON, NOON - 2 * HOUR, running=False, buffered=NOON - 2 * HOUR, paused=True)
    assert plan == Plan((), (), NOON - 2 * HOUR, NOON - 2 * HOUR, wake_at=None)


def test_after_a_pause_missed_ticks_follow_the_catch_up_window():
    schedule = hourly("allow", catch_up=1.5 * HOUR)
    paused = schedule.plan(NOON, NOON - 9 * HOUR, running=False, paused=True)
    plan = schedule.plan(NOON, paused.handled_until, running=False)
    assert plan.start == (NOON - HOUR, NOON)
    assert [skipped.reason for skipped in plan.skipped] == ["too late"]


def test_a_clock_set_back_starts_nothing_again():
    plan = hourly("allow").plan(NOON - 5 * HOUR, NOON, running=False)
    assert plan == Plan((), (), NOON, None, wake_at=NOON + HOUR)


OBSERVATIONS = st.lists(
    st.sampled_from(["plan", "plan", "crash", "run ends", "pause", "unpause"])
    | st.floats(0, 6 * HOUR)  # time passes
    | st.floats(-2 * HOUR, 0),  # the clock is set back
    max_size=60,
)


@settings(deadline=None)
@given(OBSERVATIONS, st.sampled_from(["skip", "buffer one", "allow"]), st.integers(1, 5))
def test_whatever_is_observed_and_wherever_a_worker_dies_each_tick_is_dealt_with_once(
    observations, overlap, limit
):
    schedule = Schedule("*/20 * * * *", timezone=BERLIN, overlap=overlap, catch_up=2 * HOUR)
    now = first_seen = at("2026-10-24T22:00")
    stored = Plan((), (), first_seen, None, first_seen)
    started: list[float] = []
    skipped: list[Skipped] = []
    running, paused = 0, False
    for observation in [*observations, "unpause", "plan"]:
        if isinstance(observation, float):
            now += observation
        elif observation == "run ends":
            running = max(running - 1, 0)
        elif observation in ("pause", "unpause"):
            paused = observation == "pause"
        else:
            plan = schedule.plan(
                now,
                stored.handled_until,
                running=running > 0,
                buffered=stored.buffered,
                paused=paused,
                limit=limit,
            )
            if observation == "crash":
                continue  # nothing was stored: the next plan finds what this one found
            assert all(tick <= now or tick == stored.buffered for tick in plan.start)
            assert all(tick > now - 2 * HOUR or tick == stored.buffered for tick in plan.start)
            assert not (paused and plan.start)
            assert plan.wake_at is None if paused else plan.wake_at > plan.handled_until
            stored, running = plan, running + len(plan.start)
            assert overlap == "allow" or running <= 1
            started += plan.start
            skipped += plan.skipped
    every = schedule.ticks(first_seen, stored.handled_until, 100_000)
    passed = [tick for tick in every for one in skipped if one.first <= tick <= one.until]
    waiting = [] if stored.buffered is None else [stored.buffered]
    assert started == sorted(started)
    assert sorted(started + passed + waiting) == every


# What is refused


@pytest.mark.parametrize(
    ("cron", "place"),
    [
        ("61 * * * *", "minute '61' cannot be read. Allowed are 0-59"),
        ("5,61 * * * *", "minute '61'"),
        ("1,,2 * * * *", "minute ''"),
        ("*/0 * * * *", "minute '*/0'"),
        ("-1 * * * *", "minute '-1'"),
        ("0 24 * * *", "hour '24' cannot be read. Allowed are 0-23"),
        ("0 22-4 * * *", "hour '22-4'"),
        ("0 0 0 * *", "day of month '0' cannot be read. Allowed are 1-31"),
        ("0 0 32 * *", "day of month '32'"),
        ("0 0 ? * *", "day of month '?'"),
        ("0 0 1 13 *", "month '13' cannot be read. Allowed are 1-12 or JAN-DEC"),
        ("0 0 1 juni *", "month 'juni'"),
        ("0 0 * * 8", "day of week '8' cannot be read. Allowed are 0-7"),
        ("0 0 * * MON#6", "day of week 'MON#6'"),
        ("0 0 * * L", "day of week 'L'"),
        ("", "0 fields, and needs 5"),
        ("0 2 * *", "4 fields"),
        ("0 0 2 * * *", "6 fields, and needs 5: minute, hour, day of month, month, day of week"),
        ("@daily", "no names such as @daily"),
        (f"{'5' * 5000} * * * *", "minute '555"),
        (None, "give a string"),
        (5, "give a string"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused_with_the_place(cron, place):
    with pytest.raises(DefinitionError) as refused:
        Schedule(cron)
    assert place in str(refused.value)


@settings(deadline=None)
@given(st.text("0123456789*/-,#LWlw MONSUNjan²", max_size=20) | st.text(max_size=20))
@example("5L/2 * * * *")
@example("* * * * 5L/2")
@example("* * L/2 * *")
@example("* * L-3 * *")
@example("* * * * 1-5L")
def test_any_text_is_a_schedule_or_is_refused(text):
    try:
        schedule = Schedule(text)
    except DefinitionError as refused:
        assert repr(text) in str(refused)  # noqa: PT017 - either ending is right
    else:
        assert schedule.next_after(NOON) > NOON


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 */20 * 1L", "0 0 30,31 FEB *"])
def test_an_expression_that_never_fires_is_refused(cron):
    with pytest.raises(DefinitionError, match="never fires: no date has day of month"):
        Schedule(cron)


@pytest.mark.parametrize(
    ("timezone", "answer"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'"),
        ("Europe", "no such time zone"),
        ("", "no such time zone"),
        ("/etc/passwd", "no such time zone"),
        ("../zone", "no such time zone"),
        ("Utopia\x00", "no such time zone"),
        (None, "give a name"),
        (ZoneInfo(BERLIN), "give a name"),
    ],
)
def test_an_unknown_time_zone_is_refused(timezone, answer):
    with pytest.raises(DefinitionError, match=answer):
        Schedule("0 2 * * *", timezone=timezone)


@pytest.fixture
def machine_without_time_zones(monkeypatch):
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath([])
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()


@pytest.mark.usefixtures("machine_without_time_zones")
def test_without_time_zone_data_the_error_says_what_to_install_and_utc_still_works():
    assert told(Schedule("0 2 * * *"), "2026-11-23T00:00", 1) == ["2026-11-23T02:00:00+00:00"]
    with pytest.raises(DefinitionError, match="pip install tzdata"):
        Schedule("0 2 * * *", timezone=BERLIN)


@pytest.mark.parametrize(
    "catch_up", [-1, math.nan, math.inf, timedelta(days=-1), timedelta(days=800), "1h", None]
)
def test_an_absurd_catch_up_window_is_refused(catch_up):
    with pytest.raises(DefinitionError, match=r"catch_up.*between 0 and 366 days"):
        Schedule("0 2 * * *", catch_up=catch_up)


@pytest.mark.parametrize("catch_up", [0, timedelta(0), 9.9])
def test_a_catch_up_window_too_short_for_a_busy_worker_is_refused(catch_up):
    with pytest.raises(DefinitionError, match="at least 10 seconds"):
        Schedule("0 2 * * *", catch_up=catch_up)


@pytest.mark.parametrize("overlap", ["buffer_one", "SKIP", "", None])
def test_an_unknown_overlap_policy_is_refused(overlap):
    with pytest.raises(DefinitionError, match=r"one of 'skip', 'buffer one', 'allow'"):
        Schedule("0 2 * * *", overlap=overlap)


@pytest.mark.parametrize(
    "moment", [math.nan, math.inf, -math.inf, 1e18, -1e18, at("9999-12-31T23:00"), "now"]
)
def test_an_absurd_moment_is_refused(moment):
    with pytest.raises(UsageError, match="no moment"):
        Schedule("0 2 * * *", timezone=BERLIN).next_after(moment)


def test_a_bare_string_is_a_schedule_in_utc():
    assert repr(checked_schedule("0  2 * * *")) == repr(Schedule("0 2 * * *", timezone="UTC"))
    assert checked_schedule(None) is None
    given_one = Schedule("0 2 * * *", timezone=BERLIN)
    assert checked_schedule(given_one) is given_one


@pytest.mark.parametrize("wrong", [5, b"0 2 * * *", ["0 2 * * *"], timedelta(hours=1)])
def test_what_is_no_schedule_is_refused(wrong):
    with pytest.raises(DefinitionError, match="is no schedule"):
        checked_schedule(wrong)
