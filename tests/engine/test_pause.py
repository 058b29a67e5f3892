"""A paused run: what happens meanwhile is recorded, and told to the workflow when it goes on."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.engine.run import Status
from makegood.errors import NotPossible
from tests.engine.shop import charge, reserve, ship

Decision = mg.Signal("decision", str)


@mg.workflow
async def order() -> str:
    await charge()
    await reserve()
    return await ship()


@mg.workflow
async def both() -> None:
    await charge()
    await asyncio.gather(reserve(), ship())


@mg.workflow
async def booking() -> str:
    await charge()
    return await Decision.receive()


def test_the_workflow_goes_on_where_it_stood_once_it_is_resumed(start):
    run = start(order)
    assert run.operate("pause") == ["ann: pause"]
    assert (run.status, run.state.paused) == (Status.PAUSED, ("ann: because", run.now))
    assert run.complete("charge", "c") == ["charge done"]
    assert run.operate("resume") == ["ann: unpause", "reserve scheduled"]
    assert run.status is Status.RUNNING
    run.complete("reserve", "r")
    assert run.complete("ship", "s")[-1] == "COMPLETED"


def test_pausing_twice_is_pausing_once(start):
    run = start(order)
    run.operate("pause")
    assert run.operate("pause") == []


def test_what_failed_meanwhile_is_undone_after_it_is_resumed(start):
    run = start(both)
    run.complete("charge", "c")
    run.operate("pause")
    assert run.fail_for_good("reserve") == ["reserve attempt 1 failed: give up", "reserve failed"]
    assert run.complete("ship", "s") == ["ship done"]
    resumed = run.operate("resume")
    assert resumed[-2:] == ["rollback", "undo ship"]


def test_a_rollback_stands_still_between_two_compensations(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.fail_for_good("ship")
    run.operate("pause")
    assert run.undo("reserve") == ["reserve undone"]
    assert run.status is Status.PAUSED
    assert run.operate("resume") == ["ann: unpause", "undo charge"]
    assert run.undo("charge")[-1] == "COMPENSATED"


def test_signals_are_taken_and_read_after_it_is_resumed(start):
    run = start(booking)
    run.complete("charge", "c")
    run.operate("pause")
    assert run.signal("decision", "yes") == ['signal 1: decision "yes"']
    assert run.operate("resume")[-1] == "COMPLETED"


def test_a_signal_that_nobody_reads_any_more_is_listed(start):
    run = start(booking)
    run.complete("charge", "c")
    run.operate("pause")
    run.signal("decision", "yes")
    run.signal("decision", "no")
    assert run.operate("resume")[-2:] == ["left: 2", "COMPLETED"]


def test_cancelling_it_lifts_the_pause(start):
    run = start(order)
    run.complete("charge", "c")
    run.operate("pause")
    run.complete("reserve", "r")
    cancelled = run.cancel()
    assert cancelled == ["ann: cancel", "ship scheduled", "ship cancelled"]
    assert run.stop("ship")[-1] == "undo reserve"
    run.undo("reserve")
    assert run.undo("charge")[-1] == "CANCELLED"


def test_a_run_that_had_returned_meanwhile_is_cancelled_all_the_same(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.operate("pause")
    run.complete("ship", "s")
    assert run.cancel()[-1] == "undo ship"


def test_terminating_it_lifts_the_pause_and_runs_no_more_of_the_workflow(start):
    run = start(order)
    run.complete("charge", "c")
    run.operate("pause")
    run.complete("reserve", "r")
    undoing = run.act(Request("terminate", "ann", "enough", compensate=True))
    assert undoing == ["ann: terminate and compensate", "reserve cancelled", "rollback", "undo reserve"]
    run.undo("reserve")
    assert run.undo("charge")[-1] == "TERMINATED, open: "


def test_terminating_it_at_once_lists_what_was_done_meanwhile(start):
    run = start(order)
    run.operate("pause")
    run.complete("charge", "c")
    assert run.operate("terminate")[-1] == "TERMINATED, open: charge"


def test_pause_and_resume_survive_a_crash(start):
    run = start(order)
    run.operate("pause")
    run.complete("charge", "c")
    assert run.crash() == []
    assert run.operate("resume") == ["ann: unpause", "reserve scheduled"]


def test_an_attempt_under_way_when_it_was_paused_is_lost_in_a_crash(start):
    run = start(order)
    run.now += 1
    run.operate("pause")
    run.now += 1
    assert run.crash() == ["charge attempt 1 failed (unknown) (lost): retry"]
    run.now += 1
    assert run.crash() == []  # no attempt can have begun since


def test_a_parked_run_that_is_paused_has_to_be_resumed_first(start):
    @mg.workflow
    async def approving() -> None:
        await mg_approve()

    from tests.engine.shop import approve as mg_approve

    run = start(approving)
    run.fail("approve")
    run.operate("pause")
    with pytest.raises(NotPossible, match="Resume it first"):
        run.operate("retry")
    assert run.operate("resume") == ["ann: unpause"]
    assert run.status is Status.PARKED
    run.operate("retry")


def test_only_what_stands_still_can_be_resumed(start):
    run = start(order)
    with pytest.raises(NotPossible, match="It goes on by itself"):
        run.operate("resume")


def test_an_ended_run_cannot_be_paused(start):
    run = start(order)
    for step in ("charge", "reserve", "ship"):
        run.complete(step, "x")
    with pytest.raises(NotPossible, match="cannot pause: it has already ended, COMPLETED"):
        run.operate("pause")
