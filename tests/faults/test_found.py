"""Bugs that the matrix has found, each as a small scenario that shows it."""

from tests.faults.harness import Case, Fault
from tests.faults.matrix import crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import Block, Do, generated_saga, order_saga

SERVICES = Services()
ORDER = order_saga(SERVICES)


def status_of(outcome):
    return outcome.evidence.dump[0].status


def test_starting_a_run_again_while_it_is_being_recovered_does_not_hide_it_from_recovery():
    outcome = hold(ORDER, Case(faults=(Fault("write", 3, "unacknowledged"),), insists=True))
    assert status_of(outcome) == "COMPLETED"


def test_a_probe_after_a_lost_attempt_is_asked_once():
    outcome = hold(ORDER, Case(faults=(Fault("call", 2, "after"),)))
    probes = [call for call in outcome.evidence.calls if call.direction == "probe"]
    assert len(probes) == 1
    assert status_of(outcome) == "COMPLETED"


def test_the_wait_before_the_next_undo_of_a_cancelled_step_survives_a_crash():
    saga = generated_saga(SERVICES, Block("within", (Do("a"),), seconds=0.004))
    crash_everywhere(saga, Case({("do", "a"): ["lost"], ("undo", "a"): ["fail", "ok"]}))


def test_a_compensation_decided_while_recovering_is_not_taken_for_one_under_way():
    plan = Block("group", (Do("a"), Block("then", (Do("b"), Do("c")))))
    crash_everywhere(generated_saga(SERVICES, plan), Case({("do", "a"): ["silent"], ("do", "c"): ["fail"]}))


def test_an_attempt_under_way_is_not_taken_for_one_to_come_when_the_clock_was_set_back():
    script = {("do", "charge"): ["fail", "ok", "decline"]}
    outcome = hold(ORDER, Case(script, (Fault("call", 2, "after"),), steps_back_seconds=50))
    assert status_of(outcome) == "COMPENSATED"


def test_the_effect_of_a_step_that_turns_its_cancellation_into_another_error_is_undone():
    saga = generated_saga(SERVICES, Block("within", (Do("a"),), seconds=0.004))
    assert status_of(hold(saga, Case({("do", "a"): ["interrupted"]}))) == "COMPLETED"


def test_a_step_that_swallows_its_cancellation_holds_up_no_drain_and_stays_unknown():
    saga = generated_saga(SERVICES, Block("gather", (Do("a"), Block("then", (Do("b"), Do("c"))))))
    script = {("do", "a"): ["interrupted", "decline"]}
    outcome = hold(saga, Case(script, (Fault("write", 4, "stop"),)))
    assert status_of(outcome) == "COMPENSATED"


def test_a_termination_while_what_a_workflow_gave_up_on_is_being_undone_undoes_the_rest():
    saga = generated_saga(SERVICES, Block("then", (Do("a"), Block("try", (Do("b"),)))))
    script = {("do", "b"): ["cut"], ("undo", "b"): ["fail", "ok"]}
    outcome = hold(saga, Case(script, cancel_at=("call", 4), terminate="after undoing"))
    assert status_of(outcome) == "TERMINATED"
    crash_everywhere(saga, Case(script, cancel_at=("call", 4), terminate="after undoing"))


def test_a_run_that_is_terminated_in_the_entry_that_stops_a_step_records_nothing_more():
    saga = generated_saga(SERVICES, Block("within", (Block("gather", (Do("a"), Do("b"))),), seconds=0.004))
    script = {("do", "a"): ["fail"], ("do", "b"): ["decline"]}
    case = Case(script, cancel_at=("write", 1), terminate="at once", seconds={"b": 0.001})
    assert status_of(hold(saga, case)) == "TERMINATED"
    crash_everywhere(saga, case)


def test_a_run_that_is_terminated_while_others_are_being_recovered_is_not_recovered_after_its_end():
    case = Case(
        cancel_at=("call", 2),
        terminate="at once",
        seconds={"reserve": 1.0},
        commit_seconds=0.002,
        run_ids=("order-1", "order-2", "order-3"),
    )
    crash_everywhere(ORDER, case)
