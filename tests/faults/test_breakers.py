"""The crash matrix of breakers and limits: what is held has not begun, and no crash makes it lost, or counts it."""

from dataclasses import replace

import msgspec
import pytest

from tests.faults.evidence import Evidence
from tests.faults.harness import Case
from tests.faults.matrix import crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import guarded_saga

GUARDED = guarded_saga(Services())
RUNS = ("order-1", "order-2", "order-3")
CASES = {
    "the bank is down for a while": Case({("do", "charge"): ["fail", "fail", "ok"]}, run_ids=RUNS),
    "the bank is down for longer": Case({("do", "charge"): ["fail", "fail", "fail", "fail", "fail", "ok"]}),
    "nobody knows what it did": Case(
        {("do", "reserve"): ["lost", "cut-done", "ok"], ("probe", "reserve"): ["fail", "fail", "ok"]},
        run_ids=RUNS,
    ),
    "it is down for what is to be undone": Case(
        {("do", "label"): ["fail"], ("undo", "reserve"): ["fail", "fail", "fail", "ok"]}, run_ids=RUNS[:2]
    ),
    "many at a time": Case(run_ids=(*RUNS, "order-4", "order-5")),
}


def recorded(evidence: Evidence, event: str) -> int:
    """How many such events the journals hold."""
    entries = [msgspec.json.decode(data) for run in evidence.dump for _, data, _ in run.entries]
    return sum(one["event"] == event for entry in entries for one in entry["events"])


@pytest.mark.parametrize("name", CASES)
def test_something_is_held(name):
    evidence = hold(GUARDED, CASES[name]).evidence
    assert recorded(evidence, "AttemptReleased") >= 1


@pytest.mark.parametrize("name", CASES)
def test_a_crash_anywhere(name):
    assert crash_everywhere(GUARDED, CASES[name]) >= 10


@pytest.mark.parametrize("name", list(CASES)[1:3])
def test_two_crashes_at_every_pair_of_writes(name):
    assert crash_at_every_pair(GUARDED, replace(CASES[name], run_ids=RUNS[:1])) >= 20


@pytest.mark.parametrize("name", CASES)
def test_a_cancellation_at_every_write(name):
    for number in range(1, hold(GUARDED, CASES[name]).writes + 1):
        hold(GUARDED, replace(CASES[name], cancel_at=("write", number)))


@pytest.mark.parametrize("how", ["at once", "after undoing"])
@pytest.mark.parametrize("name", CASES)
def test_a_termination_at_every_write(name, how):
    for number in range(1, hold(GUARDED, CASES[name]).writes + 1):
        hold(GUARDED, replace(CASES[name], cancel_at=("write", number), terminate=how))


@pytest.mark.parametrize("commit_seconds", [0, 0.5])
@pytest.mark.parametrize("how", ["then resumed", "then cancelled"])
@pytest.mark.parametrize("name", CASES)
def test_a_pause_at_every_write(name, how, commit_seconds):
    case = replace(CASES[name], commit_seconds=commit_seconds)
    for number in range(1, hold(GUARDED, case).writes + 1):
        hold(GUARDED, replace(case, cancel_at=("write", number), pause=how))


def test_slow_commits():
    for case in CASES.values():
        hold(GUARDED, replace(case, commit_seconds=0.5))
