"""Whether the code decides as the journal recorded, and what is said if not: the two, side by side."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from makegood.definition.workflow import titled
from makegood.engine import journal
from makegood.errors import DeterminismError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

FREE = frozenset({journal.ViewUpdated, journal.Patched})
"""Decisions that code may make at other places than the journal says."""
NAMING = (journal.StepScheduled, journal.ChildScheduled, journal.RollbackRegistered)
CONTEXT_LINES = 3
DECIDED_LINES = 20


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


def last_told(entries: Sequence[journal.Entry]) -> tuple[journal.AnyEvent | None, int]:
    """The last fact that the program was told, and how many decisions are recorded in answer to it."""
    answers = 0
    for entry in reversed(entries):
        for event in reversed(entry.events):
            if type(event) in journal.DECISIONS and type(event) is not journal.RunContinued:
                answers += type(event) not in FREE
            elif not stands_still(event):
                return event, answers
    return None, answers


def mismatch(
    run: RunState,
    entries: Iterable[journal.Entry],
    recorded: journal.AnyEvent,
    decided: Sequence[journal.Decision],
) -> DeterminismError:
    """The error for a recorded event that does not meet what the code decides at the same place, and after it."""
    done = ", ".join(step.name for step in run.steps.values() if step.result is not None) or "none"
    return DeterminismError(
        f"run {run.id}: the code of workflow {titled(run.workflow, run.version)} no longer fits its journal.\n"
        f"{difference(run, entries, recorded, decided)}\n"
        f"Steps recorded as done: {done}.\n"
        "Nothing else was written. Restore the order and names of what this run has recorded, or ask mg.patched() where "
        f"the code has changed; restart the worker, then: makegood resume {run.id}"
    )


def difference(
    run: RunState,
    entries: Iterable[journal.Entry],
    recorded: journal.AnyEvent,
    decided: Sequence[journal.Decision],
) -> str:
    """Journal against code, from a little before the recorded event that does not fit, as a unified diff."""
    numbered = [(number, event) for number, entry in enumerate(entries, start=1) for event in entry.events]
    numbered = [(number, event) for number, event in numbered if type(event) not in FREE]
    at = next(position for position, (_, event) in enumerate(numbered) if event is recorded)
    events = [event for _, event in numbered]
    end = next((i for i in range(at, len(events)) if type(events[i]) not in journal.DECISIONS), len(events))
    names = {event.step: event.name for event in events if isinstance(event, NAMING)}
    before = [in_words(event, names) for event in events[max(0, at - CONTEXT_LINES) : at]]
    after = [in_words(event, names) for event in events[end : end + 1]]
    was = [in_words(event, names) for event in events[at:end]]
    now_names = {number: step.name for number, step in run.steps.items()}
    now = [in_words(event, now_names) for event in decided if type(event) not in FREE]
    if was[:1] == now[:1]:
        was[0], now[0] = f"{was[0]}, with a compensation", f"{now[0]}, without a compensation"
    _, _, _, *lines = unified_diff(
        [*before, *was, *after], [*before, *now[:DECIDED_LINES], *after], n=CONTEXT_LINES, lineterm=""
    )
    return "\n".join((f"--- journal, entry {numbered[at][0]}", "+++ code", *lines))


def in_words(event: journal.AnyEvent, names: dict[int, str]) -> str:
    """The event as a few words: ``StepScheduled: reserve_stock``."""
    step: Any = getattr(event, "step", None)
    name = getattr(event, "name", "") or ", ".join(getattr(event, "names", ())) or names.get(step, "")
    number: Any = getattr(event, "timer", getattr(event, "saga", ""))
    child = f" as {event.child}" if isinstance(event, journal.ChildScheduled) else ""
    return f"{type(event).__name__}{f' {number}' if number else ''}{f': {name}' if name else ''}{child}"
