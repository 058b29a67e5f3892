"""Engines that are broken on purpose: what they do of attempts that end after they were given up on."""

from __future__ import annotations

from typing import Any

import msgspec

from makegood.engine import folds, journal, operator
from makegood.engine.run import OPEN
from makegood.worker import executor, late
from tests.faults.broken import Breakage
from tests.faults.harness import Case, Fault
from tests.faults.sagas import TIMEOUT_SECONDS

SOON: Any = {("do", "charge"): [f"late:{TIMEOUT_SECONDS + 0.5}", "ok"]}
AFTER_THE_END: Any = {("do", "label"): [f"late:{TIMEOUT_SECONDS + 60}"]}
BEHIND_ITS_UNDO: Any = {("do", "label"): [f"late:{TIMEOUT_SECONDS + 5}"]}
UNDOING_CHARGE: Any = {"charge": 9.0}
UNDONE = Fault("write", 9, "acknowledged")  # the label was given up on and undone; its attempt goes on


def applies_a_late_result(patch: Any) -> None:
    original = operator.facts_of_late_end

    def facts(request: Any, state: Any) -> list[Any]:
        record = state.steps[int(request.step)]
        if record.state is OPEN and request.failure is None:
            return [journal.StepCompleted(record.number, request.attempt, request.result)]
        return original(request, state)

    patch.setattr(operator, "facts_of_late_end", facts)


def ignores_a_late_result(patch: Any) -> None:
    patch.setattr(operator, "facts_of_late_end", lambda _request, _state: [])


def only_notes_what_took_effect_behind_its_undo(patch: Any) -> None:
    def note(state: Any, event: Any) -> None:
        gone = {(event.step, event.attempt, event.undo)}
        state.late = msgspec.structs.replace(state.late, running=state.late.running - gone)

    patch.setitem(folds.FOLDS, journal.AttemptEndedLate, note)


def forgets_with_its_process_what_goes_on(patch: Any) -> None:
    async def post(_self: Any, _job: Any) -> int:
        return 0

    patch.setattr(late.LateResults, "_post", post)


def undoes_again_under_the_same_key(patch: Any) -> None:
    patch.setattr(
        executor.Job, "idempotency_key", property(lambda job: f"{job.original_key}{'/undo' * bool(job.undo)}")
    )


def loses_heartbeats(patch: Any) -> None:
    patch.setattr(executor.Job, "last_heartbeat", property(lambda _job: None))


LATE_BREAKAGES = [
    Breakage(applies_a_late_result, "I3", Case(SOON)),
    Breakage(ignores_a_late_result, "I1", Case(AFTER_THE_END)),
    Breakage(ignores_a_late_result, "I1", Case(BEHIND_ITS_UNDO, seconds=UNDOING_CHARGE)),
    Breakage(only_notes_what_took_effect_behind_its_undo, "I1", Case(AFTER_THE_END)),
    Breakage(
        only_notes_what_took_effect_behind_its_undo, "I1", Case(BEHIND_ITS_UNDO, seconds=UNDOING_CHARGE)
    ),
    Breakage(forgets_with_its_process_what_goes_on, "I1", Case(AFTER_THE_END, (UNDONE,))),
    Breakage(undoes_again_under_the_same_key, "I1", Case(AFTER_THE_END)),
    Breakage(loses_heartbeats, "I3", Case({("do", "charge"): ["fail", "ok"]})),
]
