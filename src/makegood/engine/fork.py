"""Forking: another run of the same workflow that takes over what a run had recorded before one of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.engine.folds import DEADLINE, apply
from makegood.engine.late import still_running
from makegood.engine.operator import step_named
from makegood.engine.run import DONE, UNDO_EXHAUSTED, UNDOING, RunState
from makegood.errors import NotPossible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def forked(
    entries: Sequence[journal.Entry], step: str, run_id: str, at: float, *, by: str, why: str
) -> tuple[journal.RunStarted, list[journal.AnyEvent]]:
    """How the fork starts, and its whole first entry: that, and what the run did before ``step`` (a name or number).

    Raises:
        NotPossible: the run has not ended, or what it did before that step cannot be taken over.
    """
    events = [event for entry in entries for event in entry.events]
    ended = _folded(events)
    if ended.status_ is None:
        raise NotPossible(
            f"run {ended.id} cannot be forked: it is {ended.status}, and its effects are its own. "
            "Terminate it first: what it leaves open is what the fork takes over."
        )
    if ended.leg > 1:
        raise NotPossible(f"run {ended.id} cannot be forked: it has gone on as new.")
    number = step_named(ended, step, "forked from step")
    cut = next(
        place
        for place, event in enumerate(events)
        if isinstance(event, (journal.StepScheduled, journal.ChildScheduled, journal.RollbackRegistered))
        and event.step == number
    )
    taken = events[:cut]
    obstacle = _obstacle(_folded(taken), ended)
    if obstacle:
        raise NotPossible(
            f"run {ended.id} cannot be forked from step {step}: {obstacle}. Fork from an earlier step."
        )
    started = taken[0]
    assert isinstance(started, journal.RunStarted)
    forks = [*started.forks, (ended.id, number - 1)] if number > 1 else list(started.forks)
    deadline = at + started.deadline - entries[0].at if started.deadline else 0.0
    fork = journal.RunStarted(
        run_id,
        started.workflow,
        started.input,
        version=started.version,
        forks=_up_to(forks, number - 1),
        by=by,
        why=why,
        tags=started.tags,
        deadline=deadline,
    )
    return fork, [fork, *(_with_its_own_limit(event, deadline) for event in taken[1:])]


def is_same_fork(first: journal.AnyEvent, started: journal.RunStarted) -> bool:
    """Whether a run that begins like this is the fork that was asked for."""
    return isinstance(first, journal.RunStarted) and (
        (first.workflow, bytes(first.input), [*map(tuple, first.forks)])
        == (started.workflow, bytes(started.input), [*started.forks])
    )


def _with_its_own_limit(event: journal.AnyEvent, deadline: float) -> journal.AnyEvent:
    """The fork has as much time as the run had."""
    limits = isinstance(event, journal.TimerStarted) and event.timer == DEADLINE
    return journal.TimerStarted(DEADLINE, deadline) if limits else event


def _up_to(forks: Iterable[tuple[str, int]], last: int) -> list[tuple[str, int]]:
    """Whose the steps up to the number ``last`` are: each run's, up to a number, after those of the run before it."""
    found: list[tuple[str, int]] = []
    for run_id, number in forks:
        own = min(number, last)
        if own > (found[-1][1] if found else 0):
            found.append((run_id, own))
    return found


def _folded(events: Iterable[journal.AnyEvent]) -> RunState:
    run = RunState()
    for event in events:
        apply(run, event)
    return run


def _obstacle(before: RunState, ended: RunState) -> str:
    """Why what was recorded until then cannot be taken over; "" if it can."""
    if before.cancel_requested:
        return "the run had been cancelled before that"
    for record in still_running(before):
        return f"an attempt of step {record.number} ({record.name}) went on at that moment, and may take effect late"
    for record in before.steps.values():
        if record.child:
            return f"before that it had the child run {record.child}, which is a part of this run"
        if record.in_flight or record.state in (UNDOING, UNDO_EXHAUSTED):
            return f"step {record.number} ({record.name}) was under way at that moment"
        if record.state is DONE and ended.steps[record.number].state is not DONE:
            return f"step {record.number} ({record.name}) was undone since"
    return ""
