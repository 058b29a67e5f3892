"""The crash matrix of a deploy of a second version: a run ends on the code that it was started on."""

import pytest

from tests.faults.harness import Case
from tests.faults.matrix import crash_at_every_pair, crash_everywhere, distinct_crashes, hold
from tests.faults.participants import Services
from tests.faults.versions import second_version_saga

ORDER = second_version_saga(Services())
FIRST, SECOND = {"charge", "label"}, {"weigh", "charge", "label", "insure"}
SCRIPTS = [
    pytest.param({}, id="nothing goes wrong"),
    pytest.param({("do", "label"): ["fail"]}, id="label fails"),
    pytest.param({("do", "charge"): ["lost", "ok"]}, id="charge times out, then works"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_deploy_at_every_write(script):
    crash_everywhere(ORDER, Case(script))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_deploy_at_every_write_and_a_crash_after_it(script):
    crash_at_every_pair(ORDER, Case(script))


def test_each_run_ends_on_the_version_on_which_it_was_started():
    for fault in distinct_crashes(hold(ORDER, Case())):
        evidence = hold(ORDER, Case(faults=(fault,))).evidence
        called = {call.step for call in evidence.calls}
        began = min(commit.process for commit in evidence.commits if commit.number == 1)
        assert called == (FIRST if began == 1 else SECOND), fault
