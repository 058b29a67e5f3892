"""Making good: the order of compensations, their retries, parking, and cancellation in every state."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.shop import approve, book, charge, note, reserve, ship


@mg.workflow
async def order() -> None:
    await charge()
    await book()
    await ship()


@pytest.fixture
def failing(start):
    """The order's third step has failed: the booking is being undone."""
    run = start(order)
    run.complete("charge", "c")
    run.complete("book", "b")
    assert run.fail_for_good("ship")[-2:] == ["rollback", "undo book"]
    return run


def test_compensations_run_one_by_one_the_last_step_first(failing):
    assert failing.status is Status.COMPENSATING
    assert failing.undo("book") == ["book undone", "undo charge"]
    assert failing.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_compensation_has_its_own_retries(failing):
    assert failing.fail("book") == ["book attempt 1 failed: retry"]
    assert failing.wait_seconds("book") == 3
    assert failing.undo("book") == ["book undone", "undo charge"]


def test_a_compensation_is_not_probed_and_its_unknown_outcome_is_tried_again(failing):
    assert failing.fail("book", unknown=True) == ["book attempt 1 failed (unknown): retry"]


def test_a_compensation_lost_in_a_crash_is_tried_again_and_does_not_count(failing):
    for attempt in range(1, 4):
        assert failing.crash() == [f"book attempt {attempt} failed (unknown) (lost): retry"]
    assert failing.undo("book")[-1] == "undo charge"


def test_a_compensation_that_waits_for_its_retry_is_not_lost_in_a_crash(failing):
    failing.fail("book")
    assert failing.crash() == []


@pytest.fixture
def parked(failing):
    """The compensation of the booking has given up."""
    failing.fail("book")
    assert failing.fail("book") == ["book attempt 2 failed: give up", "parked: book"]
    assert failing.status is Status.PARKED
    return failing


def test_a_compensation_that_gives_up_parks_the_run_and_nothing_else_is_undone(parked):
    reason, _ = parked.state.parked[2]
    assert reason == "the compensation of step book gave up after 2 attempt(s): Refused: no"
    assert "undo charge" not in parked.story


def test_a_parked_compensation_can_be_tried_again(parked):
    assert parked.operate("retry") == ["ann: retry book"]
    assert parked.status is Status.COMPENSATING
    assert parked.fail("book")[-1].endswith("retry"), "a new round of attempts"
    assert parked.undo("book") == ["book undone", "undo charge"]
    parked.undo("charge")
    assert parked.status is Status.COMPENSATED


def test_a_parked_compensation_can_be_said_to_be_done_by_hand(parked):
    assert parked.operate("resolve") == ["ann: resolve book", "book undone by ann", "undo charge"]
    parked.undo("charge")
    assert parked.status is Status.COMPENSATED


def test_a_skipped_compensation_leaves_a_residue_and_the_run_is_not_called_compensated(parked):
    assert parked.operate("skip") == ["ann: skip book", "undo book skipped", "undo charge"]
    assert parked.undo("charge") == ["charge undone", "TERMINATED, open: book"]
    assert parked.status is Status.TERMINATED
    assert parked.state.residue == ["book"]


def test_cancelling_while_a_compensation_is_parked_changes_nothing_about_it(parked):
    assert parked.cancel() == ["ann: cancel"]
    assert parked.status is Status.PARKED
    parked.operate("resolve")
    assert parked.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_parked_compensation_survives_a_crash(parked):
    assert parked.crash() == []
    assert parked.status is Status.PARKED


def test_the_recorded_result_goes_to_the_compensation(failing):
    assert bytes(failing.step("book").result) == b'"b"'


# ---- cancellation --------------------------------------------------------------------------------------------------


def test_cancelling_a_running_step_stops_it_and_makes_everything_good(start):
    run = start(order)
    run.complete("charge", "c")
    assert run.cancel() == ["ann: cancel", "book cancelled"]
    assert run.fail("book", unknown=True) == ["book attempt 1 failed (unknown): probe"]
    assert run.probe_finds_nothing("book", cannot_tell=True) == [
        "book probed: unknown: give up",
        "book failed (unknown)",
        "rollback (cancelled)",
        "undo book",
    ]
    run.undo("book")
    assert run.undo("charge") == ["charge undone", "CANCELLED"]
    assert run.state.failure == mg.Failure("Cancelled", "changed my mind")


def test_a_cancelled_step_that_the_probe_finds_done_is_undone_with_its_result(start):
    run = start(order)
    run.complete("charge", "c")
    run.cancel()
    run.fail("book", unknown=True)
    assert run.probe_finds("book", "b")[-2:] == ["rollback (cancelled)", "undo book"]
    assert bytes(run.step("book").result) == b'"b"'


def test_cancelling_during_back_off_does_not_wait_for_it(start):
    run = start(order)
    run.complete("charge", "c")
    run.fail("book")
    assert run.cancel() == ["ann: cancel", "book cancelled"]
    assert run.stop("book") == ["book failed", "rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_cancelled_step_in_back_off_is_over_after_a_crash_too(start):
    run = start(order)
    run.complete("charge", "c")
    run.fail("book")
    run.cancel()
    assert run.crash() == ["book failed", "rollback (cancelled)", "undo charge"]


def test_a_cancelled_step_under_way_in_a_crash_is_unknown(start):
    @mg.workflow
    async def simple() -> None:
        await charge()

    run = start(simple)
    run.cancel()
    assert run.crash() == [
        "charge attempt 1 failed (unknown) (lost): give up",
        "charge failed (unknown)",
        "rollback (cancelled)",
        "undo charge",
    ]


def test_cancelling_a_sleeping_run(start):
    @mg.workflow
    async def sleeper() -> None:
        await charge()
        await asyncio.sleep(1000)

    run = start(sleeper)
    run.complete("charge", "c")
    assert run.cancel() == ["ann: cancel", "timer 1 cancelled", "rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_cancelling_a_parked_run(start):
    @mg.workflow
    async def approved() -> None:
        await charge()
        await approve()

    run = start(approved)
    run.complete("charge", "c")
    run.fail("approve")
    assert run.status is Status.PARKED
    assert run.cancel() == ["ann: cancel", "approve cancelled"]
    assert run.stop("approve") == ["approve failed", "rollback (cancelled)", "undo charge"]
    assert run.status is Status.COMPENSATING
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_cancelled_parked_run_goes_on_after_a_crash(start):
    @mg.workflow
    async def approved() -> None:
        await approve()

    run = start(approved)
    run.fail("approve")
    run.cancel()
    assert run.crash() == ["approve failed", "rollback (cancelled)", "CANCELLED"]


def test_cancelling_while_compensating_is_recorded_and_changes_nothing(failing):
    assert failing.cancel() == ["ann: cancel"]
    assert failing.cancel() == []
    failing.undo("book")
    assert failing.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_second_cancel_changes_nothing(start):
    run = start(order)
    run.complete("charge", "c")
    run.cancel()
    assert run.cancel() == []
    run.stop("book")
    assert run.cancel() == []
    run.undo("charge")


def test_an_ended_run_cannot_be_cancelled(start):
    run = start(order)
    run.fail_for_good("charge")
    with pytest.raises(mg.NotPossible, match="run run-1 cannot be cancelled: it has already ended, FAILED"):
        run.cancel()


def test_a_workflow_that_swallows_the_cancellation_still_ends_cancelled(start):
    @mg.workflow
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await charge()
        return await note("I go on")

    run = start(stubborn)
    assert run.cancel() == ["ann: cancel", "charge cancelled", "note scheduled"]
    run.cut_off("charge")
    assert run.complete("note", "n") == ["note done", "rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_workflow_may_run_steps_while_it_is_cancelled(start):
    @mg.workflow
    async def tidy() -> None:
        try:
            await charge()
        finally:
            await note("closing")

    run = start(tidy)
    assert run.cancel() == ["ann: cancel", "charge cancelled", "note scheduled"]
    run.stop("charge")
    assert run.complete("note", "n") == ["note done", "rollback (cancelled)", "CANCELLED"]


def test_cancelling_reaches_every_branch(start):
    @mg.workflow
    async def branches() -> None:
        async def branch() -> None:
            await reserve()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(branch())
            tasks.create_task(charge())
            await ship()

    run = start(branches)
    cancelled = run.cancel()[1:]
    assert sorted(cancelled) == ["charge cancelled", "reserve cancelled", "ship cancelled"]
    run.stop("charge")
    run.stop("ship")
    assert run.stop("reserve") == ["reserve failed", "rollback (cancelled)", "CANCELLED"]


def test_a_run_that_only_waits_for_a_step_that_was_never_awaited_can_be_cancelled(start):
    @mg.workflow
    async def forgetful() -> None:
        note.options(name="endless", retry=mg.Retry.forever())()
        await charge()

    run = start(forgetful)
    run.complete("charge", "c")
    run.fail("endless")
    assert run.cancel() == ["ann: cancel", "endless cancelled"]
    assert run.stop("endless")[-2:] == ["rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_shielded_step_ends_with_the_run_that_is_cancelled(start):
    @mg.workflow
    async def guarded() -> None:
        await asyncio.shield(charge())

    run = start(guarded)
    assert run.cancel() == ["ann: cancel", "charge cancelled"]
    assert run.complete("charge", "c")[-2:] == ["rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_cancelling_when_the_workflow_has_failed_already_leaves_the_failure_as_the_cause(start):
    @mg.workflow
    async def failing_fast() -> None:
        await asyncio.gather(charge(), note.options(name="slow")())

    run = start(failing_fast)
    run.fail_for_good("charge")
    assert run.cancel() == ["ann: cancel"]
    assert run.stop("slow")[-1] == "CANCELLED"


# ---- ill-timed facts -----------------------------------------------------------------------------------------------


def test_a_workflow_that_raises_cancelled_error_by_itself_just_failed(start):
    @mg.workflow
    async def dramatic() -> None:
        await charge()
        raise asyncio.CancelledError

    run = start(dramatic)
    assert run.complete("charge", "c") == ["charge done", "rollback", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_an_exception_in_the_handler_of_a_failure_is_the_cause(start):
    @mg.workflow
    async def clumsy() -> None:
        try:
            await charge()
        except mg.StepFailed as failed:
            raise LookupError("no plan B") from failed

    run = start(clumsy)
    run.fail_for_good("charge")
    assert run.status is Status.FAILED
    assert str(run.state.failure) == "LookupError: no plan B"


def test_the_same_step_called_twice_is_two_steps(start):
    @mg.workflow
    async def twice() -> None:
        await charge("a")
        await charge("b")
        raise ValueError

    run = start(twice)
    run.complete("charge", "1")
    run.complete("charge", "2")
    assert run.undo("charge") == ["charge undone", "undo charge"]
    run.tell(lambda execution: execution.compensation_completed(1, 1, run.now))
    assert run.state.undone == ["charge", "charge"]
    assert run.status is Status.COMPENSATED


def test_the_wait_before_the_first_attempt_of_a_compensation_is_recorded_with_its_intent(start):
    @mg.step
    async def lend(item: str = "") -> str: ...

    @lend.compensation(retry=mg.Retry(delays=[60, 1]))
    async def fetch(_loan: str | None, item: str = "") -> None: ...

    @mg.workflow
    async def lending() -> None:
        await lend()
        raise ValueError

    run = start(lending)
    assert run.complete("lend", "l") == ["lend done", "rollback", "undo lend"]
    assert run.wait_seconds("lend") == 60
    assert run.crash() == []
    run.fail("lend")
    assert run.wait_seconds("lend") == 1
    run.undo("lend")
