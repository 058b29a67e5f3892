"""External completion: attempts that somebody outside completes, before or after the step says that it waits for that."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg


@mg.step(retry=mg.Retry(delays=[0, 5]))
async def ask(order: str) -> str | mg.Pending:
    return mg.PENDING


@ask.compensation
async def take_back(answer: str | None, order: str) -> None: ...


@mg.step(retry=mg.Retry(delays=[0, 5]))
async def ask_probed(order: str) -> str | mg.Pending:
    return mg.PENDING


@ask_probed.probe
async def was_answered(order: str) -> str | mg.NotDone:
    return mg.NotDone()


@mg.step(retry=None, on_exhausted="park")
async def ask_once(order: str) -> str | mg.Pending:
    return mg.PENDING


@mg.workflow
async def approve(order: str) -> str:
    return await ask(order)


@mg.workflow
async def approve_probed(order: str) -> str:
    return await ask_probed(order)


@mg.workflow
async def approve_once(order: str) -> str:
    return await ask_once(order)


@mg.workflow
async def approve_quickly(order: str) -> str:
    async with asyncio.timeout(60):
        return await ask(order)


def test_a_pending_step_waits_for_its_completion(start):
    run = start(approve, "o")
    assert run.pend("ask") == ["ask pending"]
    assert run.complete_outside("ask", "yes") == ["ann: ask done", "ask done", "COMPLETED"]
    assert bytes(run.state.result) == b'"yes"'


def test_a_completion_that_comes_first_is_kept(start):
    run = start(approve, "o")
    assert run.complete_outside("ask", "yes") == ["ann: ask done"]
    assert run.pend("ask") == ["ask pending", "ask done", "COMPLETED"]


def test_a_value_of_the_steps_own_counts_more_than_a_completion(start):
    run = start(approve, "o")
    run.complete_outside("ask", "yes")
    assert run.complete("ask", "own") == ["ask done", "COMPLETED"]
    assert bytes(run.state.result) == b'"own"'


@pytest.mark.parametrize("how", [{}, {"unknown": True}])
def test_an_early_completion_settles_an_attempt_that_tells_nothing(start, how):
    run = start(approve, "o")
    run.complete_outside("ask", "yes")
    assert run.fail("ask", **how) == ["ask done", "COMPLETED"]


def test_an_early_completion_survives_a_crash_and_saves_the_next_attempt(start):
    run = start(approve, "o")
    run.complete_outside("ask", "yes")
    assert run.crash() == ["ask done", "COMPLETED"]


def test_a_pending_attempt_is_not_lost_in_a_crash(start):
    run = start(approve, "o")
    run.pend("ask")
    assert run.crash() == []
    assert run.complete_outside("ask", "yes")[-1] == "COMPLETED"


def test_a_failure_from_outside_is_a_failed_attempt(start):
    run = start(approve, "o")
    run.pend("ask")
    assert run.fail_outside("ask") == ["ann: ask failed", "ask attempt 1 failed: retry"]
    assert run.wait_seconds("ask") == 5
    assert run.pend("ask") == ["ask pending"]
    assert run.fail_outside("ask", attempt=2)[1:] == [
        "ask attempt 2 failed: give up",
        "ask failed",
        "rollback",
        "FAILED",
    ]


def test_a_fatal_failure_from_outside_is_not_retried(start):
    run = start(approve, "o")
    run.pend("ask")
    assert run.fail_outside("ask", fatal=True)[1] == "ask attempt 1 failed: give up"


def test_an_early_failure_is_kept(start):
    run = start(approve, "o")
    assert run.fail_outside("ask") == ["ann: ask failed"]
    assert run.pend("ask") == ["ask pending", "ask attempt 1 failed: retry"]


def test_an_early_failure_says_more_than_a_crash(start):
    run = start(approve, "o")
    run.fail_outside("ask")
    assert run.crash() == ["ask attempt 1 failed: retry"]


def test_a_completion_in_the_wait_before_the_next_attempt_settles_the_step(start):
    run = start(approve, "o")
    run.pend("ask", due=1_000_010.0)
    run.fail("ask", "late", unknown=True)
    assert run.complete_outside("ask", "yes", attempt=1) == ["ann: ask done", "ask done", "COMPLETED"]


def test_a_late_completion_of_an_earlier_attempt_settles_the_step_too(start):
    run = start(approve, "o")
    run.pend("ask")
    run.fail("ask", "late", unknown=True)
    run.now += 5
    run.pend("ask")
    assert run.complete_outside("ask", "yes", attempt=1)[-1] == "COMPLETED"


def test_a_late_failure_of_an_earlier_attempt_is_refused(start):
    run = start(approve, "o")
    run.pend("ask")
    run.fail("ask", "late", unknown=True)
    run.now += 5
    run.pend("ask")
    with pytest.raises(mg.NotPossible, match=r"attempt 1 has ended .*changes nothing now"):
        run.fail_outside("ask", attempt=1)


def test_the_first_completion_counts_and_the_second_says_so(start):
    run = start(approve, "o")
    run.complete_outside("ask", "yes")
    with pytest.raises(mg.NotPossible, match="already completed; the first completion counts"):
        run.complete_outside("ask", "no")


def test_a_completion_of_an_ended_run_is_refused(start):
    run = start(approve, "o")
    run.pend("ask")
    run.complete_outside("ask", "yes")
    with pytest.raises(
        mg.NotPossible, match="takes no completion of step 1: it has already ended, COMPLETED"
    ):
        run.complete_outside("ask", "again")


def test_a_completion_of_the_wrong_type_is_refused_and_changes_nothing(start):
    run = start(approve, "o")
    run.pend("ask")
    with pytest.raises(mg.PayloadError, match="does not fit the annotation"):
        run.complete_outside("ask", 7)
    assert run.complete_outside("ask", "yes")[-1] == "COMPLETED"


def test_a_completion_that_is_too_large_is_refused(start):
    run = start(approve, "o")
    run.pend("ask")
    with pytest.raises(mg.PayloadError, match="the limit is"):
        run.complete_outside("ask", "x" * 3_000_000)


def test_a_made_up_token_is_refused(start):
    run = start(approve, "o")
    with pytest.raises(mg.NotPossible, match="no such attempt"):
        run.complete_outside("ask", "yes", attempt=2)


def test_a_pending_attempt_whose_time_is_over_is_unknown(start):
    run = start(approve_once, "o")
    run.pend("ask_once", due=1_000_010.0)
    assert run.fail_for_good("ask_once", unknown=True) == [
        "ask_once attempt 1 failed (unknown): give up",
        "parked: ask_once",
    ]
    assert run.complete_outside("ask_once", "after all") == [
        "ann: ask_once done",
        "ask_once done",
        "COMPLETED",
    ]


def test_the_probe_is_asked_after_a_pending_attempt_whose_time_is_over(start):
    run = start(approve_probed, "o")
    run.pend("ask_probed")
    assert run.fail("ask_probed", unknown=True) == ["ask_probed attempt 1 failed (unknown): probe"]
    assert run.complete_outside("ask_probed", "yes") == ["ann: ask_probed done"]
    assert run.probe_finds_nothing("ask_probed") == ["ask_probed probed: done: complete", "COMPLETED"]


def test_a_pending_step_that_nobody_waits_for_any_more_is_unknown_and_undone(start):
    run = start(approve_quickly, "o")
    run.pend("ask")
    assert run.fire() == ["timer 1 fired", "ask cancelled"]
    assert run.fail("ask", unknown=True)[:2] == [
        "ask attempt 1 failed (unknown): give up",
        "ask failed (unknown)",
    ]
    assert run.undo("ask")[-1] == "COMPENSATED"


def test_a_cancelled_pending_step_is_over_after_a_crash(start):
    run = start(approve_quickly, "o")
    run.pend("ask")
    run.fire()
    assert run.crash()[:2] == ["ask attempt 1 failed (unknown): give up", "ask failed (unknown)"]


def test_a_step_that_was_cancelled_before_it_says_that_it_is_pending(start):
    run = start(approve_quickly, "o")
    run.fire()
    assert run.pend("ask")[0] == "ask attempt 1 failed (unknown): give up"


def test_a_run_is_terminated_with_a_pending_step_as_residue(start):
    run = start(approve, "o")
    run.pend("ask")
    assert run.operate("terminate")[-1] == "TERMINATED, open: ask"
