"""``mg.on_rollback``: an undo without a step before it."""

from __future__ import annotations

import pytest

import makegood as mg
from makegood.definition.attempt import Attempt
from tests.engine.shop import charge, note, ship


@mg.step(retry=mg.Retry(delays=[0, 3]))
async def tell(who: str, times: int = 1) -> None: ...


@mg.workflow
async def order() -> None:
    await charge()
    mg.on_rollback(tell, "Ann", times=2)
    await ship()
    await note()


@pytest.fixture
def failing(start):
    run = start(order)
    assert run.complete("charge", "c") == ["charge done", "tell on rollback", "ship scheduled"]
    run.complete("ship", "s")
    assert run.fail_for_good("note")[-1] == "undo ship"
    assert run.undo("ship") == ["ship undone", "undo tell"]
    return run


def test_it_takes_its_turn_by_the_place_of_the_call(failing):
    assert failing.undo("tell") == ["tell undone", "undo charge"]
    assert failing.undo("charge") == ["charge undone", "COMPENSATED"]
    assert failing.state.undone == ["ship", "tell", "charge"]


def test_it_is_not_run_when_nothing_fails(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("ship", "s")
    assert run.complete("note", "n") == ["note done", "COMPLETED"]
    assert run.state.residue == []


def test_it_has_the_steps_own_retries(failing):
    failing.fail("tell")
    assert failing.wait_seconds("tell") == 3
    assert failing.fail("tell") == ["tell attempt 2 failed: give up", "parked: tell"]


def test_it_calls_the_steps_own_function_with_its_arguments(failing):
    definition = failing.execution.program.steps[2]
    assert definition.signature.decode_arguments(failing.step("tell").arguments).args == ("Ann", 2)
    assert definition.manner("undo") == (True, None)


def test_it_has_a_key_of_its_own():
    keys = {
        Attempt("run-1", number, "tell", 1, undo=undo).idempotency_key for number in (2, 3) for undo in (0, 1)
    }
    assert len(keys) == 4


def test_what_is_registered_before_the_workflow_does_anything(start):
    @mg.workflow
    async def first() -> None:
        mg.on_rollback(tell, "Ann")
        await note()

    run = start(first)
    assert run.fail_for_good("note")[-2:] == ["rollback", "undo tell"]
    assert run.undo("tell")[-1] == "COMPENSATED"


def test_inside_a_saga_it_belongs_to_that(start):
    @mg.workflow
    async def whole() -> None:
        mg.on_rollback(tell, "outer")
        try:
            async with mg.saga():
                mg.on_rollback(tell, "inner")
                await note()
        except mg.StepFailed:
            return

    run = start(whole)
    assert run.fail_for_good("note")[-2:] == ["saga 1 rolls back: tell", "undo tell"]
    assert run.undo("tell")[-1] == "COMPLETED"
    assert [record.state for record in run.state.steps.values()] == ["done", "undone", "failed"]


def test_a_run_that_is_terminated_lists_it(start):
    run = start(order)
    run.complete("charge", "c")
    assert run.operate("terminate")[-1] == "TERMINATED, open: charge, tell, ship"


def test_outside_a_workflow_it_is_refused():
    with pytest.raises(mg.OutsideWorkflow, match=r"mg.on_rollback\(\) was called outside a workflow"):
        mg.on_rollback(tell, "Ann")


@pytest.mark.parametrize("wrong", [print, None, "tell", tell.function])
def test_something_that_is_no_step_is_refused(start, wrong):
    @mg.workflow
    async def mistaken() -> None:
        mg.on_rollback(wrong, "Ann")

    assert "takes a function decorated with @mg.step" in start(mistaken).state.failure.message


def test_arguments_that_do_not_fit_are_refused(start):
    @mg.workflow
    async def mistaken() -> None:
        mg.on_rollback(tell)  # type: ignore[call-arg] # the mistake under test

    assert "missing a required argument: 'who'" in start(mistaken).state.failure.message


def test_a_changed_name_does_not_fit_the_journal(start):
    run = start(order)
    run.complete("charge", "c")

    @mg.workflow(name="order")
    async def changed() -> None:
        await charge()
        mg.on_rollback(note, "Ann")
        await ship()

    from tests.engine.kit import replayed

    with pytest.raises(
        mg.DeterminismError, match=r"\n-RollbackRegistered: tell\n\+RollbackRegistered: note\n"
    ):
        replayed(changed, run.entries)
