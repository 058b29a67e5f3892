"""The circuit breaker as a state machine, and a step's own limits: pure, at times that the test says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

import makegood as mg
from makegood.definition.rate import checked_rate
from makegood.worker.breaker import BreakerState, State
from makegood.worker.limit import LimitState

BREAKER = mg.Breaker("payments", failures=3, within=10, cool_down=30, drain="2/s")


def begin(breaker: BreakerState, at: float) -> int:
    assert breaker.may_begin_at(at) <= at
    period = breaker.let_through(at)
    breaker.begun(at)
    return period


def fail(breaker: BreakerState, *times: float) -> None:
    for at in times:
        breaker.ended(begin(breaker, at), "failed", at)


def answered() -> BreakerState:
    breaker = BreakerState(BREAKER)
    breaker.ended(begin(breaker, 0.0), "answered", 0.0)
    return breaker


def opened() -> BreakerState:
    breaker = answered()
    fail(breaker, 1.0, 2.0, 3.0)
    return breaker


def closing() -> BreakerState:
    """Answered again at 33, with something held."""
    breaker = opened()
    breaker.ended(begin(breaker, 33.0), "answered", 33.0)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = answered()
    fail(breaker, 1.0, 2.0)

    assert not breaker.is_open
    fail(breaker, 3.0)
    assert breaker.is_open
    assert (breaker.opened_at, breaker.failures, breaker.next_try_at) == (3.0, 3, 33.0)


def test_an_answer_in_between_begins_a_new_row() -> None:
    breaker = answered()
    fail(breaker, 1.0, 2.0)
    breaker.ended(begin(breaker, 2.5), "answered", 2.5)
    fail(breaker, 3.0, 4.0)

    assert breaker.state is State.CLOSED


def test_failures_far_apart_do_not_open_it() -> None:
    breaker = answered()
    fail(breaker, 1.0, 2.0, 11.5, 12.5)

    assert breaker.state is State.CLOSED


def test_the_last_moment_of_the_window_counts() -> None:
    breaker = answered()
    fail(breaker, 1.0, 2.0, 11.0)

    assert breaker.is_open


def test_an_attempt_that_tells_nothing_changes_nothing() -> None:
    breaker = answered()
    fail(breaker, 1.0, 2.0)
    breaker.ended(begin(breaker, 2.5), "nothing", 2.5)
    fail(breaker, 3.0)

    assert breaker.is_open


def test_while_it_is_open_nothing_begins_until_it_has_cooled_down() -> None:
    assert opened().may_begin_at(5.0) == 33.0


def test_then_one_attempt_is_let_through() -> None:
    breaker = opened()
    begin(breaker, 40.0)

    assert breaker.state is State.HALF_OPEN
    assert breaker.may_begin_at(41.0) == 70.0


def test_an_attempt_that_hangs_does_not_keep_the_others_from_trying() -> None:
    breaker = opened()
    begin(breaker, 40.0)
    second = begin(breaker, 70.0)

    assert breaker.may_begin_at(71.0) == 100.0
    breaker.ended(second, "answered", 72.0)
    assert breaker.state is State.DRAINING


def test_if_that_fails_it_is_open_for_as_long_again_and_since_the_first_time() -> None:
    breaker = opened()
    fail(breaker, 40.0)

    assert (breaker.state, breaker.opened_at, breaker.failures) == (State.OPEN, 3.0, 4)
    assert breaker.may_begin_at(41.0) == 70.0


def test_if_that_tells_nothing_another_one_is_let_through() -> None:
    breaker = opened()
    breaker.ended(begin(breaker, 40.0), "nothing", 41.0)

    assert breaker.may_begin_at(41.0) == 41.0
    begin(breaker, 41.0)
    assert breaker.may_begin_at(42.0) == 71.0


def test_if_that_was_withdrawn_another_one_is_let_through() -> None:
    breaker = opened()
    breaker.withdrawn(breaker.let_through(40.0))

    assert breaker.may_begin_at(41.0) == 41.0


def test_once_there_is_an_answer_what_was_held_drains_at_its_rate() -> None:
    breaker = closing()

    assert breaker.state is State.DRAINING
    assert breaker.may_begin_at(33.0) == 33.5
    begin(breaker, 34.0)
    assert breaker.may_begin_at(34.0) == 34.5


def test_without_a_rate_it_drains_at_once() -> None:
    breaker = BreakerState(mg.Breaker("payments", failures=1, drain=None))
    fail(breaker, 0.0)
    breaker.ended(begin(breaker, 30.0), "answered", 30.0)

    assert breaker.may_begin_at(30.0) == 30.0


def test_when_nothing_is_held_any_more_it_is_closed() -> None:
    breaker = closing()
    breaker.emptied()

    assert breaker.state is State.CLOSED
    assert breaker.may_begin_at(33.0) == 33.0


def test_failures_while_it_drains_open_it_again() -> None:
    breaker = closing()
    fail(breaker, 34.0, 35.0, 36.0)

    assert (breaker.state, breaker.opened_at) == (State.OPEN, 36.0)


def test_what_began_before_it_opened_has_nothing_to_tell() -> None:
    breaker = answered()
    before = [begin(breaker, 0.5) for _ in range(5)]
    fail(breaker, 1.0, 2.0, 3.0)
    breaker.ended(before[0], "answered", 4.0)
    breaker.ended(before[1], "failed", 5.0)

    assert (breaker.state, breaker.next_try_at) == (State.OPEN, 33.0)
    trial = begin(breaker, 33.0)
    breaker.ended(before[2], "answered", 33.1)
    assert breaker.state is State.HALF_OPEN
    breaker.ended(trial, "answered", 34.0)
    for period in before[3:]:
        breaker.ended(period, "failed", 35.0)
    assert breaker.failures == 0


def test_until_the_first_answer_only_a_few_attempts_are_under_way() -> None:
    breaker = BreakerState(BREAKER)
    periods = [begin(breaker, 0.0) for _ in range(3)]

    assert breaker.may_begin_at(0.0) == 30.0
    breaker.ended(periods[0], "failed", 1.0)
    assert breaker.may_begin_at(1.0) == 1.0
    breaker.ended(periods[1], "answered", 2.0)
    assert breaker.state is State.CLOSED


def test_after_the_first_answer_what_an_earlier_worker_had_held_drains() -> None:
    breaker = BreakerState(BREAKER)
    breaker.has_inherited = True
    breaker.ended(begin(breaker, 0.0), "answered", 0.0)

    assert breaker.state is State.DRAINING


def test_until_the_first_answer_a_dead_service_is_found_out_by_a_few_attempts() -> None:
    breaker = BreakerState(BREAKER)
    for period in [begin(breaker, 0.0) for _ in range(3)]:
        breaker.ended(period, "failed", 1.0)

    assert breaker.is_open


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "answered", "failed", "nothing"]), st.floats(0, 20)), max_size=80
    )
)
def test_whatever_happens_few_attempts_are_under_way_while_nobody_answers_and_none_begins_early(
    story: list[tuple[str, float]],
) -> None:
    breaker = BreakerState(BREAKER)
    under_way: list[tuple[int, float]] = []
    at, opened_last = 0.0, -math.inf
    for what, seconds in story:
        at += seconds
        if what == "begin":
            if breaker.may_begin_at(at) > at:
                continue
            assert not (breaker.is_open and at < opened_last + BREAKER.cool_down_seconds)
            period = breaker.let_through(at)
            same = [begun_at for one, begun_at in under_way if one == period]
            if breaker.state in (State.HALF_OPEN, State.UNTRIED):
                most = 1 if breaker.state is State.HALF_OPEN else BREAKER.failures
                assert len(same) < most or at >= same[-1] + BREAKER.cool_down_seconds
            under_way.append((period, at))
        elif under_way:
            was_open = breaker.state is State.OPEN
            breaker.ended(under_way.pop(0)[0], what, at)  # type: ignore[arg-type] # sampled from the verdicts
            if breaker.state is State.OPEN and not was_open:
                opened_last = at


def begun(
    limit: LimitState, asked_at: Sequence[float], lasting: float = 0.0, later: float = 0.0
) -> list[float]:
    """When attempts begin that are asked for at these times, each let through as soon as it may, ``later`` begun."""
    times: list[float] = []
    at = 0.0
    for asked in asked_at:
        at = max(at, asked)
        while limit.may_begin_at(at) > at:
            at = limit.may_begin_at(at)
        period = limit.let_through(at)
        limit.begun(at + later)
        times.append(at + later)
        limit.ended(period, "answered", at + lasting)
    return times


def test_as_many_as_the_rate_says_begin_at_once() -> None:
    assert begun(LimitState(checked_rate("3/s", ""), None), [0.0] * 7) == [0, 0, 0, 1, 1, 1, 2]


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=60).map(sorted))
def test_no_window_of_time_sees_more_than_the_rate(count: int, asked_at: list[float]) -> None:
    times = begun(LimitState(checked_rate(f"{count}/min", ""), None), asked_at)

    assert all(later >= sooner + 60 for sooner, later in zip(times, times[count:], strict=False))


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "begin", "withdraw", "end"]), st.floats(0, 1)), max_size=100),
)
def test_whatever_happens_no_limit_is_exceeded(count: int, most: int, story: list[tuple[str, float]]) -> None:
    limit = LimitState(checked_rate(f"{count}/s", ""), most)
    let_through = under_way = 0
    at, times = 0.0, []
    for what, seconds in story:
        at += seconds
        if what == "ask" and limit.may_begin_at(at) <= at:
            limit.let_through(at)
            let_through += 1
        elif what == "begin" and let_through:
            limit.begun(at)
            times.append(at)
            let_through, under_way = let_through - 1, under_way + 1
        elif what == "withdraw" and let_through:
            limit.withdrawn(0)
            let_through -= 1
        elif what == "end" and under_way:
            limit.ended(0, "answered", at)
            under_way -= 1
        assert let_through + under_way <= most
    assert all(later >= sooner + 1 for sooner, later in zip(times, times[count:], strict=False))


def test_so_many_at_a_time_and_the_next_when_one_has_ended() -> None:
    limit = LimitState(None, 2)
    for _ in range(2):
        limit.begun(limit.let_through(0.0))

    assert limit.may_begin_at(5.0) == math.inf
    limit.ended(0, "failed", 5.0)
    assert limit.may_begin_at(5.0) == 5.0
