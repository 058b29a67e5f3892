"""Cancelling reaches a run in every state, and no workflow swallows it for good."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import makegood as mg
from makegood.engine import cancellation
from makegood.engine.run import Status
from tests.engine.shop import book, charge, note, reserve, ship

# A coroutine that swallows even its closing is told off by the interpreter, when it is finalized.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_loop_that_swallows_everything_and_waits_is_stopped(start):
    @mg.workflow
    async def deaf() -> None:
        await charge()
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(60)

    run = start(deaf)
    run.complete("charge", "c")
    assert run.cancel()[-2:] == ["rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_loop_that_swallows_everything_and_calls_steps_is_stopped_in_the_end(monkeypatch, start):
    monkeypatch.setattr(cancellation, "STEPS_LIMIT", 3)

    @mg.workflow
    async def deaf() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await note()

    run = start(deaf)
    assert run.cancel() == ["ann: cancel", "note cancelled", "note scheduled"]
    run.tell(lambda execution: execution.step_stopped(1, run.now))
    for _ in range(2):
        assert run.complete("note", "n") == ["note done", "note scheduled"]
    assert run.complete("note", "n") == ["note done", "note scheduled", "note cancelled"]
    assert run.stop("note")[-1] == "CANCELLED"


def test_a_wait_in_a_finally_does_not_hold_it_up(start):
    @mg.workflow
    async def slow() -> None:
        try:
            await charge()
        finally:
            await asyncio.sleep(3600)

    run = start(slow)
    assert run.cancel() == [
        "ann: cancel",
        "charge cancelled",
        "timer 1 started, due at 3600",
        "timer 1 cancelled",
    ]
    assert run.stop("charge")[-1] == "CANCELLED"


def test_a_step_in_a_finally_is_waited_for(start):
    @mg.workflow
    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await note()
            await asyncio.sleep(3600)
            await ship()

    run = start(tidy)
    assert run.cancel() == ["ann: cancel", "timer 1 cancelled", "note scheduled"]
    assert run.complete("note", "n")[-1] == "CANCELLED"


def test_shielding_does_not_help(start):
    @mg.workflow
    async def shielded() -> None:
        call = charge()
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.shield(call)

    run = start(shielded)
    assert run.cancel() == ["ann: cancel", "charge cancelled"]
    assert run.cut_off("charge")[-2:] == ["rollback (cancelled)", "undo charge"]


def test_a_timeout_of_the_workflows_own_does_not_hold_it_up(start):
    @mg.workflow
    async def patient() -> None:
        await charge()
        while True:
            try:
                async with asyncio.timeout(60):
                    await asyncio.sleep(3600)
            except (TimeoutError, asyncio.CancelledError):
                continue

    run = start(patient)
    run.complete("charge", "c")
    assert run.cancel()[-2:] == ["rollback (cancelled)", "undo charge"]


def test_a_branch_that_swallows_it_does_not_hold_it_up(start):
    @mg.workflow
    async def branches() -> None:
        async def deaf() -> None:
            while True:
                with contextlib.suppress(BaseException):
                    await asyncio.sleep(60)

        async with asyncio.TaskGroup() as group:
            group.create_task(deaf())
            group.create_task(deaf())

    run = start(branches)
    assert run.cancel()[-1] == "CANCELLED"


def test_a_branch_that_takes_its_time_to_clean_up_with_a_step_may_do_so(start):
    @mg.workflow
    async def branches() -> None:
        async def tidy() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await note()

        async with asyncio.TaskGroup() as group:
            group.create_task(tidy())
            group.create_task(asyncio.sleep(60))

    run = start(branches)
    assert "note scheduled" in run.cancel()
    assert run.complete("note", "n")[-1] == "CANCELLED"


def test_a_cancelled_run_cancels_again_whatever_it_waits_for_after_a_crash_too(start):
    @mg.workflow
    async def tidy() -> None:
        try:
            await charge()
        except asyncio.CancelledError:
            await note()
            await asyncio.sleep(3600)

    run = start(tidy)
    run.cancel()
    run.stop("charge")
    run.crash()
    assert run.complete("note", "n")[-1] == "CANCELLED"


def test_cancelling_in_back_off_takes_effect_at_once_restate_3656(start):
    """Restate ignored a cancellation during back-off."""

    @mg.workflow
    async def patient() -> None:
        await charge()
        await ship.options(retry=mg.Retry.forever(initial=3600))()

    run = start(patient)
    run.complete("charge", "c")
    run.fail("ship")
    assert run.wait_seconds("ship") > 0
    assert run.cancel() == ["ann: cancel", "ship cancelled"]
    assert run.stop("ship")[-2:] == ["rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


def test_a_cancelled_run_is_compensated_temporal_sdk_java_305(start):
    """Temporal's Java SDK skipped the compensations of a cancelled saga: they ran in the cancelled scope."""

    @mg.workflow
    async def trip() -> None:
        async with mg.saga():
            await charge()
            await book()
            await asyncio.sleep(3600)

    run = start(trip)
    run.complete("charge", "c")
    run.complete("book", "b")
    assert run.cancel()[-2:] == ["rollback (cancelled)", "undo book"]
    run.undo("book")
    run.undo("charge")
    assert run.status is Status.CANCELLED
    assert run.state.undone == ["book", "charge"]


def test_a_cancellation_that_comes_while_an_abandoned_step_of_a_returned_workflow_is_undone_still_counts(
    start,
):
    @mg.workflow
    async def hurried() -> str:
        await charge()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await ship()
        return "done"

    run = start(hurried)
    run.complete("charge", "c")
    run.fire()
    assert run.cut_off("ship")[-1] == "undo ship"
    assert run.cancel() == ["ann: cancel"]
    assert run.undo("ship") == ["ship undone", "rollback (cancelled)", "undo charge"]
    assert run.undo("charge") == ["charge undone", "CANCELLED"]


# ---- what a workflow leaves behind when it returns -----------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True], ids=["called directly", "in a branch"])
def test_a_step_that_was_awaited_and_given_up_on_is_cancelled_at_the_return(start, wrapped):
    @mg.workflow
    async def careless() -> str:
        async def branch() -> None:
            await ship()

        try:
            await asyncio.gather(note(), branch() if wrapped else ship())
        except mg.StepFailed:
            return await reserve()
        return ""

    run = start(careless)
    run.fail_for_good("note")
    assert run.complete("reserve", "r") == ["reserve done", "ship cancelled"]
    assert run.cut_off("ship")[-1] == "undo ship"
    assert run.undo("ship") == ["ship undone", "COMPLETED"]


def test_losers_of_a_race_are_cancelled_at_the_return(start):
    @mg.workflow
    async def race() -> str:
        done, _ = await asyncio.wait([charge(), ship()], return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    run = start(race)
    assert run.complete("charge", "c") == ["charge done", "ship cancelled"]
    assert run.stop("ship")[-1] == "COMPLETED"
