"""The crash matrix of timers and of values that a run draws: none early, none twice, none another in another life."""

import pytest

from tests.faults.harness import Case
from tests.faults.matrix import EFFORT, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.values import lottery_saga

LOTTERY = lottery_saga(Services())
IN_MEMORY, EVICTED = 1_000, 0
SCRIPTS = {
    "nothing goes wrong": {},
    "the last step fails": {("do", "ship"): ["fail"]},
    "the first step works in the end": {("do", "note"): ["cut-done", "ok"]},
}


@pytest.mark.parametrize("waiting_limit", [IN_MEMORY, EVICTED], ids=["in memory", "evicted"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_crash_anywhere(name, waiting_limit):
    assert crash_everywhere(LOTTERY, Case(SCRIPTS[name], waiting_limit=waiting_limit)) >= 15


@pytest.mark.parametrize("name", SCRIPTS if EFFORT > 1 else ["the last step fails"])
def test_two_crashes_at_every_pair_of_writes(name):
    assert crash_at_every_pair(LOTTERY, Case(SCRIPTS[name], waiting_limit=EVICTED)) >= 30


def test_the_wall_clock_is_set_back_at_every_restart():
    crash_everywhere(LOTTERY, Case(steps_back_seconds=50))


def test_a_cancellation_at_every_write():
    for number in range(1, hold(LOTTERY, Case()).writes + 1):
        hold(LOTTERY, Case(cancel_at=("write", number)))
