"""Retry policies: arithmetic and what is refused."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import makegood as mg


def waits(retry: mg.Retry, attempts: int, dice: float = 0.5) -> list[float | None]:
    return [retry.wait_seconds(attempt, dice) for attempt in range(1, attempts + 1)]


def test_literal_delays_are_the_waits_before_each_attempt():
    assert waits(mg.Retry(delays=[0, 1, 5, 30]), 5) == [0, 1, 5, 30, None]


def test_delays_may_be_timedeltas():
    assert waits(mg.Retry(delays=[timedelta(0), timedelta(minutes=1)]), 3) == [0, 60, None]


def test_waits_grow_by_the_factor_up_to_the_maximum():
    retry = mg.Retry(max_attempts=6, initial=1, factor=3, maximum=20)
    assert waits(retry, 7) == [0, 1, 3, 9, 20, 20, None]


def test_by_default_there_are_three_attempts():
    assert waits(mg.Retry(), 4) == [0, 0.5, 1, None]


def test_a_factor_of_1_waits_always_the_same():
    assert waits(mg.Retry(max_attempts=4, initial=2, factor=1), 4) == [0, 2, 2, 2]


def test_jitter_lengthens_or_shortens_the_wait_by_its_fraction():
    retry = mg.Retry(initial=10, jitter=0.2)
    assert retry.wait_seconds(2, 0.0) == 8
    assert retry.wait_seconds(2, 0.5) == 10
    assert retry.wait_seconds(2, 0.9999) == pytest.approx(12, abs=0.01)
    assert retry.wait_seconds(1, 0.9) == 0


@pytest.mark.parametrize("factor", [1.0, 2.0, 10.0, 1e300])
def test_forever_never_ends_and_never_overflows(factor):
    retry = mg.Retry.forever(factor=factor, jitter=0)
    assert retry.wait_seconds(1_000_000, 0.5) == (0.5 if factor == 1 else 60)
    assert retry.max_attempts is None


@given(
    st.builds(
        mg.Retry,
        max_attempts=st.none() | st.integers(1, 50),
        initial=st.floats(0, 1000),
        factor=st.floats(1, 1e6),
        maximum=st.floats(0, 10_000),
        jitter=st.floats(0, 0.99),
    ),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_every_wait_is_within_its_bounds(retry, attempt, dice):
    wait = retry.wait_seconds(attempt, dice)
    if retry.max_attempts is not None and attempt > retry.max_attempts:
        assert wait is None
    else:
        assert 0 <= wait <= retry.maximum * (1 + retry.jitter)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"delays": []}, "at least one attempt"),
        ({"max_attempts": 0}, "at least one attempt"),
        ({"max_attempts": -1}, "at least one attempt"),
        ({"max_attempts": 2.5}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
        ({"initial": -1}, "initial"),
        ({"initial": math.nan}, "initial"),
        ({"initial": math.inf}, "initial"),
        ({"initial": "soon"}, "initial"),
        ({"initial": None}, "initial"),
        ({"maximum": timedelta(days=400)}, "maximum"),
        ({"delays": [0, -1]}, "delays"),
        ({"delays": [0, None]}, "delays"),
        ({"delays": "135"}, "delays"),
        ({"delays": 5}, "delays"),
        ({"factor": 0.5}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"factor": math.inf}, "factor"),
        ({"factor": "two"}, "factor"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
        ({"jitter": "some"}, "jitter"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_where_it_is_written(wrong, told):
    with pytest.raises(mg.DefinitionError, match=told):
        mg.Retry(**wrong)


def test_a_policy_can_be_read():
    assert repr(mg.Retry(delays=[0, 1])) == "Retry(delays=[0.0, 1.0])"
    assert "max_attempts=None" in repr(mg.Retry.forever())
