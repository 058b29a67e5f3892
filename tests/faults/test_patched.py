"""The crash matrix of a deploy: every process after the first one runs changed code, asking ``mg.patched``."""

import pytest

import makegood as mg
from tests.faults.harness import Case, Fault
from tests.faults.matrix import crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import Saga, Terms, make_step, make_undoable


def changed_saga(services: Services) -> Saga:
    """Charge, label; since the deploy: weigh, charge, insure and then label."""
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    label = make_undoable(services, "label", retry=None)
    weigh = make_step(services, "weigh", retry=None)
    insure = make_undoable(services, "insure", retry=None)

    @mg.workflow
    async def order(order_id: str) -> str:
        deployed = services.process > 1
        if deployed and mg.patched("weigh"):
            await weigh(order_id)
        receipt = await charge(order_id)
        if deployed and mg.patched("insure"):
            await insure(order_id)
        return f"{receipt} {await label(order_id)}"

    terms = Terms(
        undoable=frozenset(("charge", "label", "insure")),
        predecessors={
            "weigh": frozenset(),
            "charge": frozenset(),
            "insure": frozenset(("charge",)),
            "label": frozenset(("charge",)),
        },
    )
    return Saga("changed", services, order, terms, ("charge", "label"))


CHANGED = changed_saga(Services())
SCRIPTS = [
    pytest.param({}, id="nothing goes wrong"),
    pytest.param({("do", "label"): ["fail"]}, id="label fails"),
    pytest.param({("do", "insure"): ["lost"]}, id="insure times out, done"),
    pytest.param({("do", "charge"): ["fail", "ok"]}, id="charge fails, then works"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_deploy_at_every_write(script):
    assert crash_everywhere(CHANGED, Case(script)) >= 15


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
