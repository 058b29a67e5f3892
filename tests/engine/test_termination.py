"""Terminating a run, at once or after undoing what was done: none of its workflow's code runs any more."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.engine.run import Status
from tests.engine.shop import approve, book, charge, note, reserve, ship

RAN: list[str] = []


@mg.workflow
async def order() -> None:
    await charge()
    try:
        await asyncio.gather(reserve(), ship())
        await asyncio.sleep(60)
        await approve()
    except BaseException:
        RAN.append("an except block")
        await note()
        raise


def undo_and_end(run):
    return run.act(Request("terminate", "ann", "enough", compensate=True))


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def test_at_once_it_lists_what_is_open_and_what_may_be(start):
    run = start(order)
    run.complete("charge", "c")
    run.fail("reserve")  # it waits for its next attempt, and the last one had no effect
    assert run.operate("terminate") == ["ann: terminate", "TERMINATED, open: charge, ship"]
    assert run.state.failure == mg.Failure("Terminated", "because")


def test_after_undoing_nothing_is_left_open(start):
    run = start(order)
    run.complete("charge", "c")
    assert undo_and_end(run) == ["ann: terminate and compensate", "reserve cancelled", "ship cancelled"]
    assert run.status is Status.COMPENSATING
    run.stop("reserve")
    assert run.cut_off("ship")[-2:] == ["rollback", "undo ship"]
    run.undo("ship")
    assert run.undo("charge") == ["charge undone", "TERMINATED, open: "]
    assert (run.state.undone, run.state.residue) == (["ship", "charge"], [])


def test_a_run_that_waits_for_a_timer_is_undone_at_once(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.complete("ship", "s")
    assert undo_and_end(run) == [
        "ann: terminate and compensate",
        "timer 1 cancelled",
        "rollback",
        "undo ship",
    ]
    assert "note" not in [record.name for record in run.state.steps.values()]


def test_a_parked_run_is_undone(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.complete("ship", "s")
    run.fire()
    run.fail("approve")
    assert undo_and_end(run)[-1] == "approve cancelled"
    assert run.stop("approve")[-2:] == ["rollback", "undo ship"]


def test_an_effect_that_an_operator_leaves_open_on_the_way_is_residue(start):
    @mg.workflow
    async def booking() -> None:
        await charge()
        await book()
        await asyncio.sleep(60)

    run = start(booking)
    run.complete("charge", "c")
    run.complete("book", "b")
    undo_and_end(run)
    run.fail("book")
    run.fail("book")
    run.operate("skip")
    assert run.undo("charge") == ["charge undone", "TERMINATED, open: book"]


def test_it_can_still_be_ended_at_once(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.complete("ship", "s")
    undo_and_end(run)
    assert run.operate("terminate") == ["ann: terminate", "TERMINATED, open: charge, reserve, ship"]


def test_asking_twice_changes_nothing(start):
    run = start(order)
    run.complete("charge", "c")
    undo_and_end(run)
    assert undo_and_end(run) == []


def test_a_run_that_is_being_undone_already_says_so(start):
    run = start(order)
    run.fail_for_good("charge", unknown=True)
    with pytest.raises(mg.NotPossible, match="is being undone already"):
        undo_and_end(run)


def test_a_run_behind_its_pivot_is_not_undone(start):
    @mg.workflow
    async def beyond() -> None:
        mg.pivot()
        await charge()

    run = start(beyond)
    with pytest.raises(mg.NotPossible, match="point of no return"):
        undo_and_end(run)


def test_a_nested_saga_that_is_being_undone_comes_first(start):
    @mg.workflow
    async def nested() -> None:
        await charge()
        async with mg.saga():
            await reserve()
            await note()

    run = start(nested)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    assert run.fail_for_good("note")[-1] == "undo reserve"
    undo_and_end(run)
    assert run.undo("reserve") == ["reserve undone", "rollback", "undo charge"]
    assert run.undo("charge")[-1] == "TERMINATED, open: "


def test_a_crash_on_the_way_changes_nothing(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    run.complete("ship", "s")
    undo_and_end(run)
    assert run.crash() == ["ship attempt 1 failed (unknown) (lost): retry"]
    run.undo("ship")
    run.undo("reserve")
    assert run.undo("charge")[-1] == "TERMINATED, open: "
