"""A late result is a fact and never the step's result; where the step's undo had begun, it is made again."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

import makegood as mg
from makegood.definition.payload import NULL
from makegood.engine.late import known_result
from makegood.engine.operator import Request
from makegood.engine.run import Status
from tests.engine.shop import approve, book, charge, note, reserve, ship

REFUSED = mg.Failure("shop.Refused", "no")


@mg.workflow
async def order() -> str:
    await charge("o")
    return await ship("o")


@mg.workflow
async def forgiving() -> str:
    with contextlib.suppress(mg.StepFailed):
        await book("o")
    return await ship("o")


def give_up_for_good(run, step, **how):
    return run.give_up_on(step, fatal=True, **how)


def given(run, step):
    """What the step's compensation is given."""
    result = known_result(run.state, run.step(step))
    return None if result is None else msgspec.json.decode(result)


def test_it_is_not_the_steps_result_while_another_attempt_is_to_come(start):
    run = start(order)
    run.give_up_on("charge")
    assert run.end_late("charge") == ["charge attempt 1 ended late: done"]
    assert run.step("charge").result is None
    assert run.complete("charge", "second") == ["charge done", "ship scheduled"]
    assert run.complete("ship", "label") == ["ship done", "COMPLETED"]


def test_it_changes_nothing_after_another_attempt_has_succeeded(start):
    run = start(order)
    run.give_up_on("charge")
    run.complete("charge", "second")
    assert run.end_late("charge") == ["charge attempt 1 ended late: done"]
    run.complete("ship", "label")
    assert run.status == Status.COMPLETED


def test_it_is_recorded_once(start):
    run = start(order)
    run.give_up_on("charge")
    run.end_late("charge")
    assert run.end_late("charge") == []
    assert run.end_late("charge", attempt=2) == []


def test_what_took_effect_late_before_its_turn_is_undone_once_with_the_late_result(start):
    run = start(forgiving)
    give_up_for_good(run, "book")
    run.probe_finds_nothing("book")
    run.end_late("book", "booking")
    run.fail_for_good("ship")
    assert given(run, "book") == "booking"
    assert run.undo("book") == ["book undone", "COMPENSATED"]


def test_a_success_while_its_undo_is_under_way_has_it_undone_again(start):
    run = start(order)
    run.complete("charge", "receipt")
    give_up_for_good(run, "ship")
    assert run.end_late("ship") == ["ship attempt 1 ended late: done"]
    assert run.undo("ship") == ["ship undone", "undo ship"]
    assert given(run, "ship") == "late"
    assert run.undo("ship") == ["ship undone", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]
    assert run.state.undone == ["ship", "charge"]


def test_a_success_after_its_undo_waits_for_the_one_under_way_and_is_undone_again(start):
    run = start(order)
    run.complete("charge", "receipt")
    give_up_for_good(run, "ship")
    run.undo("ship")
    assert run.end_late("ship") == ["ship attempt 1 ended late: done"]
    assert run.undo("charge") == ["charge undone", "undo ship"]
    assert run.undo("ship") == ["ship undone", "COMPENSATED"]


def test_a_success_after_the_end_reopens_the_run_which_ends_as_before(start):
    run = start(order)
    run.complete("charge", "receipt")
    give_up_for_good(run, "ship")
    run.undo("ship")
    run.undo("charge")
    assert run.status == Status.COMPENSATED
    assert run.end_late("ship") == ["ship attempt 1 ended late: done", "undo ship"]
    assert run.status == Status.COMPENSATING
    assert run.undo("ship") == ["ship undone", "COMPENSATED"]


def test_a_completed_run_that_did_without_the_step_ends_completed_again(start):
    run = start(forgiving)
    give_up_for_good(run, "book")
    run.probe_finds_nothing("book")
    run.complete("ship", "label")
    assert run.undo("book") == ["book undone", "COMPLETED"]
    assert run.end_late("book") == ["book attempt 1 ended late: done", "undo book"]
    assert run.undo("book") == ["book undone", "COMPLETED"]
    assert run.state.result == msgspec.Raw(b'"label"')


def test_a_cancelled_run_ends_cancelled_again(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.cancel()
    give_up_for_good(run, "ship")
    run.undo("ship")
    run.undo("charge")
    assert run.status == Status.CANCELLED
    run.end_late("ship")
    assert run.undo("ship") == ["ship undone", "CANCELLED"]


def test_several_late_attempts_are_undone_again_one_after_the_other(start):
    run = start(order)
    run.give_up_on("charge")
    give_up_for_good(run, "charge")
    run.undo("charge")
    assert run.end_late("charge", attempt=2) == ["charge attempt 2 ended late: done", "undo charge"]
    assert run.end_late("charge", attempt=1) == ["charge attempt 1 ended late: done"]
    assert run.undo("charge") == ["charge undone", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_late_failure_is_a_fact_and_undoes_nothing_again(start):
    run = start(order)
    give_up_for_good(run, "charge")
    run.undo("charge")
    assert run.end_late("charge", failure=REFUSED) == ["charge attempt 1 ended late: not done"]
    assert run.status == Status.COMPENSATED


def test_a_late_end_that_tells_nothing_has_it_undone_again(start):
    run = start(order)
    give_up_for_good(run, "charge")
    run.undo("charge")
    assert run.end_late("charge", failure=REFUSED, unknown=True) == [
        "charge attempt 1 ended late: perhaps done",
        "undo charge",
    ]
    assert given(run, "charge") is None
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_late_end_of_a_compensation_is_a_fact(start):
    run = start(order)
    run.fail_for_good("charge", unknown=True)
    run.give_up_on("charge")
    run.undo("charge")
    assert run.end_late("charge", None, undo=True) == ["undo of charge attempt 1 ended late: done"]
    assert run.status == Status.COMPENSATED


def test_a_late_success_of_a_step_without_a_compensation_is_a_fact(start):
    @mg.workflow
    async def noting() -> None:
        await note("x")

    run = start(noting)
    give_up_for_good(run, "note")
    assert run.status == Status.FAILED
    assert run.end_late("note") == ["note attempt 1 ended late: done"]
    assert run.status == Status.FAILED


def test_a_probe_cannot_settle_what_may_still_happen(start):
    run = start(forgiving)
    run.give_up_on("book")
    run.probe_finds_nothing("book")
    assert run.fail_for_good("book", unknown=False)[-2:] == ["book failed (unknown)", "ship scheduled"]


def test_a_parked_step_waits_for_its_operator_all_the_same(start):
    @mg.workflow
    async def approving() -> str:
        return await approve("o")

    run = start(approving)
    run.give_up_on("approve")
    assert run.status == Status.PARKED
    run.end_late("approve", "yes")
    assert run.status == Status.PARKED
    assert run.operate("resolve", result="yes")[-1] == "COMPLETED"


def test_an_undo_that_gives_up_again_parks_the_reopened_run(start):
    run = start(order)
    give_up_for_good(run, "charge")
    run.undo("charge")
    run.end_late("charge")
    run.fail_for_good("charge")
    assert run.status == Status.PARKED
    assert run.operate("skip")[-1] == "TERMINATED, open: charge"


def test_a_parked_undo_is_made_again_after_it_was_resolved(start):
    run = start(order)
    give_up_for_good(run, "charge")
    run.fail_for_good("charge")
    run.end_late("charge")
    assert run.operate("resolve")[-2:] == ["charge undone by ann", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_terminated_run_lists_what_took_effect_behind_its_undo(start):
    run = start(order)
    run.complete("charge", "receipt")
    give_up_for_good(run, "ship")
    run.undo("ship")
    run.act(Request("terminate", "ann", "enough"))
    assert run.state.residue == ["charge"]
    assert run.end_late("ship") == ["ship attempt 1 ended late: done"]
    assert run.state.residue == ["charge", "ship"]
    assert run.status == Status.TERMINATED


def test_a_run_terminated_after_undoing_undoes_it_again(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.act(Request("terminate", "ann", "enough", compensate=True))
    give_up_for_good(run, "ship")
    run.undo("ship")
    run.undo("charge")
    assert run.end_late("ship") == ["ship attempt 1 ended late: done", "undo ship"]
    assert run.undo("ship") == ["ship undone", "TERMINATED, open: "]


def test_a_nested_sagas_step_is_undone_again_while_the_run_goes_on(start):
    @mg.workflow
    async def nested() -> str:
        with contextlib.suppress(mg.StepFailed):
            async with mg.saga():
                await reserve("o")
                await charge("o")
        return await ship("o")

    run = start(nested)
    run.complete("reserve", "hold")
    give_up_for_good(run, "charge")
    run.undo("charge")
    assert run.undo("reserve") == ["reserve undone", "ship scheduled"]
    assert run.end_late("charge") == ["charge attempt 1 ended late: done", "undo charge"]
    assert run.complete("ship", "label") == ["ship done"]
    assert run.undo("charge") == ["charge undone", "COMPLETED"]


def test_a_nested_saga_waits_with_its_rollback_for_what_is_undone_again(start):
    @mg.workflow
    async def nested() -> str:
        with contextlib.suppress(mg.StepFailed):
            async with mg.saga():
                await reserve("o")
                await charge("o")
        return await ship("o")

    run = start(nested)
    run.complete("reserve", "hold")
    give_up_for_good(run, "charge")
    run.end_late("charge")
    assert run.undo("charge") == ["charge undone", "undo charge"]
    assert run.undo("charge") == ["charge undone", "undo reserve"]
    assert run.undo("reserve") == ["reserve undone", "ship scheduled"]


def test_a_reopened_run_takes_no_more_wishes_but_to_be_terminated(start):
    run = start(forgiving)
    give_up_for_good(run, "book")
    run.probe_finds_nothing("book")
    run.complete("ship", "label")
    run.undo("book")
    run.end_late("book")
    for request in (
        Request("cancel", "ann"),
        Request("signal", "ann", name="go"),
        Request("terminate", "ann", compensate=True),
    ):
        with pytest.raises(mg.NotPossible, match="had ended"):
            run.act(request)
    assert run.act(Request("terminate", "ann"))[-1] == "TERMINATED, open: book, ship"


def test_a_run_does_not_go_on_as_new_before_it_knows_what_it_has_to_undo(start):
    @mg.workflow
    async def endless(number: int = 0) -> None:
        if number:
            await ship("o")
            return
        with contextlib.suppress(mg.StepFailed):
            await charge("o")
        mg.continue_as_new(number + 1)

    run = start(endless)
    give_up_for_good(run, "charge")
    assert run.undo("charge") == ["charge undone"]
    assert run.end_late("charge") == ["charge attempt 1 ended late: done", "undo charge"]
    assert run.undo("charge") == ["charge undone", "continued as leg 2", "ship scheduled"]


def test_what_ends_late_of_an_earlier_leg_is_a_fact(start):
    @mg.workflow
    async def endless(number: int = 0) -> None:
        if number:
            await ship("o")
            return
        with contextlib.suppress(mg.StepFailed):
            await note("o")
        mg.continue_as_new(number + 1)

    run = start(endless)
    assert give_up_for_good(run, "note")[-2:] == ["continued as leg 2", "ship scheduled"]
    raw = msgspec.Raw(b'"late"')
    assert run.act(Request("late", "", step="1", result=raw, attempt=1)) == [
        "note attempt 1 ended late: done"
    ]
    assert run.complete("ship", "label") == ["ship done", "COMPLETED"]


@pytest.mark.parametrize("moment", range(2, 5))
def test_a_crash_at_any_moment_before_it_is_told_of_loses_nothing(start, moment):
    """The worker posts what it expects; the next one tells the run that the attempt has ended with its process."""
    run = start(order)
    lost = {"failure": mg.Failure("WorkerLost", ""), "unknown": True}
    happenings = [
        lambda: run.complete("charge", "receipt"),
        lambda: give_up_for_good(run, "ship"),
        lambda: run.undo("ship"),
        lambda: run.undo("charge"),
    ]
    for number, happening in enumerate(happenings):
        if number == moment:
            run.crash() if run.state.status_ is None else None
        happening()
    if run.state.status_ is None:
        run.crash()
    run.end_late("ship", **lost)
    while run.state.is_undoing:
        undoing = next(one for one in run.state.steps.values() if one.state == "undoing")
        run.undo(undoing.name)
    assert run.status == Status.COMPENSATED
    assert run.story.count("undo ship") == 2


def test_a_heartbeats_details_are_kept_for_the_next_attempt(start):
    run = start(order)
    run.fail("charge", heartbeat={"page": 7})
    assert run.state.heartbeats == {(1, False): msgspec.Raw(b'{"page":7}')}
    run.fail("charge", lost=True, unknown=True)
    assert run.state.heartbeats == {(1, False): msgspec.Raw(b'{"page":7}')}


def test_an_undo_that_is_made_again_begins_anew(start):
    run = start(order)
    give_up_for_good(run, "charge", heartbeat=1)
    run.fail("charge", heartbeat=2)
    assert run.state.heartbeats == {(1, False): msgspec.Raw(b"1"), (1, True): msgspec.Raw(b"2")}
    run.undo("charge")
    run.end_late("charge")
    assert run.state.heartbeats == {(1, False): msgspec.Raw(b"1")}
    run.undo("charge")


def test_nothing_is_recorded_of_an_attempt_without_heartbeats(start):
    run = start(order)
    run.fail("charge")
    assert run.entries[-1].events[0].heartbeat is NULL
