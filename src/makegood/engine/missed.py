"""Missed steps: best-effort steps that failed in a run that completed without them, and may be tried again later.

COMPLETED ──MissedStepRetried──▶ COMPLETED: one fact per attempt, recorded with its outcome. The run stays what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.engine.run import FAILED, SKIPPED, RunState, Status, StepRecord
from makegood.errors import NotPossible

if TYPE_CHECKING:
    from makegood.engine.operator import Request
    from makegood.failure import Failure

MISSED = frozenset({FAILED, SKIPPED})


def missed_steps(run: RunState) -> list[StepRecord]:
    """The steps that may be tried again, should the run have completed."""
    return [
        step for step in run.steps.values() if step.state in MISSED and not (step.critical or step.cancelled)
    ]


def missed_step(run: RunState, request: Request) -> StepRecord:
    """The missed step that the request means, by its number.

    Raises:
        NotPossible: the run has not completed, or the step is not missed (any more).
    """
    if run.status_ is not Status.COMPLETED:
        raise NotPossible(
            f"run {run.id} is {run.status}: its missed steps can be tried again once it has COMPLETED."
        )
    missed = missed_steps(run)
    for step in missed:
        if str(step.number) == request.step:
            return step
    names = ", ".join(f"{step.number} ({step.name})" for step in missed) or "none"
    raise NotPossible(f"run {run.id}: step {request.step} is not missed (any more). Missed steps: {names}.")


def retried(
    step: StepRecord, request: Request, failure: Failure | None, **outcome: object
) -> journal.MissedStepRetried:
    """The fact that it was tried again, with how that ended."""
    return journal.MissedStepRetried(
        step.number,
        step.attempts + 1,
        request.by,
        request.why,
        failure=failure,
        **outcome,  # type: ignore[arg-type]
    )


def take(run: RunState, event: journal.MissedStepRetried) -> None:
    """What the fact does to the state."""
    step = run.steps.get(event.step)
    if step is None or run.status_ is not Status.COMPLETED or step not in missed_steps(run):
        raise run.misplaced(event)
    step.attempts, step.failure = event.attempt, event.failure
    if event.failure is None:
        run.move(event.step, "made good").unknown = False
        step.result = event.result
    else:
        step.unknown = step.unknown or event.unknown
