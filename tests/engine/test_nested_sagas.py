"""``async with mg.saga()``: what happened inside is undone when it fails, and the run goes on."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.shop import approve, book, charge, note, reserve, ship


@mg.workflow
async def order() -> str:
    """Ship by the cheap carrier (book and reserve), or else without."""
    await charge()
    try:
        async with mg.saga():
            await book()
            await reserve()
            await note()
    except mg.StepFailed:
        return "without"
    return "with"


@pytest.fixture
def failing(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("book", "b")
    run.complete("reserve", "r")
    assert run.fail_for_good("note")[-2:] == ["saga 1 rolls back: reserve, book", "undo reserve"]
    return run


def test_only_what_happened_inside_is_undone_the_last_first_and_the_exception_goes_on(failing):
    assert failing.status is Status.RUNNING
    assert failing.undo("reserve") == ["reserve undone", "undo book"]
    assert failing.undo("book") == ["book undone", "COMPLETED"]
    assert bytes(failing.state.result) == b'"without"'
    assert failing.state.undone == ["reserve", "book"]


def test_a_block_that_does_not_fail_is_undone_with_the_saga_around(start):
    @mg.workflow
    async def whole() -> None:
        async with mg.saga():
            await charge()
        await ship()

    run = start(whole)
    run.complete("charge", "c")
    assert run.fail_for_good("ship")[-2:] == ["rollback", "undo charge"]
    assert run.undo("charge")[-1] == "COMPENSATED"


def test_what_a_nested_saga_has_undone_takes_no_part_in_the_outer_rollback(start):
    @mg.workflow
    async def whole() -> None:
        await charge()
        async with mg.saga():
            await book()
            await note()

    run = start(whole)
    run.complete("charge", "c")
    run.complete("book", "b")
    assert run.fail_for_good("note")[-1] == "undo book"
    assert run.undo("book") == ["book undone", "rollback", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_step_of_unknown_outcome_is_undone_too(start):
    run = start(order)
    run.complete("charge", "c")
    run.complete("book", "b")
    assert run.fail_for_good("reserve", unknown=True)[-2:] == [
        "saga 1 rolls back: reserve, book",
        "undo reserve",
    ]
    run.undo("reserve")
    assert run.undo("book")[-1] == "COMPLETED"


def test_a_saga_with_nothing_to_undo_goes_on_at_once(start):
    run = start(order)
    run.complete("charge", "c")
    assert run.fail_for_good("book")[-2:] == ["saga 1 rolls back: nothing", "COMPLETED"]


def test_sagas_nest_and_each_failure_undoes_its_own(start):
    @mg.workflow
    async def nested() -> None:
        async with mg.saga():
            await charge()
            try:
                async with mg.saga():
                    await book()
                    await note("inner")
            except mg.StepFailed:
                await reserve()
            await note("outer")

    run = start(nested)
    run.complete("charge", "c")
    run.complete("book", "b")
    assert run.fail_for_good("note")[-2:] == ["saga 2 rolls back: book", "undo book"]
    assert run.undo("book") == ["book undone", "reserve scheduled"]
    run.complete("reserve", "r")
    assert run.fail_for_good("note")[-2:] == ["saga 1 rolls back: reserve, charge", "undo reserve"]
    run.undo("reserve")
    assert run.undo("charge") == ["charge undone", "rollback", "COMPENSATED"]


def test_the_order_of_undoing_is_the_reverse_of_the_calls_workflow_core_191(start):
    """workflow-core undid 1, 2, 3, 4 as 4, 1, 2, 3."""

    @mg.workflow
    async def four() -> None:
        async with mg.saga():
            await charge("1")
            async with mg.saga():
                await charge("2")
            await asyncio.gather(charge("3"), charge("4"))
            await note()

    run = start(four)
    for _ in range(2):
        run.complete("charge", "c")
    run.tell(run.completing("charge", "c"))
    run.tell(lambda execution: execution.step_completed(3, 1, mg_raw("c"), run.now))
    run.fail_for_good("note")
    undone = []
    while run.state.status_ is None:
        (number,) = [n for n, record in run.state.steps.items() if record.state == "undoing"]
        undone.append(number)
        run.tell(lambda execution, step=number: execution.compensation_completed(step, 1, run.now))
    assert undone == [4, 3, 2, 1]


def mg_raw(value):
    return charge.signature.encode_result(value)


# ---- branches ------------------------------------------------------------------------------------------------------


@mg.workflow
async def trip() -> list[str]:
    """Two legs beside each other, each a saga of its own."""

    async def leg(name: str) -> str:
        try:
            async with mg.saga():
                await charge(name)
                await ship(name)
                return "travelled"
        except mg.StepFailed:
            return "stayed"

    return list(await asyncio.gather(leg("a"), leg("b")))


def done(run, step: int, attempt: int = 1):
    return run.tell(lambda execution: execution.step_completed(step, attempt, mg_raw("x"), run.now))


def refused(run, step: int):
    failure = mg.Failure("shop.Refused", "no")
    return run.tell(lambda execution: execution.attempt_failed(step, 1, failure, run.now, 0.5, fatal=True))


def undone(run, step: int):
    return run.tell(lambda execution: execution.compensation_completed(step, 1, run.now))


def test_a_saga_in_a_branch_leaves_the_other_branch_alone(start):
    run = start(trip)
    done(run, 1)
    done(run, 2)
    assert refused(run, 3)[-2:] == ["saga 1 rolls back: charge", "undo charge"]
    assert done(run, 4) == ["ship done"]
    assert undone(run, 1) == ["charge undone", "COMPLETED"]
    assert bytes(run.state.result) == b'["stayed","travelled"]'


def test_sagas_of_two_branches_are_undone_beside_each_other(start):
    run = start(trip)
    done(run, 1)
    done(run, 2)
    refused(run, 3)
    assert refused(run, 4)[-2:] == ["saga 2 rolls back: charge", "undo charge"]
    assert undone(run, 2) == ["charge undone"]
    assert undone(run, 1) == ["charge undone", "COMPLETED"]


@mg.workflow
async def parcels() -> str:
    """One saga with branches inside."""
    try:
        async with mg.saga():
            await charge()

            async def parcel(name: str) -> None:
                await book(name)
                await reserve(name)

            await asyncio.gather(parcel("a"), parcel("b"), ship())
    except mg.StepFailed:
        await note()
        return "nothing sent"
    return "sent"


def test_branches_inside_are_ended_and_settled_before_anything_is_undone(start):
    run = start(parcels)
    run.complete("charge", "c")  # ship is step 2: it is called before the branches have run
    done(run, 3)
    assert refused(run, 2)[-2:] == ["reserve cancelled", "book cancelled"]
    assert run.status is Status.RUNNING
    assert run.fail("book", unknown=True)[-1].endswith("probe")
    assert run.probe_finds("book", "b") == ["book probed: done: complete"]
    assert run.cut_off("reserve")[-2:] == ["saga 1 rolls back: reserve, book, book, charge", "undo reserve"]
    for number in (5, 4, 3):
        undone(run, number)
    assert undone(run, 1) == ["charge undone", "note scheduled"]
    run.complete("note", "n")
    assert bytes(run.state.result) == b'"nothing sent"'


def test_a_branch_that_refuses_to_end_fails_the_workflow(start):
    @mg.workflow
    async def stubborn() -> None:
        async def forever() -> None:
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    continue

        async with mg.saga():
            await charge()
            await asyncio.gather(forever(), ship())

    run = start(stubborn)
    run.complete("charge", "c")
    assert run.fail_for_good("ship")[-1] == "undo charge"
    assert run.undo("charge")[-2:] == ["rollback", "COMPENSATED"]
    assert "swallows its cancellation" in run.state.failure.message


def test_a_saga_left_behind_in_a_branch_is_undone_when_the_workflow_returns(start):
    @mg.workflow
    async def hasty() -> str:
        async def behind() -> None:
            async with mg.saga():
                await charge()
                await asyncio.sleep(1000)

        task = asyncio.create_task(behind())
        await asyncio.sleep(0)
        await note()
        del task
        return "done"

    run = start(hasty)
    run.complete("charge", "c")
    assert run.complete("note", "n")[-3:] == ["timer 1 cancelled", "saga 1 rolls back: charge", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPLETED"]


# ---- when undoing goes wrong ---------------------------------------------------------------------------------------


def test_a_compensation_that_gives_up_parks_the_run_and_goes_on_after_the_operators_decision(failing):
    for _ in range(3):
        told = failing.fail("reserve")
    assert told[-1] == "parked: reserve"
    assert failing.status is Status.PARKED
    assert failing.operate("resolve") == ["ann: resolve reserve", "reserve undone by ann", "undo book"]
    assert failing.undo("book")[-1] == "COMPLETED"


def test_a_compensation_that_an_operator_skips_is_residue_of_the_completed_run(failing):
    for _ in range(3):
        failing.fail("reserve")
    assert failing.operate("skip")[-1] == "undo book"
    assert failing.undo("book")[-1] == "COMPLETED"
    assert failing.state.residue == ["reserve"]


def test_a_crash_while_undoing_repeats_the_attempt_and_goes_on(failing):
    assert failing.crash() == ["reserve attempt 1 failed (unknown) (lost): retry"]
    assert failing.undo("reserve") == ["reserve undone", "undo book"]


# ---- cancellation --------------------------------------------------------------------------------------------------


def test_a_cancellation_waits_until_the_saga_is_undone(failing):
    assert failing.cancel() == ["ann: cancel"]
    assert failing.undo("reserve") == ["reserve undone", "undo book"]
    assert failing.undo("book") == ["book undone", "rollback (cancelled)", "undo charge"]
    assert failing.undo("charge")[-1] == "CANCELLED"


def test_a_cancelled_run_is_undone_as_one_in_the_reverse_order_of_its_calls(start):
    run = start(trip)
    done(run, 1)
    done(run, 2)
    run.cancel()
    run.tell(lambda execution: execution.step_stopped(3, run.now))
    told = run.tell(lambda execution: execution.step_stopped(4, run.now))
    assert told[-2:] == ["rollback (cancelled)", "undo charge"]
    assert undone(run, 2) == ["charge undone", "undo charge"]


def test_a_timeout_undoes_the_saga_inside_it(start):
    @mg.workflow
    async def hurried() -> str:
        try:
            async with asyncio.timeout(10):
                async with mg.saga():
                    await charge()
                    await asyncio.sleep(1000)
        except TimeoutError:
            return "too late"
        return "in time"

    run = start(hurried)
    run.complete("charge", "c")
    assert run.fire()[-3:] == ["timer 2 cancelled", "saga 1 rolls back: charge", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPLETED"]
    assert bytes(run.state.result) == b'"too late"'


def test_a_timeout_that_strikes_while_the_saga_is_undone_waits_for_it(start):
    @mg.workflow
    async def hurried() -> str:
        try:
            async with asyncio.timeout(10):
                async with mg.saga():
                    await charge()
                    await note()
        except TimeoutError:
            return "too late"
        return "in time"

    run = start(hurried)
    run.complete("charge", "c")
    run.fail_for_good("note")
    assert run.fire() == ["timer 1 fired"]
    assert run.undo("charge") == ["charge undone", "COMPLETED"]
    assert bytes(run.state.result) == b'"too late"'


def test_a_parked_step_inside_is_cancelled_with_the_run(start):
    @mg.workflow
    async def whole() -> None:
        async with mg.saga():
            await charge()
            await approve()

    run = start(whole)
    run.complete("charge", "c")
    run.fail("approve")
    run.cancel()
    assert run.stop("approve")[-2:] == ["rollback (cancelled)", "undo charge"]


# ---- wrong use -----------------------------------------------------------------------------------------------------


def test_a_saga_outside_a_workflow_is_refused():
    with pytest.raises(mg.OutsideWorkflow, match=r"mg.saga\(\) was called outside a workflow"):
        mg.saga()


def test_a_saga_is_entered_once(start):
    @mg.workflow
    async def twice() -> None:
        saga = mg.saga()
        async with saga:
            pass
        async with saga:
            pass

    run = start(twice)
    assert "entered once" in run.state.failure.message
