"""Whether the code decides as the journal recorded, and what is said if not: the two, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.errors import DeterminismError

if TYPE_CHECKING:
    from makegood.engine.run import RunState


IDENTITY: dict[type[journal.Event], tuple[str, ...]] = {
    journal.ChildScheduled: ("name", "child"),
    journal.CompensationScheduled: ("step",),
    journal.StepCancelled: ("step",),
    journal.TimerCancelled: ("timer",),
    journal.SignalsAwaited: ("names",),
    journal.RollbackRegistered: ("name",),
    journal.UpdateAnswered: ("update",),
    journal.SagaRollbackStarted: ("saga", "steps"),
}
"""What a decision shares with the recorded one. Arguments, flags, times, reasons may differ: the recorded ones hold."""


def fits(recorded: journal.Decision, decided: journal.Decision) -> bool:
    """Whether a decision is the recorded one."""
    if type(recorded) is not type(decided):
        return False
    if isinstance(recorded, journal.StepScheduled) and isinstance(decided, journal.StepScheduled):
        return recorded.name == decided.name and (decided.undoable or not recorded.undoable)
    return all(
        getattr(recorded, field) == getattr(decided, field) for field in IDENTITY.get(type(recorded), ())
    )


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
    child = f" as {event.child}" if isinstance(event, journal.ChildScheduled) else ""
    return f"{type(event).__name__}{f' {number}' if number != '' else ''}{f': {name}' if name else ''}{child}"
