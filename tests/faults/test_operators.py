"""What operators do, at every write and across every crash: rolling back to a step, trying with other arguments."""

from dataclasses import replace

import pytest

import makegood as mg
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import Saga, Terms, make_undoable, order_saga

SERVICES = Services()
ORDER = order_saga(SERVICES)


def approved_saga(services: Services) -> Saga:
    """Charge; have it approved, which parks the run if nobody does; label."""
    charge, label = make_undoable(services, "charge"), make_undoable(services, "label", retry=None)

    @mg.step(retry=None, on_exhausted="park")
    async def approve(run_id: str, how: str) -> str:
        return await services.do(run_id, "approve", mg.idempotency_key())

    @approve.compensation
    async def withdraw(result: str | None, run_id: str, how: str) -> None:
        await services.undo(run_id, "approve", mg.idempotency_key(), result)

    @mg.workflow
    async def approved(run_id: str) -> str:
        await charge(run_id)
        approval = await approve(run_id, "quickly")
        return f"{approval} {await label(run_id)}"

    names = ("charge", "approve", "label")
    return Saga("approved", services, approved, Terms(frozenset(names)), names)


APPROVED = approved_saga(SERVICES)
CRASH_EVERY = 2 if EFFORT > 1 else 4
SCRIPTS = {
    "nothing goes wrong": {},
    "shipping fails": {("do", "label"): ["fail"]},
    "reserving is cut off": {("do", "reserve"): ["cut-done", "ok"]},
}


@pytest.mark.parametrize("kept", ["charge", "reserve"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_rollback_to_a_step_at_every_write_and_a_crash_near_it(script, kept):
    case = Case(SCRIPTS[script], terminate=kept)
    endings = set()
    for moment in range(1, hold(ORDER, Case(SCRIPTS[script])).writes + 1):
        back = replace(case, cancel_at=("write", moment))
        outcome = hold(ORDER, back)
        endings.add(outcome.evidence.dump[0].status)
        for number in range(1 + moment % CRASH_EVERY, outcome.writes + 1, CRASH_EVERY):
            hold(ORDER, replace(back, faults=(Fault("write", number, WRITE_MOMENTS[number % 3]),)))
    assert "TERMINATED" in endings


def test_a_parked_step_is_tried_with_other_arguments_across_any_crash():
    case = Case({("do", "approve"): ["fail"]}, operator="retry with other arguments")
    outcome = hold(APPROVED, case)
    assert outcome.evidence.dump[0].status == "COMPLETED"
    assert any(call.key == "order-42/2/approve/2" for call in outcome.evidence.calls)
    crash_everywhere(APPROVED, case)
