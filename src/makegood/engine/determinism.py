"""Whether the code decides as the journal recorded, and what is said if not: the two, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.errors import DeterminismError

if TYPE_CHECKING:
    from makegood.engine.run import RunState


def fits(recorded: journal.Decision, decided: journal.Decision) -> bool:
    """Whether a decision is the recorded one. Arguments, flags, times and reasons may differ: the recorded ones hold."""
    if isinstance(recorded, journal.StepScheduled) and isinstance(decided, journal.StepScheduled):
        return recorded.name == decided.name and (decided.undoable or not recorded.undoable)
    if isinstance(recorded, journal.CompensationScheduled) and isinstance(
        decided, journal.CompensationScheduled
    ):
        return recorded.step == decided.step
    if isinstance(recorded, (journal.StepCancelled, journal.TimerCancelled, journal.SignalsAwaited)):
        return recorded == decided
    if isinstance(recorded, journal.RollbackRegistered) and isinstance(decided, journal.RollbackRegistered):
        return recorded.name == decided.name
    if isinstance(recorded, journal.SagaRollbackStarted) and isinstance(decided, journal.SagaRollbackStarted):
        return recorded.saga == decided.saga and recorded.steps == decided.steps
    return type(recorded) is type(decided)


def stands_still(event: journal.AnyEvent) -> bool:
    """Whether the run stood still for its code to be corrected: what that decides comes only after it."""
    return (isinstance(event, journal.RunParked) and event.step == 0) or (
        isinstance(event, journal.OperatorActed) and event.action == "resume"
    )


def mismatch(run: RunState, recorded: journal.AnyEvent, decided: journal.Decision | None) -> DeterminismError:
    """The error for a recorded event that does not meet what the code decides at the same place."""
    was = in_words(recorded)
    if type(recorded) not in journal.DECISIONS:
        was = f"nothing more before {was}"
    now = in_words(decided) if decided is not None else "nothing here"
    if was == now:
        was, now = f"{was}, with a compensation", f"{now}, without a compensation"
    done = ", ".join(step.name for step in run.steps.values() if step.result is not None) or "none"
    return DeterminismError(
        f"run {run.id}: the code of workflow {run.workflow} no longer fits its journal.\n"
        f"  journal: {was}\n"
        f"  code:    {now}\n"
        f"  steps recorded as done: {done}\n"
        "Nothing was written. Restore the order and names of the steps that this run has recorded, restart the worker, "
        f"then: makegood retry {run.id}"
    )


def in_words(event: journal.AnyEvent) -> str:
    """The event as a few words: ``StepScheduled 2: reserve_stock``."""
    number = getattr(event, "step", getattr(event, "timer", getattr(event, "saga", "")))
    name = getattr(event, "name", "") or ", ".join(getattr(event, "names", ()))
    return f"{type(event).__name__}{f' {number}' if number != '' else ''}{f': {name}' if name else ''}"
