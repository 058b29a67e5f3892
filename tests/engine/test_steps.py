"""Sequential steps: results, retries, outcomes, and how a run ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.shop import approve, book, charge, email, note, reserve, ship

UNSTORABLE: Any = object()


@mg.workflow
async def order(id: str) -> str:
    receipt = await charge(id)
    hold = await reserve(id)
    return f"{receipt} {hold} {await ship(id)}"


def test_steps_run_one_after_the_other_and_their_results_make_the_result(start):
    run = start(order, "o-1")
    assert run.began == ["STARTED", "charge scheduled"]
    assert run.complete("charge", "r") == ["charge done", "reserve scheduled"]
    assert run.complete("reserve", "h") == ["reserve done", "ship scheduled"]
    assert run.complete("ship", "l") == ["ship done", "COMPLETED"]
    assert run.status is Status.COMPLETED
    assert bytes(run.state.result) == b'"r h l"'


def test_the_intent_of_a_step_holds_its_arguments(start):
    run = start(order, "o-1")
    assert bytes(run.step("charge").arguments) == b'["o-1"]'


def test_a_failed_step_is_tried_again_and_then_undoes_what_was_done(start):
    run = start(order, "o-1")
    run.complete("charge", "r")
    assert run.fail("reserve") == ["reserve attempt 1 failed: retry"]
    assert run.wait_seconds("reserve") == 0.5
    assert run.fail("reserve") == ["reserve attempt 2 failed: retry"]
    assert run.wait_seconds("reserve") == 1
    assert run.fail("reserve") == [
        "reserve attempt 3 failed: give up",
        "reserve failed",
        "rollback",
        "undo charge",
    ]
    assert run.status is Status.COMPENSATING
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]
    assert run.state.undone == ["charge"]
    assert run.state.failed_step == "reserve"
    assert run.state.failure == mg.Failure("shop.Refused", "no")


def test_a_run_that_did_nothing_before_it_failed_ends_failed(start):
    run = start(order, "o-1")
    assert run.fail_for_good("charge")[-2:] == ["rollback", "FAILED"]
    assert run.status is Status.FAILED


def test_a_step_without_a_compensation_is_left_as_is_and_listed(start):
    @mg.workflow
    async def noted() -> None:
        await note("hello")
        await charge()

    run = start(noted)
    run.complete("note", "n")
    run.fail_for_good("charge")
    assert run.status is Status.FAILED
    assert run.state.left_as_is == ["note"]


def test_a_completed_run_lists_nothing_as_left(start):
    @mg.workflow
    async def noted() -> None:
        await note("hello")

    run = start(noted)
    run.complete("note", "n")
    assert (run.state.left_as_is, run.state.residue, run.state.missed) == ([], [], [])


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (None, []),
        (mg.Retry(delays=[0, 1, 5, 30]), [1, 5, 30]),
        (mg.Retry(max_attempts=5, initial=1, factor=2, maximum=3), [1, 2, 3, 3]),
        (mg.Retry(max_attempts=1), []),
    ],
)
def test_retries_follow_their_schedule(start, retry, waits):
    stubborn = note.options(name="stubborn", retry=retry)

    @mg.workflow
    async def trying() -> None:
        await stubborn()

    run = start(trying)
    seen = []
    while run.fail("stubborn")[-1].endswith("retry"):
        seen.append(run.wait_seconds("stubborn"))
        run.now += seen[-1]
    assert seen == waits
    assert run.status is Status.FAILED


def test_the_wait_before_the_first_attempt_is_recorded_with_its_intent(start):
    slow_start = note.options(name="slow_start", retry=mg.Retry(delays=[7, 1]))

    @mg.workflow
    async def patient() -> None:
        await slow_start()

    run = start(patient)
    assert run.wait_seconds("slow_start") == 7
    assert run.crash() == [], "it waits still"
    run.now += 7
    run.fail("slow_start")
    assert run.wait_seconds("slow_start") == 1


def test_forever_never_gives_up_and_its_waits_stay_within_the_jitter(start):
    stubborn = note.options(name="stubborn", retry=mg.Retry.forever(initial=1, maximum=10, jitter=0.1))

    @mg.workflow
    async def trying() -> None:
        await stubborn()

    run = start(trying)
    for dice in (0.0, 0.999) * 10:
        assert run.fail("stubborn", dice=dice)[-1].endswith("retry")
    run.fail("stubborn", dice=0.0)
    assert run.wait_seconds("stubborn") == pytest.approx(9)
    run.complete("stubborn", "at last")
    assert run.status is Status.COMPLETED


def test_a_fatal_failure_is_not_tried_again(start):
    run = start(order, "o-1")
    assert run.fail("charge", fatal=True)[0] == "charge attempt 1 failed: give up"


def test_attempts_lost_with_their_process_do_not_count(start):
    run = start(order, "o-1")
    for attempt in range(1, 4):
        assert run.crash() == [f"charge attempt {attempt} failed (unknown) (lost): retry"]
    assert run.fail("charge")[0] == "charge attempt 4 failed: retry"
    assert run.wait_seconds("charge") == 0.5


def test_a_recovered_step_that_was_waiting_keeps_its_wait(start):
    run = start(order, "o-1")
    run.fail("charge")
    assert run.crash() == []
    assert run.wait_seconds("charge") == 0.5


# ---- unknown outcomes and probes ---------------------------------------------------------------------------------


def test_an_unknown_outcome_stays_unknown_when_a_later_attempt_fails_plainly(start):
    run = start(order, "o-1")
    run.fail("charge", unknown=True)
    run.fail("charge")
    assert run.fail("charge") == [
        "charge attempt 3 failed: give up",
        "charge failed (unknown)",
        "rollback",
        "undo charge",
    ]
    assert run.step("charge").result is None, "the compensation gets None: nobody knows"
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]


def test_a_later_success_settles_an_unknown_outcome(start):
    run = start(order, "o-1")
    run.fail("charge", unknown=True)
    run.complete("charge", "r")
    assert not run.step("charge").unknown


def test_the_workflow_is_told_that_the_outcome_is_unknown(start):
    @mg.workflow
    async def curious() -> bool:
        try:
            await note()
        except mg.StepFailed as failed:
            return failed.unknown and failed.step == "note" and failed.attempts == 1
        return False

    run = start(curious)
    run.fail_for_good("note", unknown=True)
    assert bytes(run.state.result) == b"true"


def test_an_unknown_step_without_compensation_is_left_as_is(start):
    @mg.workflow
    async def noted() -> None:
        await note()

    run = start(noted)
    run.fail_for_good("note", unknown=True)
    assert run.status is Status.FAILED
    assert run.state.left_as_is == ["note"]


@mg.workflow
async def booking() -> str:
    return await book()


def test_a_probe_that_finds_the_effect_completes_the_step(start):
    run = start(booking)
    assert run.fail("book", unknown=True) == ["book attempt 1 failed (unknown): probe"]
    assert run.probe_finds("book", "b-7") == ["book probed: done: complete", "COMPLETED"]
    assert bytes(run.state.result) == b'"b-7"'


def test_a_probe_that_finds_nothing_settles_the_outcome_and_the_step_is_tried_again(start):
    run = start(booking)
    run.fail("book", unknown=True)
    assert run.probe_finds_nothing("book") == ["book probed: not done: retry"]
    assert not run.step("book").unknown
    run.fail("book")
    assert run.fail("book")[1:] == ["book failed", "rollback", "FAILED"]


def test_a_probe_that_cannot_tell_leaves_the_outcome_unknown(start):
    run = start(booking)
    run.fail("book", unknown=True)
    assert run.probe_finds_nothing("book", cannot_tell=True) == ["book probed: unknown: retry"]
    assert run.wait_seconds("book") == 0.5
    run.fail("book")
    assert run.fail("book")[1:] == ["book failed (unknown)", "rollback", "undo book"]
    run.undo("book")


def test_a_probe_after_the_last_attempt_lets_the_step_fail_if_it_finds_nothing(start):
    run = start(booking)
    run.fail("book")
    run.fail("book")
    run.fail("book", unknown=True)
    assert run.probe_finds_nothing("book") == [
        "book probed: not done: give up",
        "book failed",
        "rollback",
        "FAILED",
    ]


def test_a_fatal_failure_is_not_tried_again_although_the_probe_finds_nothing(start):
    run = start(booking)
    run.fail("book", unknown=True, fatal=True)
    assert run.probe_finds_nothing("book")[1] == "book failed"


def test_a_plain_failure_is_not_probed(start):
    run = start(booking)
    assert run.fail("book") == ["book attempt 1 failed: retry"]


def test_an_attempt_lost_in_a_crash_is_probed_first(start):
    run = start(booking)
    assert run.crash() == ["book attempt 1 failed (unknown) (lost): probe"]
    assert run.probe_finds_nothing("book") == ["book probed: not done: retry"]
    assert run.wait_seconds("book") == 0


def test_a_crash_while_probing_probes_again(start):
    run = start(booking)
    run.fail("book", unknown=True)
    assert run.crash() == []
    run.probe_finds("book", "b")


# ---- failures that the workflow handles ----------------------------------------------------------------------------


def test_a_workflow_may_catch_a_failure_and_go_on(start):
    @mg.workflow
    async def with_plan_b() -> str:
        await charge()
        try:
            return await reserve()
        except mg.StepFailed as failed:
            return f"{await ship()}, as {failed}"

    run = start(with_plan_b)
    run.complete("charge", "r")
    assert run.fail_for_good("reserve", "sold out")[-1] == "ship scheduled"
    assert run.complete("ship", "s") == ["ship done", "COMPLETED"]
    assert bytes(run.state.result) == b'"s, as step reserve failed after 1 attempt(s): Refused: sold out"'


def test_a_swallowed_step_of_unknown_outcome_is_undone_before_the_run_completes(start):
    @mg.workflow
    async def with_plan_b() -> str:
        await charge()
        try:
            return await reserve()
        except mg.StepFailed:
            return await ship()

    run = start(with_plan_b)
    run.complete("charge", "r")
    run.fail_for_good("reserve", unknown=True)
    assert run.complete("ship", "s") == ["ship done", "undo reserve"]
    assert run.status is Status.RUNNING
    assert run.undo("reserve") == ["reserve undone", "COMPLETED"]


def test_finally_may_run_steps(start):
    @mg.workflow
    async def tidy() -> None:
        try:
            await charge()
        finally:
            await note("closing")

    run = start(tidy)
    assert run.fail_for_good("charge")[-1] == "note scheduled"
    assert run.complete("note", "n") == ["note done", "rollback", "FAILED"]
    assert run.state.failed_step == "charge"


def test_an_exception_of_the_workflow_itself_rolls_back(start):
    @mg.workflow
    async def clumsy() -> None:
        await charge()
        raise ValueError("oops")

    run = start(clumsy)
    assert run.complete("charge", "r") == ["charge done", "rollback", "undo charge"]
    run.undo("charge")
    assert str(run.state.failure) == "ValueError: oops"
    assert run.state.failure.traceback.endswith("clumsy\n")


# ---- best effort -------------------------------------------------------------------------------------------------


@mg.workflow
async def polite() -> str:
    return f"{await email()} {await note()}"


def test_a_best_effort_step_that_fails_gives_none_and_is_listed(start):
    run = start(polite)
    assert run.fail_for_good("email") == [
        "email attempt 1 failed: give up",
        "email failed",
        "note scheduled",
    ]
    run.complete("note", "n")
    assert bytes(run.state.result) == b'"None n"'
    assert run.state.missed == ["email"]


def test_a_best_effort_step_that_succeeds_gives_its_result(start):
    run = start(polite)
    run.complete("email", "sent")
    run.complete("note", "n")
    assert bytes(run.state.result) == b'"sent n"'
    assert run.state.missed == []


def test_a_best_effort_step_that_was_undone_for_its_unknown_outcome_is_still_listed(start):
    @mg.workflow
    async def shy() -> None:
        await charge.options(name="deposit", critical=False)()

    run = start(shy)
    assert run.fail_for_good("deposit", unknown=True)[-1] == "undo deposit"
    run.undo("deposit")
    assert run.status is Status.COMPLETED
    assert run.state.missed == ["deposit"]


# ---- parking -----------------------------------------------------------------------------------------------------


@mg.workflow
async def approved() -> str | None:
    await charge()
    return await approve()


@pytest.fixture
def parked(start):
    run = start(approved)
    run.complete("charge", "r")
    assert run.fail("approve") == ["approve attempt 1 failed: give up", "parked: approve"]
    assert run.status is Status.PARKED
    return run


def test_a_parked_run_says_what_it_waits_for(parked):
    reason, since = parked.state.parked[2]
    assert reason == "step approve gave up after 1 attempt(s): Refused: no"
    assert since == parked.now


def test_a_parked_step_can_be_tried_again(parked):
    assert parked.operate("retry") == ["ann: retry approve"]
    assert parked.status is Status.RUNNING
    assert parked.complete("approve", "ok") == ["approve done", "COMPLETED"]


def test_a_parked_step_that_fails_again_parks_again(parked):
    parked.operate("retry")
    assert parked.fail("approve") == ["approve attempt 2 failed: give up", "parked: approve"]


def test_a_parked_step_can_be_skipped(parked):
    assert parked.operate("skip") == ["ann: skip approve", "approve skipped", "COMPLETED"]
    assert bytes(parked.state.result) == b"null"


def test_a_parked_step_can_be_resolved(parked):
    assert parked.operate("resolve", result="by hand") == [
        "ann: resolve approve",
        "approve done by ann",
        "COMPLETED",
    ]
    assert bytes(parked.state.result) == b'"by hand"'


def test_a_resolution_that_does_not_fit_is_refused_and_nothing_is_recorded(parked):
    before = parked.story
    with pytest.raises(mg.PayloadError, match="result of step approve"):
        parked.operate("resolve", result=5)
    assert parked.story == before
    assert parked.status is Status.PARKED


def test_a_parked_run_survives_a_crash(parked):
    assert parked.crash() == []
    assert parked.status is Status.PARKED


def test_a_skipped_step_of_unknown_outcome_is_undone(start):
    @mg.workflow
    async def waiting() -> None:
        await approve()

    run = start(waiting)
    run.fail("approve", unknown=True)
    assert run.operate("skip") == ["ann: skip approve", "approve skipped", "undo approve"]
    run.undo("approve")
    assert run.status is Status.COMPLETED


def test_an_effect_that_an_operator_left_open_in_a_completed_run_is_its_residue(start):
    @mg.workflow
    async def with_plan_b() -> None:
        try:
            await book()
        except mg.StepFailed:
            await note()

    run = start(with_plan_b)
    run.fail("book", unknown=True, fatal=True)
    run.probe_finds_nothing("book", cannot_tell=True)
    run.complete("note", "n")
    run.fail("book")
    run.fail("book")
    assert run.operate("skip") == ["ann: skip book", "undo book skipped", "COMPLETED"]
    assert run.state.residue == ["book"]


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
def test_an_operator_cannot_act_on_a_run_that_is_not_parked(start, action):
    run = start(order, "o-1")
    with pytest.raises(mg.NotPossible, match=r"run run-1 cannot .*: it is RUNNING, not PARKED"):
        run.operate(action)
    assert run.story == run.began


def test_several_parked_steps_must_be_told_apart(start):
    @mg.workflow
    async def committee() -> None:
        await asyncio.gather(approve("a"), approve.options(name="sign")("b"))

    run = start(committee)
    run.fail("approve")
    run.fail("sign")
    with pytest.raises(mg.NotPossible, match=r"parked: 1 \(approve\), 2 \(sign\); say which"):
        run.operate("skip")
    with pytest.raises(mg.NotPossible, match="'seal' is not among them"):
        run.operate("skip", "seal")
    run.operate("skip", "sign")
    assert run.status is Status.PARKED
    assert run.operate("skip", "1")[-1] == "COMPLETED"


# ---- results -----------------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_stored_rolls_back(start):
    @mg.workflow
    async def odd() -> str:
        await charge()
        return UNSTORABLE

    run = start(odd)
    assert run.complete("charge", "r") == ["charge done", "rollback", "undo charge"]
    run.undo("charge")
    assert run.status is Status.COMPENSATED
    assert "result of workflow odd" in run.state.failure.message


def test_a_result_that_does_not_fit_its_annotation_rolls_back(start):
    @mg.workflow
    async def odd() -> int:
        return "five"

    run = start(odd)
    assert run.status is Status.FAILED
    assert run.state.failure.type == "makegood.errors.PayloadError"


def test_an_argument_that_cannot_be_stored_is_raised_at_the_call(start):
    @mg.workflow
    async def odd() -> str:
        try:
            await charge(UNSTORABLE)
        except mg.PayloadError as error:
            return str(error)
        return ""

    run = start(odd)
    assert b"argument 'order' of step charge" in bytes(run.state.result)
    assert run.state.steps == {}
