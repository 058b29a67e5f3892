"""Legs: the stretches of a run that goes on as new (``mg.continue_as_new``). Each begins afresh, with new input.

What is recorded before the event ``RunContinued`` matters to the run no more, but for what that carries over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from makegood.engine import journal
from makegood.engine.run import DONE, RunState, UpdateRecord, View
from makegood.engine.views import PENDING
from makegood.errors import UsageError
from makegood.failure import leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.engine.program import Program

AT_ONCE_LIMIT_LEGS = 50
REMEMBERED = 200  # signals' ids, and updates: so many are carried on, so that a repetition is recognized
REMEMBERED_BYTES = 64 * 1024


class Continued(BaseException):
    """What leaves a workflow that goes on as new; ``arguments`` of the next leg.

    ``legs_at_once``: how many legs in a row, the one that is over included, have waited for nothing.
    """

    def __init__(self, arguments: msgspec.Raw, legs_at_once: int) -> None:
        super().__init__("mg.continue_as_new() leaves the workflow: let this pass.")
        self.arguments = arguments
        self.legs_at_once = legs_at_once


def continuation_in(error: BaseException) -> Continued | None:
    """The continuation that this error is, also where a ``TaskGroup`` has wrapped it."""
    causes = leaves(error)
    return causes[0] if len(causes) == 1 and isinstance(causes[0], Continued) else None


def standing(run: RunState) -> list[str]:
    """The names of the steps that a rollback would have to undo, and nothing else does."""
    if run.pivoted:
        return []
    return [
        step.name
        for step in run.steps.values()
        if step.needs_undo and step.state is DONE and not step.cancelled
    ]


def refusal(run: RunState, names: Sequence[str]) -> UsageError:
    """The error for a run that may not go on as new, because these steps are still to be undone if it fails."""
    return UsageError(
        f"mg.continue_as_new(): run {run.id} would forget what has to be undone if it fails: {', '.join(names)}. "
        "Call mg.pivot() first, if nothing is to be undone any more; or do those steps in a child workflow that is "
        "a whole saga by itself."
    )


def continued(run: RunState, program: Program, continuation: Continued) -> journal.RunContinued:
    """The decision to go on as new."""
    unread = program.unread
    view = {} if run.view is None else {name: raw for name, raw in run.view.fields.items() if name != PENDING}
    return journal.RunContinued(
        journal.RunStarted(
            run.id,
            run.workflow,
            continuation.arguments,
            run.parent,
            run.parent_step,
            run.version,
            run.forks,
            deadline=run.deadline,
            tags=run.tags,
        ),
        run.started_at,
        run.leg + 1,
        continuation.legs_at_once,
        run.steps_before + len(run.steps),
        program.timer_count,
        run.signals,
        unread,
        _remembered_ids(run, unread),
        _remembered_updates(run),
        view,
        run.residue,
    )


def _remembered_ids(run: RunState, unread: Sequence[journal.SignalReceived]) -> list[str]:
    """Of the signals, the newest ones' and those of the unread."""
    ids = list(run.signal_ids or ())
    waiting = {signal.id for signal in unread}
    return [one for one in ids[:-REMEMBERED] if one in waiting] + ids[-REMEMBERED:]


def _remembered_updates(run: RunState) -> list[journal.UpdateAccepted]:
    """The newest ones, as far as they are not too large."""
    remembered: list[journal.UpdateAccepted] = []
    size_bytes = 0
    for update, record in list((run.updates or {}).items())[: -REMEMBERED - 1 : -1]:
        size_bytes += len(bytes(record.value))
        if size_bytes > REMEMBERED_BYTES:
            break
        remembered.append(journal.UpdateAccepted(update, record.name, record.value))
    return remembered[::-1]


def begin(run: RunState, event: journal.RunContinued) -> None:
    """Forget what was, and take over what is carried on."""
    fresh = RunState(clock=run.clock)
    for field in RunState.__struct_fields__:
        setattr(run, field, getattr(fresh, field))
    run.started_at, run.leg = event.started_at, event.leg
    run.steps_before, run.signals, run.residue_before = event.steps, event.signals, event.residue
    if event.signal_ids:
        run.signal_ids = dict.fromkeys(event.signal_ids)
    if event.asked:
        run.updates = {one.update: UpdateRecord(one.name, one.value, answered=True) for one in event.asked}
    if event.view:
        run.view = View(event.view)


def last_leg(entries: Sequence[journal.Entry]) -> Sequence[journal.Entry]:
    """The entries since the run last went on as new, the first one from there on; all of them if it never did."""
    for place in range(len(entries) - 1, -1, -1):
        entry = entries[place]
        for position in range(len(entry.events) - 1, -1, -1):
            if type(entry.events[position]) is journal.RunContinued:
                first = msgspec.structs.replace(entry, events=entry.events[position:])
                return [first, *entries[place + 1 :]]
    return entries
