"""Children in the engine: a step of the parent that is a run of its own, driven here side by side by hand."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import makegood as mg
from makegood.engine import journal
from makegood.engine.children import default_id
from makegood.engine.run import Status
from makegood.errors import DeterminismError, JournalCorrupt
from tests.engine.kit import START, replayed
from tests.engine.shop import charge, note, reserve, ship


@mg.workflow
async def delivery(order: str) -> str:
    await reserve(order)
    return await ship(order)


@mg.workflow
async def order() -> str:
    await charge()
    label = await delivery("o")
    await note()
    return label


@pytest.fixture
def parent(start):
    """Its first step is done: the child is to begin."""
    run = start(order)
    assert run.complete("charge", "c") == ["charge done", "delivery scheduled as run-1/2-delivery"]
    return run


@pytest.fixture
def child(start, parent):
    return start(delivery, "o", child_of=(parent, "delivery"))


@pytest.fixture
def completed(parent, child):
    """The child has completed, and the parent's third step is under way."""
    child.complete("reserve", "r")
    assert child.complete("ship", "l") == ["ship done", "COMPLETED"]
    assert parent.child_ends(child) == ["delivery done", "note scheduled"]
    return child


def test_a_child_knows_its_parent(child):
    assert (child.state.id, child.state.parent, child.state.parent_step) == ("run-1/2-delivery", "run-1", 2)


def test_a_childs_result_is_what_its_call_returns(parent, completed):
    assert parent.complete("note", "n") == ["note done", "COMPLETED"]
    assert bytes(parent.state.result) == b'"l"'


def test_hearing_of_an_ending_twice_changes_nothing(parent, completed):
    assert parent.child_ends(completed) == []


def test_a_childs_failure_rolls_its_parent_back(parent, child):
    assert child.fail_for_good("reserve", "sold out")[-1] == "FAILED"
    assert parent.child_ends(child) == ["delivery ended FAILED", "rollback", "undo charge"]
    assert parent.undo("charge") == ["charge undone", "COMPENSATED"]
    assert str(parent.state.failure) == "Refused: sold out"
    assert parent.state.failed_step == "delivery"


def test_a_childs_failure_can_be_handled(start):
    caught = []

    @mg.workflow
    async def careful() -> str:
        try:
            return await delivery("o")
        except mg.ChildFailed as failed:
            caught.append(failed)
            return "by hand"

    parent = start(careful)
    child = start(delivery, "o", child_of=(parent, "delivery"))
    child.complete("reserve", "r")
    child.fail_for_good("ship", "no van")
    assert child.undo("reserve") == ["reserve undone", "COMPENSATED"]
    assert parent.child_ends(child) == ["delivery ended COMPENSATED", "COMPLETED"]
    failed = caught[0]
    assert isinstance(failed, mg.StepFailed)
    assert (failed.step, failed.child, failed.status) == ("delivery", "run-1/1-delivery", "COMPENSATED")
    assert str(failed) == "child run run-1/1-delivery of workflow delivery ended COMPENSATED: Refused: no van"


def test_a_child_that_cannot_be_started_fails_its_call(parent):
    assert parent.child_refused("delivery", "taken")[0] == "delivery ended before it began"
    assert "could not be started: RunConflict: taken" in str(parent.execution.program.error)
    assert parent.undo("charge")[-1] == "COMPENSATED"


# ---- rollback --------------------------------------------------------------------------------------------------------


def test_a_completed_child_is_undone_in_its_place_in_the_parents_order(parent, completed):
    assert parent.fail_for_good("note") == [
        "note attempt 1 failed: give up",
        "note failed",
        "rollback",
        "undo delivery",
    ]
    assert completed.undo_asked() == ["run-1: undo", "undo ship"]
    assert completed.status is Status.COMPENSATING
    assert parent.child_ends(completed) == [], "it has not ended yet"
    completed.undo("ship")
    assert completed.undo("reserve") == ["reserve undone", "COMPENSATED"]
    assert completed.state.result is None
    assert parent.child_ends(completed) == ["delivery undone", "undo charge"]
    assert parent.undo("charge") == ["charge undone", "COMPENSATED"]
    assert parent.state.undone == ["delivery", "charge"]


def test_the_undo_of_a_child_can_be_asked_for_by_its_journal_alone(completed):
    asked = journal.Entry(START, 1, [journal.UndoRequested("run-1")])
    execution = replayed(delivery, [*completed.entries, asked])
    assert execution.events == [journal.CompensationScheduled(2)]
    execution.program.close()


def test_a_compensation_that_parks_in_the_child_leaves_the_parent_compensating(parent, completed):
    parent.fail_for_good("note")
    completed.undo_asked()
    completed.fail_for_good("ship")
    assert (completed.status, parent.status) == (Status.PARKED, Status.COMPENSATING)
    assert parent.child_ends(completed) == []


def test_what_an_operator_leaves_open_in_the_child_is_residue_of_the_parent(parent, completed):
    parent.fail_for_good("note")
    completed.undo_asked()
    completed.fail_for_good("ship")
    completed.operate("skip")
    assert completed.undo("reserve") == ["reserve undone", "TERMINATED, open: ship"]
    assert parent.child_ends(completed) == ["undo delivery skipped, open: ship", "undo charge"]
    assert parent.undo("charge") == ["charge undone", "TERMINATED, open: delivery/ship"]
    assert parent.state.residue == ["delivery/ship"]


def test_what_a_failed_child_left_open_is_residue_of_the_parent(parent, child):
    child.complete("reserve", "r")
    child.fail_for_good("ship")
    child.fail_for_good("reserve")
    assert child.operate("skip")[-1] == "TERMINATED, open: reserve"
    parent.child_ends(child)
    assert parent.undo("charge")[-1] == "TERMINATED, open: delivery/reserve"


def test_only_a_completed_child_can_be_undone(start, child, completed):
    alone = start(delivery, "o")
    alone.complete("reserve", "r")
    alone.complete("ship", "l")
    for run in (alone, child):
        if run is child:
            run.undo_asked()
        with pytest.raises(JournalCorrupt, match="UndoRequested cannot follow here"):
            run.execution._record(journal.UndoRequested("run-1"), run.now)


# ---- cancellation ----------------------------------------------------------------------------------------------------


def test_cancelling_the_parent_waits_for_the_childs_own_rollback(parent, child):
    assert parent.cancel() == ["ann: cancel", "delivery cancelled"]
    child.complete("reserve", "r")
    child.cancel()
    child.cut_off("ship")
    child.undo("ship")
    assert child.undo("reserve")[-1] == "CANCELLED"
    assert parent.child_ends(child) == ["delivery ended CANCELLED", "rollback (cancelled)", "undo charge"]
    assert parent.undo("charge")[-1] == "CANCELLED"


def test_a_child_that_completes_although_it_was_cancelled_is_undone(parent, child):
    parent.cancel()
    child.complete("reserve", "r")
    child.complete("ship", "l")
    assert parent.child_ends(child) == ["delivery done", "rollback (cancelled)", "undo delivery"]


def test_a_cancelled_child_that_never_began_is_over(parent):
    parent.cancel()
    assert parent.stop("delivery")[:2] == ["delivery failed", "rollback (cancelled)"]


def test_a_timeout_cancels_the_child(start):
    @mg.workflow
    async def hurried() -> str:
        try:
            async with asyncio.timeout(10):
                return await delivery("o")
        except TimeoutError:
            return "too late"

    parent = start(hurried)
    assert parent.fire() == ["timer 1 fired", "delivery cancelled"]


# ---- start_child, and several children -------------------------------------------------------------------------------


def test_a_child_that_was_started_and_never_awaited_is_waited_for(start):
    @mg.workflow
    async def sender() -> str:
        return mg.start_child(delivery, "o", id="parcel-7").id

    parent = start(sender)
    assert parent.story == ["STARTED", "delivery scheduled as parcel-7"]
    child = start(delivery, "o", child_of=(parent, "delivery"))
    assert child.state.id == "parcel-7"
    child.complete("reserve", "r")
    child.complete("ship", "l")
    assert parent.child_ends(child) == ["delivery done", "COMPLETED"]
    assert bytes(parent.state.result) == b'"parcel-7"'


def test_children_run_side_by_side_in_gather_and_groups(start):
    @mg.workflow
    async def both() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(delivery(name)) for name in "ab"]
        return [task.result() for task in tasks] + list(await asyncio.gather(delivery("c"), delivery("d")))

    parent = start(both)
    assert parent.story[1:] == [
        "delivery scheduled as run-1/1-delivery",
        "delivery scheduled as run-1/2-delivery",
    ]


@pytest.mark.parametrize("taken", ["run-1", "parcel-7"])
def test_a_child_id_that_is_taken_in_this_run_is_refused_at_once(start, taken):
    refusals = []

    @mg.workflow
    async def twice() -> None:
        mg.start_child(delivery, "o", id="parcel-7")
        with pytest.raises(mg.RunConflict, match=f"cannot start a child run {taken}") as refused:
            mg.start_child(delivery, "o", id=taken)
        refusals.append(refused)

    start(twice)
    assert refusals


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\nb", 7])
def test_a_child_id_that_cannot_name_a_run_is_refused_at_once(start, bad):
    @mg.workflow
    async def wrong() -> str:
        with contextlib.suppress(mg.UsageError):
            mg.start_child(delivery, "o", id=bad)
            return "accepted"
        return "refused"

    assert bytes(start(wrong).state.result) == b'"refused"'


def test_default_ids_are_distinct_and_never_too_long():
    long = "x" * 200
    ids = {default_id(parent, step, "w" * 100) for parent in (long, long[:-1] + "y") for step in (1, 10**9)}
    assert len(ids) == 4
    assert max(map(len, ids)) <= 200


@pytest.mark.parametrize("change", ["another id", "a step instead"])
def test_a_child_that_the_code_no_longer_starts_so_does_not_fit(start, change):
    ids = iter(["parcel-1", "parcel-2"])

    @mg.workflow
    async def fickle() -> str:
        chosen = next(ids)
        if change == "a step instead" and chosen == "parcel-2":
            return await charge()
        return await mg.start_child(delivery, "o", id=chosen)

    run = start(fickle)
    entries = list(run.entries)
    run.check_replay = run.execution.program.close  # type: ignore[method-assign] # it fits no replay
    with pytest.raises(DeterminismError, match="delivery as parcel-1"):
        replayed(fickle, entries)


def test_outside_a_workflow_there_are_no_children():
    with pytest.raises(mg.OutsideWorkflow, match=r"engine\.start"):
        mg.start_child(delivery, "o")
    with pytest.raises(mg.OutsideWorkflow, match=r"engine\.start"):
        delivery("o")
