"""The crash matrix of a deploy: every process after the first one runs changed code, asking ``mg.patched``."""

import pytest

from tests.faults.harness import Case, Fault
from tests.faults.matrix import crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.versions import changed_saga

CHANGED = changed_saga(Services())
SCRIPTS = [
    pytest.param({}, id="nothing goes wrong"),
    pytest.param({("do", "label"): ["fail"]}, id="label fails"),
    pytest.param({("do", "insure"): ["lost"]}, id="insure times out, done"),
    pytest.param({("do", "charge"): ["fail", "ok"]}, id="charge fails, then works"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_deploy_at_every_write(script):
    assert crash_everywhere(CHANGED, Case(script)) >= 10


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_deploy_at_every_write_and_a_crash_after_it(script):
    assert crash_at_every_pair(CHANGED, Case(script)) >= 20


def called(fault: Fault) -> set[str]:
    return {call.step for call in hold(CHANGED, Case(faults=(fault,))).evidence.calls}


def test_a_run_takes_those_changes_that_it_has_not_come_to_yet():
    last = hold(CHANGED, Case()).writes
    begun = 2  # the first write is the take-over
    assert called(Fault("write", begun, "before")) == {"weigh", "charge", "insure", "label"}
    assert called(Fault("write", begun, "acknowledged")) == {"charge", "insure", "label"}
    assert called(Fault("write", last, "before")) == {"charge", "label"}
