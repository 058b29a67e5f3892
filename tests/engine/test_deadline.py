"""A workflow's own time limit: a durable deadline, delivered like a cancellation, that ends the run as a failure."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.kit import START, replayed
from tests.engine.shop import approve, charge, note, ship

LIMIT_SECONDS = 30


@mg.workflow(timeout=LIMIT_SECONDS)
async def order() -> str:
    await charge("o")
    await ship("o")
    return "done"


def test_it_is_set_when_the_run_starts(start):
    run = start(order)
    assert run.began == ["STARTED", "timer 0 started, due at 30", "charge scheduled"]
    run.complete("charge", "receipt")
    assert run.complete("ship", "label")[-1] == "COMPLETED"


def test_the_workflow_is_cancelled_and_what_was_done_is_undone(start):
    run = start(order)
    run.complete("charge", "receipt")
    assert run.fire() == ["timer 0 fired", "ship cancelled"]
    assert run.cut_off("ship")[-2:] == ["rollback", "undo ship"]
    run.undo("ship")
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]
    assert run.state.failure == mg.Failure("TimeoutError", "workflow order was not done within 30 s")


def test_a_run_that_had_done_nothing_has_failed(start):
    run = start(order)
    run.fire()
    assert run.stop("charge")[-1] == "FAILED"


def test_a_workflow_that_swallows_it_is_rolled_back_all_the_same(start):
    @mg.workflow(timeout=LIMIT_SECONDS)
    async def stubborn() -> str:
        await charge("o")
        with contextlib.suppress(asyncio.CancelledError):
            await ship("o")
        return "done"

    run = start(stubborn)
    run.complete("charge", "receipt")
    run.fire()
    assert "rollback" in run.stop("ship")


def test_the_compensation_is_not_limited_by_it(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.fail_for_good("ship")
    assert run.fire(0) == []
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]
    assert run.state.failure == mg.Failure("shop.Refused", "no")


def test_a_parked_run_is_rolled_back(start):
    @mg.workflow(timeout=LIMIT_SECONDS)
    async def approving() -> str:
        await charge("o")
        return await approve("o")

    run = start(approving)
    run.complete("charge", "receipt")
    run.fail("approve")
    assert run.status == Status.PARKED
    assert run.fire() == ["timer 0 fired", "approve cancelled"]
    assert run.stop("approve")[-1] == "undo charge"
    assert run.undo("charge")[-1] == "COMPENSATED"


def test_behind_the_pivot_it_is_void(start):
    @mg.workflow(timeout=LIMIT_SECONDS)
    async def payout() -> str:
        await charge("o")
        mg.pivot()
        return await ship("o")

    run = start(payout)
    run.complete("charge", "receipt")
    assert run.fire() == ["timer 0 fired"]
    assert run.complete("ship", "label")[-1] == "COMPLETED"


def test_a_cancellation_before_it_counts(start):
    run = start(order)
    run.cancel()
    run.fire()
    assert run.stop("charge")[-1] == "CANCELLED"


def test_it_holds_for_all_legs_together(start):
    @mg.workflow(timeout=LIMIT_SECONDS)
    async def endless(number: int = 0) -> str:
        await note("x")
        mg.continue_as_new(number + 1)

    run = start(endless)
    run.now = START + 20
    assert run.complete("note", "") == [
        "note done",
        "continued as leg 2",
        "timer 0 started, due at 30",
        "note scheduled",
    ]
    run.fire()
    assert run.stop("note")[-1] == "FAILED"


def test_it_is_the_one_that_was_set_whatever_the_code_says_today(start):
    run = start(order)
    run.complete("charge", "receipt")
    limit_seconds, order.timeout_seconds = order.timeout_seconds, None
    try:
        execution = replayed(order, run.entries)
    finally:
        order.timeout_seconds = limit_seconds
    assert execution.state.timers == {0: START + LIMIT_SECONDS}
    assert not execution.events
    execution.program.close()


def test_a_crash_before_it_changes_nothing(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.crash()
    assert run.state.timers == {0: START + LIMIT_SECONDS}
    run.fire()
    run.cut_off("ship")
    assert run.status == Status.COMPENSATING


@pytest.mark.parametrize("limit", [0, -1, "soon", float("nan")])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(mg.DefinitionError, match="timeout"):
        mg.workflow(timeout=limit)(order.function)
