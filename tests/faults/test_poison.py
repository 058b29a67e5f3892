"""A step, or its compensation, that takes down every process that makes it: its run is parked, and can be helped on."""

import pytest

from tests.faults.harness import Case, Fault
from tests.faults.matrix import hold
from tests.faults.participants import Services
from tests.faults.sagas import order_saga

ORDER = order_saga(Services())
DEATHS = 5
LABEL_FAILS = {("do", "label"): ["fail"]}


def dies_from_call(number, when):
    return tuple(Fault("call", one, when) for one in range(number, number + DEATHS))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("script", "call"), [({}, 1), ({}, 3), (LABEL_FAILS, 4)])
def test_the_run_is_parked_and_helped_on(script, call, when):
    faults = dies_from_call(call, when)
    parked = hold(ORDER, Case(script, faults=faults))
    assert parked.evidence.dump[0].status == "PARKED"
    helped = hold(ORDER, Case(script, faults=faults, operator="retry"))
    assert helped.evidence.dump[0].status == ("COMPENSATED" if script else "COMPLETED")


def test_one_death_less_is_survived():
    outcome = hold(ORDER, Case({}, faults=dies_from_call(1, "before")[:-1]))
    assert outcome.evidence.dump[0].status == "COMPLETED"
