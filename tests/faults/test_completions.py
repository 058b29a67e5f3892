"""The crash matrix of external completion: a question is answered once, whoever dies when."""

import pytest

from tests.faults.harness import Case
from tests.faults.matrix import EFFORT, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import approval_saga

APPROVAL = approval_saga(Services())
SCRIPTS = {
    "it is answered": {},
    "it is answered before the step is pending": {("do", "approve"): ["early"]},
    "it is answered too late": {("do", "approve"): ["late"]},
    "nobody answers the first time": {("do", "approve"): ["silent", "ok"]},
    "nobody ever answers": {("do", "approve"): ["silent"]},
    "it is refused once": {("do", "approve"): ["refuses", "ok"]},
    "it is refused": {("do", "approve"): ["refuses"]},
    "nobody can be asked": {("do", "approve"): ["fail", "early"]},
    "the label fails": {("do", "label"): ["fail"]},
    "an early answer, and the label fails": {("do", "approve"): ["early"], ("do", "label"): ["fail"]},
}
PAIRED = (  # a late answer, a second question and a failure fall to other scripts of the same steps
    "it is answered",
    "it is answered before the step is pending",
    "nobody ever answers",
    "it is refused once",
    "an early answer, and the label fails",
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_crash_anywhere(name):
    assert crash_everywhere(APPROVAL, Case(SCRIPTS[name])) >= 10


@pytest.mark.parametrize("name", SCRIPTS if EFFORT > 1 else PAIRED)
def test_two_crashes_at_every_pair_of_writes(name):
    assert crash_at_every_pair(APPROVAL, Case(SCRIPTS[name])) >= 20


@pytest.mark.parametrize(
    "name", ["it is answered", "it is answered before the step is pending", "nobody ever answers"]
)
def test_a_cancellation_at_every_write(name):
    writes = hold(APPROVAL, Case(SCRIPTS[name])).writes
    for number in range(1, writes + 1):
        hold(APPROVAL, Case(SCRIPTS[name], cancel_at=("write", number)))


def test_several_runs_are_answered_each_for_itself():
    script = {("do", "approve"): ["ok", "early", "refuses", "ok"]}
    crash_everywhere(APPROVAL, Case(script, run_ids=("order-1", "order-2", "order-3")))


def test_slow_commits():
    for script in SCRIPTS.values():
        hold(APPROVAL, Case(script, commit_seconds=0.5))
