"""The saga: what has to be undone, in which order, and how the run may honestly end. Pure data over a run's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.engine.run import DONE, RESIDUE
from makegood.errors import StepFailed
from makegood.failure import Failure, leaves

if TYPE_CHECKING:
    from makegood.engine.run import RunState, StepRecord


def undo_plan(run: RunState) -> list[StepRecord]:
    """The steps to compensate, the next one last: the reverse of this list is the reverse of their scheduling.

    In a rollback that is every step that was done or may have been. In a run that goes on to complete it is what
    the workflow gave up on (failed or cancelled) and was done all the same, or may have been.
    """
    return [
        step
        for step in run.steps.values()
        if (run.rolling_back or step.cancelled or step.state is not DONE)
        and step.needs_undo
        and step.number > run.kept
    ]


def cause(error: BaseException) -> tuple[Failure, str]:
    """What is recorded as the cause of a rollback, and the step to blame, if it was one alone."""
    causes = leaves(error)
    failed = next((cause for cause in causes if isinstance(cause, StepFailed)), None)
    failure = failed.failure if failed is not None and len(causes) == 1 else Failure.of(error)
    return failure, "" if failed is None else failed.step


def termination(run: RunState) -> journal.RunTerminated:
    """The end of a run at this moment, with what it leaves behind."""
    due = () if run.late is None else run.late.due
    open_ = [
        step
        for step in run.steps.values()
        if step.residue or (step.undoable and (step.may_stand(run.clock) or step.number in due))
    ]
    return journal.RunTerminated(
        [*run.residue_before, *(name for step in open_ for name in step.open_effects)]
    )


def ending_of_rollback(run: RunState, *, cancelled: bool) -> journal.Ending:
    """How a rolled back run ends: TERMINATED if an operator left an effect open, otherwise honestly without any."""
    open_ = [
        step for step in run.steps.values() if step.state is RESIDUE or step.residue or step.stays(run.kept)
    ]
    if open_ or run.terminating or run.residue_before:
        return journal.RunTerminated(
            [*run.residue_before, *(name for step in open_ for name in step.open_effects)]
        )
    if cancelled:
        return journal.RunCancelled()
    return journal.RunCompensated() if run.undone else journal.RunFailed()
