"""What an operator may change: a step's arguments, and how far a run is rolled back."""

from __future__ import annotations

import msgspec
import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.errors import NotPossible, PayloadError, UsageError
from makegood.rollback_plan import rollback_plan
from tests.engine.shop import approve, book, charge, note, reserve, ship


@mg.workflow
async def order() -> str:
    await charge("o-1")
    await reserve("o-1")
    await note("reserved")
    await ship("o-1")
    return await approve("o-1")


@pytest.fixture
def parked(start):
    run = start(order)
    for step in ("charge", "reserve", "note", "ship"):
        run.complete(step, step)
    run.fail("approve")
    return run


def retry(run, arguments):
    given = msgspec.Raw(msgspec.json.encode(arguments))
    return run.act(Request("retry", "ann", "a typing error", arguments=given))


def test_a_step_is_retried_with_other_arguments(parked):
    retry(parked, ["o-2"])
    record = parked.step("approve")
    assert (bytes(record.arguments), record.revision) == (b'["o-2"]', 1)
    assert parked.complete("approve", "yes")[-1] == "COMPLETED"


def test_arguments_may_be_given_by_name(parked):
    retry(parked, {"order": "o-2"})
    assert bytes(parked.step("approve").arguments) == b'["o-2"]'


def test_arguments_that_do_not_fit_change_nothing(parked):
    for wrong, error in ((["a", "b"], UsageError), ([7], PayloadError), ({"colour": "red"}, UsageError)):
        with pytest.raises(error):
            retry(parked, wrong)
    assert parked.execution.events == []
    assert parked.step("approve").revision == 0


def test_a_step_that_may_have_taken_effect_keeps_its_arguments(start):
    run = start(order)
    for step in ("charge", "reserve", "note", "ship"):
        run.complete(step, step)
    run.fail("approve", unknown=True)
    with pytest.raises(NotPossible, match="nobody knows whether it took effect"):
        retry(run, ["o-2"])
    run.operate("retry")


def test_a_compensation_keeps_its_arguments(start):
    @mg.workflow
    async def booking() -> None:
        await book("o-1")
        await approve("o-1")

    run = start(booking)
    run.complete("book", "b")
    run.fail("approve")
    run.cancel()
    run.stop("approve")
    run.fail_for_good("book")
    with pytest.raises(NotPossible, match="retry the compensation of step book with other arguments"):
        retry(run, ["o-2"])


def test_a_rollback_may_keep_what_was_done_first(parked):
    request = Request("terminate", "ann", "keep the payment", step="charge", compensate=True)
    assert rollback_plan(parked.state, "charge").undone == ["ship", "reserve"]
    parked.act(request)
    assert parked.stop("approve")[-1] == "undo ship"
    parked.undo("ship")
    assert parked.undo("reserve") == ["reserve undone", "TERMINATED, open: charge"]
    assert parked.state.residue == ["charge"]


def test_a_rollback_under_way_cannot_be_led_elsewhere(parked):
    back = Request("terminate", "ann", "keep the payment", step="charge", compensate=True)
    parked.act(back)
    assert parked.act(back) == []
    with pytest.raises(NotPossible, match="is being undone already"):
        parked.act(Request("terminate", "ann", "keep more", step="reserve", compensate=True))


def test_the_plan_tells_what_stays_and_why(parked):
    plan = rollback_plan(parked.state, "reserve")
    assert plan.undone == ["ship"]
    assert plan.kept == ["charge", "reserve"]
    assert plan.as_is == ["note"]
    assert plan.under_way == ["approve"]


def test_a_rollback_without_a_limit_undoes_everything(parked):
    assert rollback_plan(parked.state).undone == ["ship", "reserve", "charge"]


def test_a_rollback_to_an_unknown_step_names_the_steps(parked):
    with pytest.raises(NotPossible, match=r"no step is called so. Its steps: 1 \(charge\), 2 \(reserve\)"):
        parked.act(Request("terminate", "ann", step="chrage", compensate=True))
    with pytest.raises(NotPossible, match="no step is called so"):
        rollback_plan(parked.state, "chrage")


def test_attempts_that_end_with_their_process_again_and_again_park_the_run(start):
    run = start(order)
    waits = []
    for _ in range(4):
        run.crash()
        waits.append(run.wait_seconds("charge"))
        run.now = run.step("charge").retry_at
    assert waits == [0, 0, 2, 8]
    assert run.crash()[0] == "charge attempt 5 failed (unknown) (lost): give up"
    assert run.status == "PARKED"
    assert "5 attempts of step charge in a row ended with the process" in run.state.parked[1][0]
    run.operate("retry")
    assert run.complete("charge", "c") == ["charge done", "reserve scheduled"]


def test_an_attempt_that_ends_otherwise_begins_the_count_anew(start):
    run = start(order)
    for _ in range(3):
        run.crash()
        run.now = run.step("charge").retry_at
    run.fail("charge")
    run.now = run.step("charge").retry_at
    run.crash()
    assert run.wait_seconds("charge") == 0


def test_a_compensation_that_takes_the_process_down_parks_too(start):
    run = start(order)
    run.complete("charge", "c")
    run.fail_for_good("reserve")
    for _ in range(4):
        run.crash()
        run.now = run.step("charge").retry_at
    run.crash()
    assert run.status == "PARKED"
