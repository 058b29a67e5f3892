"""Runs that are paused at every write, resumed, cancelled or terminated, with a crash near it."""

from dataclasses import replace

import pytest

from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, hold
from tests.faults.participants import Services
from tests.faults.sagas import Block, Do, generated_saga, order_saga

SERVICES = Services()
ORDER = order_saga(SERVICES)
SLEEPER = generated_saga(SERVICES, Block("then", (Do("a"), Block("sleep", (Do("b"),), seconds=20.0))))
SCRIPTS = {
    "nothing goes wrong": {},
    "shipping fails": {("do", "label"): ["fail"]},
    "shipping is cut off": {("do", "label"): ["cut-done", "ok"]},
    "an undo fails once": {("do", "label"): ["fail"], ("undo", "reserve"): ["fail", "ok"]},
}
THEN = {
    "resumed": {"pause": "then resumed"},
    "cancelled": {"pause": "then"},
    "terminated": {"pause": "then", "terminate": "at once"},
    "rolled back": {"pause": "then", "terminate": "after undoing"},
}
CRASH_EVERY = 2 if EFFORT > 1 else 4


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_pause_at_every_write_and_a_crash_near_it(script, then):
    pause_everywhere(ORDER, Case(SCRIPTS[script], **THEN[then]))


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("waiting_limit", [0, 1_000])
def test_a_pause_while_a_timer_runs(then, waiting_limit):
    pause_everywhere(SLEEPER, Case(waiting_limit=waiting_limit, **THEN[then]))


def pause_everywhere(saga, case):
    for moment in range(1, hold(saga, replace(case, pause="", terminate="")).writes + 1):
        paused = replace(case, cancel_at=("write", moment))
        writes = hold(saga, paused).writes
        for number in range(1 + moment % CRASH_EVERY, writes + 1, CRASH_EVERY):
            hold(saga, replace(paused, faults=(Fault("write", number, WRITE_MOMENTS[number % 3]),)))
