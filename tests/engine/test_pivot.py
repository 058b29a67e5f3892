"""``mg.pivot()``: the point of no return. Before it everything is rolled back as ever, behind it nothing is."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.kit import replayed, sealed
from tests.engine.shop import charge, email, note, reserve, ship


@mg.workflow
async def order() -> None:
    await charge()
    mg.pivot()
    await ship()
    mg.pivot()
    await email()


@pytest.fixture
def beyond(start):
    run = start(order)
    assert run.complete("charge", "c") == ["charge done", "PIVOTED", "ship scheduled"]
    return run


def test_before_it_the_run_is_rolled_back_as_ever(start):
    run = start(order)
    assert run.fail_for_good("charge")[-2:] == ["rollback", "FAILED"]


def test_saying_it_again_changes_nothing(beyond):
    assert beyond.complete("ship", "s") == ["ship done", "email scheduled"]
    assert beyond.complete("email", "e")[-1] == "COMPLETED"


def test_a_step_that_gives_up_parks_the_run_until_an_operator_helps_it_on(beyond):
    assert beyond.fail_for_good("ship") == ["ship attempt 1 failed: give up", "parked: ship"]
    assert beyond.status is Status.PARKED
    assert beyond.operate("retry") == ["ann: retry ship"]
    assert beyond.complete("ship", "s")[-1] == "email scheduled"


def test_a_best_effort_step_does_not_park_it(beyond):
    beyond.complete("ship", "s")
    assert beyond.fail_for_good("email")[-1] == "COMPLETED"


def test_it_cannot_be_cancelled_and_is_told_what_is_possible(beyond):
    with pytest.raises(mg.NotPossible, match=r"point of no return .* terminate"):
        beyond.cancel()


def test_it_can_be_terminated(beyond):
    assert beyond.operate("terminate") == ["ann: terminate", "TERMINATED, open: charge, ship"]


def test_a_cancelled_run_does_not_get_past_it(start):
    @mg.workflow
    async def swallowing() -> None:
        try:
            await charge()
        except asyncio.CancelledError:
            mg.pivot()

    run = start(swallowing)
    run.cancel()
    assert run.cut_off("charge")[-2:] == ["rollback (cancelled)", "undo charge"]


def test_inside_a_nested_saga_it_is_the_point_of_no_return_of_the_whole_run(start):
    @mg.workflow
    async def nested() -> str:
        await charge()
        try:
            async with mg.saga():
                await reserve()
                mg.pivot()
                raise ValueError
        except ValueError:
            return "kept"

    run = start(nested)
    run.complete("charge", "c")
    assert run.complete("reserve", "r") == ["reserve done", "PIVOTED", "COMPLETED"]


def test_a_nested_saga_behind_it_undoes_nothing(start):
    @mg.workflow
    async def nested() -> str:
        mg.pivot()
        try:
            async with asyncio.timeout(5), mg.saga():
                await charge()
                await asyncio.sleep(1000)
        except TimeoutError:
            return "kept"
        return ""

    run = start(nested)
    run.complete("charge", "c")
    assert run.fire()[-1] == "COMPLETED"
    assert run.state.undone == []


# ---- an error of the workflow's own behind it ----------------------------------------------------------------------


@mg.workflow(name="faulty")
async def faulty() -> str:
    await charge()
    mg.pivot()
    async with asyncio.TaskGroup() as group:
        group.create_task(reserve())
        label = await ship()
        raise KeyError(label)


@mg.workflow(name="faulty")
async def corrected() -> str:
    await charge()
    mg.pivot()
    async with asyncio.TaskGroup() as group:
        group.create_task(reserve())
        label = await ship()
    await note(label)
    return label


@pytest.fixture
def stuck(start):
    run = start(faulty)
    run.complete("charge", "c")
    assert run.complete("ship", "s") == ["ship done", "parked: code"], (
        "nothing that the way out decided is recorded"
    )
    return run


def test_it_parks_the_run_and_says_what_to_do(stuck):
    assert stuck.status is Status.PARKED
    reason, _ = stuck.state.parked[0]
    assert reason.startswith("workflow faulty failed after its point of no return: ExceptionGroup")
    assert "KeyError: 's'" in reason
    assert reason.endswith("makegood resume run-1")


def resumed(workflow, run):
    execution = replayed(workflow, run.entries)
    execution.resumed(mg_resume(), run.now)
    execution.recover(run.now, 0.5)
    run.entries.append(sealed(execution))
    return execution


def mg_resume():
    from makegood.engine.journal import OperatorActed

    return OperatorActed("resume", "ann")


def test_it_goes_on_with_corrected_code(start):
    run = start(faulty)
    run.complete("charge", "c")
    run.complete("ship", "s")
    entries = list(run.entries)
    execution = resumed(corrected, run)
    assert [type(event).__name__ for event in run.entries[-1].events] == [
        "OperatorActed",
        "AttemptFailed",
    ], "the attempt at reserving that was under way is lost and made again"
    raw = reserve.signature.encode_result("r")
    execution.step_completed(2, 2, raw, run.now)
    run.entries.append(sealed(execution))
    assert [type(event).__name__ for event in run.entries[-1].events] == ["StepCompleted", "StepScheduled"]
    again = replayed(corrected, run.entries)
    assert again.state.status is Status.RUNNING
    execution.program.close()
    again.program.close()
    run.entries[:] = entries


def test_it_parks_again_when_the_code_is_still_wrong(start):
    run = start(faulty)
    run.complete("charge", "c")
    run.complete("ship", "s")
    entries = list(run.entries)
    execution = resumed(faulty, run)
    assert [type(event).__name__ for event in run.entries[-1].events] == [
        "OperatorActed",
        "AttemptFailed",
        "RunParked",
    ]
    assert execution.state.status is Status.PARKED
    execution.program.close()
    run.entries[:] = entries


def test_an_error_in_the_same_breath_as_the_pivot_is_behind_it(start):
    @mg.workflow
    async def sudden() -> None:
        await charge()
        mg.pivot()
        await asyncio.sleep(0)
        raise ValueError("sudden")

    run = start(sudden)
    assert run.complete("charge", "c") == ["charge done", "PIVOTED", "parked: code"]


def test_a_result_that_cannot_be_stored_parks_it(start):
    @mg.workflow
    async def odd() -> int:
        mg.pivot()
        await charge()
        return "no number"  # type: ignore[return-value] # the mistake under test

    run = start(odd)
    assert run.complete("charge", "c") == ["charge done", "parked: code"]


def test_outside_a_workflow_it_is_refused():
    with pytest.raises(mg.OutsideWorkflow, match=r"mg.pivot\(\) was called outside a workflow"):
        mg.pivot()
