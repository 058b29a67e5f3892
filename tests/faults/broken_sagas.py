"""Engines that break nested sagas, ``on_rollback``, ``pivot`` or ``terminate``, each in one way (see ``broken``)."""

from __future__ import annotations

from typing import Any

from makegood.engine import coroutine, journal, recording, run
from makegood.worker import worker
from tests.faults.broken import Breakage, trusts_any_ending
from tests.faults.harness import Case

DINNER_FAILS: Any = {("do", "dinner"): ["fail"]}
TRANSFER_FAILS: Any = {("do", "transfer"): ["fail"]}


def undoes_outside_steps_with_a_nested_saga(patch: Any) -> None:
    original = coroutine.CoroutineProgram.roll_back

    def roll_back(self: Any, saga: Any, error: BaseException) -> Any:
        saga.steps = sorted(self.steps)
        return original(self, saga, error)

    patch.setattr(coroutine.CoroutineProgram, "roll_back", roll_back)


def undoes_nothing_of_a_nested_saga(patch: Any) -> None:
    patch.setattr(coroutine.CoroutineProgram, "roll_back", lambda *_: None)


def goes_on_before_a_nested_saga_is_undone(patch: Any) -> None:
    original = recording.undone

    def undone(saga: Any, *how: Any) -> bool:
        original(saga, *how)
        return saga.plan is not None

    patch.setattr(recording, "undone", undone)


def forgets_what_branches_of_a_nested_saga_did(patch: Any) -> None:
    original = recording.undone

    def undone(saga: Any, *how: Any) -> bool:
        saga.steps = [step for step in saga.steps if step not in (3, 4)]
        return original(saga, *how)

    patch.setattr(recording, "undone", undone)


def undoes_a_nested_saga_in_the_wrong_order(patch: Any) -> None:
    original = recording.undone

    def undone(saga: Any, *how: Any) -> bool:
        saga.steps.sort(reverse=True)
        return original(saga, *how)

    patch.setattr(recording, "undone", undone)


def ignores_the_pivot(patch: Any) -> None:
    patch.setattr(coroutine.CoroutineProgram, "pivot", lambda _self: None)


def rolls_back_behind_the_pivot(patch: Any) -> None:
    original = recording.FOLDS[journal.RollbackStarted]

    def rollback(state: Any, event: Any) -> None:
        state.pivoted = False
        original(state, event)

    patch.setitem(recording.FOLDS, journal.RollbackStarted, rollback)
    patch.setitem(recording.FOLDS, journal.Pivoted, lambda _state, _event: None)


def hears_a_late_result_after_the_termination(patch: Any) -> None:
    patch.setattr(worker.Worker, "_stop_work", lambda _self, _run: None)
    patch.setattr(worker.Worker, "finish", lambda _self, _run: None)


def conceals_what_a_terminated_run_leaves_behind(patch: Any) -> None:
    patch.setattr(recording, "termination", lambda _state: journal.RunTerminated([]))


def terminates_without_undoing_although_asked_to(patch: Any) -> None:
    trusts_any_ending(patch)
    patch.setattr(recording, "undo_plan", lambda _state: [])


def forgets_to_undo_what_was_registered(patch: Any) -> None:
    trusts_any_ending(patch)
    original = run.StepRecord.needs_undo.fget
    patch.setattr(
        run.StepRecord, "needs_undo", property(lambda record: original(record) and not record.registered)
    )


TRAVELLING = ("call", 4)
SAGA_BREAKAGES = [
    Breakage(undoes_outside_steps_with_a_nested_saga, "I2", Case(DINNER_FAILS), "travel"),
    Breakage(undoes_nothing_of_a_nested_saga, "I1", Case(DINNER_FAILS), "travel"),
    Breakage(goes_on_before_a_nested_saga_is_undone, "I1", Case(DINNER_FAILS), "travel"),
    Breakage(forgets_what_branches_of_a_nested_saga_did, "I1", Case(DINNER_FAILS), "travel"),
    Breakage(undoes_a_nested_saga_in_the_wrong_order, "I2", Case(DINNER_FAILS), "travel"),
    Breakage(forgets_to_undo_what_was_registered, "I1", Case(DINNER_FAILS), "travel"),
    Breakage(ignores_the_pivot, "I2", Case(TRANSFER_FAILS), "payout"),
    Breakage(rolls_back_behind_the_pivot, "I2", Case(TRANSFER_FAILS), "payout"),
    Breakage(
        hears_a_late_result_after_the_termination,
        "I3",
        Case({}, cancel_at=TRAVELLING, terminate="at once", seconds={"tour": 5.0}),
        "travel",
    ),
    Breakage(
        conceals_what_a_terminated_run_leaves_behind,
        "I1",
        Case({}, cancel_at=TRAVELLING, terminate="at once", seconds={"tour": 5.0}),
        "travel",
    ),
    Breakage(
        terminates_without_undoing_although_asked_to,
        "I1",
        Case({}, cancel_at=TRAVELLING, terminate="after undoing", seconds={"tour": 5.0}),
        "travel",
    ),
]
