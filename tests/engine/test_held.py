"""Attempts that something holds (a breaker, a limit): they have not begun, and a failure because of it does not count."""

from __future__ import annotations

import pytest

import makegood as mg
from makegood.engine import journal
from makegood.engine.run import Status
from tests.engine.kit import Run

DOWN = "breaker payments"


@mg.step(retry=mg.Retry(max_attempts=2, initial=5))
async def charge(order: str) -> str: ...


@charge.compensation(retry=mg.Retry(max_attempts=2, initial=5))
async def refund(receipt: str | None, order: str) -> None: ...


@mg.step(retry=mg.Retry(max_attempts=2, initial=5))
async def reserve(order: str) -> str: ...


@reserve.probe
async def find_hold(order: str) -> str | mg.NotDone: ...


@mg.workflow
async def pay(order: str) -> str:
    return await charge(order)


@mg.workflow
async def pay_and_fail(order: str) -> None:
    await charge(order)
    raise ValueError(order)


@mg.workflow
async def keep(order: str) -> str:
    return await reserve(order)


def test_a_held_attempt_is_not_lost_with_its_process() -> None:
    run = Run(pay, "o-1")
    run.hold("charge")

    assert run.crash() == []
    assert not run.step("charge").unknown
    run.release("charge")
    assert run.crash() == ["charge attempt 1 failed (unknown) (lost): retry"]
    run.check_replay()


def test_however_often_its_process_ends_a_held_attempt_is_not_given_up_on() -> None:
    run = Run(pay, "o-1")
    run.hold("charge")
    for _ in range(10):
        run.crash()
    run.release("charge")

    assert run.complete("charge", "receipt") == ["charge done", "COMPLETED"]
    run.check_replay()


def test_failures_while_nobody_answers_do_not_count() -> None:
    run = Run(pay, "o-1")
    for _ in range(5):
        assert run.fail("charge", held=DOWN)[0].endswith("(held): retry")
        assert run.wait_seconds("charge") == 0
        run.release("charge")

    assert run.fail("charge") == ["charge attempt 6 failed: retry"]
    assert run.wait_seconds("charge") == 5
    run.fail("charge")
    assert run.status is Status.FAILED
    run.check_replay()


def test_a_step_that_nobody_waits_for_is_not_held() -> None:
    run = Run(pay, "o-1")
    run.cancel()
    run.fail("charge", held=DOWN)

    assert run.status is Status.CANCELLED
    run.check_replay()


def test_an_attempt_that_was_held_and_then_failed_is_known_to_be_not_done() -> None:
    run = Run(pay, "o-1")
    run.fail("charge", held=DOWN)
    run.cancel()
    run.stop("charge")

    assert run.status is Status.CANCELLED
    assert run.state.undone == []
    run.check_replay()


def test_an_unknown_outcome_stays_unknown_while_the_next_attempt_is_held() -> None:
    run = Run(pay, "o-1")
    run.fail("charge", unknown=True, held=DOWN)
    run.cancel()

    assert run.stop("charge")[-1] == "undo charge"
    run.undo("charge")
    run.check_replay()


def test_after_a_probe_the_step_has_all_of_its_attempts_left() -> None:
    run = Run(keep, "o-1")
    run.fail("reserve", unknown=True, held=DOWN)
    run.probe_finds_nothing("reserve")

    assert run.fail("reserve") == ["reserve attempt 2 failed: retry"]
    run.check_replay()


def test_a_compensation_is_held_in_the_same_way() -> None:
    run = Run(pay_and_fail, "o-1")
    run.complete("charge", "receipt")
    run.hold("charge")
    run.crash()
    run.release("charge")
    run.fail("charge", held=DOWN)
    run.crash()
    run.release("charge")
    run.fail("charge")

    assert run.status is Status.COMPENSATING
    run.undo("charge")
    assert run.status is Status.COMPENSATED
    run.check_replay()


def test_terminating_leaves_nothing_of_an_attempt_that_has_not_begun() -> None:
    run = Run(pay, "o-1")
    run.hold("charge")
    run.operate("terminate")

    assert run.state.residue == []
    run.check_replay()


def test_a_held_step_can_be_completed_from_outside() -> None:
    run = Run(pay, "o-1")
    run.pend("charge", due=run.now + 5)
    run.fail("charge", held=DOWN)
    run.complete_outside("charge", "receipt")

    assert run.status is Status.COMPLETED
    run.check_replay()


def test_what_is_held_while_paused_is_held_when_it_goes_on() -> None:
    run = Run(pay, "o-1")
    run.hold("charge")
    run.operate("pause")
    run.crash()
    run.operate("resume")

    assert run.state.steps[1].held == (DOWN, run.now)
    run.check_replay()


@pytest.mark.parametrize(
    "events",
    [
        [journal.AttemptReleased(1)],
        [journal.AttemptHeld(1, DOWN), journal.AttemptHeld(1, DOWN)],
        [journal.AttemptHeld(1, DOWN), journal.AttemptReleased(1), journal.AttemptReleased(1)],
    ],
)
def test_what_cannot_follow_is_refused(events: list[journal.AnyEvent]) -> None:
    run = Run(pay, "o-1")
    facts = [lambda execution, event=event: execution._record(event, run.now) for event in events]
    with pytest.raises(mg.JournalCorrupt):
        run.tell(*facts)
