"""What comes to a run from outside (an operator's wish, a signal), as facts to record; or why not, and what is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from makegood.definition.keys import checked_text
from makegood.definition.payload import NULL
from makegood.engine import journal
from makegood.engine.late import facts_of_late_end
from makegood.engine.pending import arrival
from makegood.engine.run import EXHAUSTED, RunState, Status
from makegood.errors import NotPossible
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.engine.run import StepRecord

ROLLED_BACK = "rolled back to step"
CORRECT = "Correct the code, restart the worker, then resume."

NOT_MISSED = "its missed steps can be tried again once it has COMPLETED."

Action: TypeAlias = Literal[
    "retry",
    "skip",
    "resolve",
    "cancel",
    "terminate",
    "pause",
    "resume",
    "signal",
    "update",
    "complete",
    "fail",
    "late",
    "redrive",
]


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wish, as it travels from any process to the worker that owns the run.

    ``step`` names the parked step, "" for the only one, or the last one that a rollback keeps. JSON: ``arguments``, what a
    step is retried with instead of its own; ``result``, what it is resolved with, or what a signal or an update carries.
    ``compensate``: what was done is to be undone, for ``terminate``. ``name`` and ``id`` are the signal's or the update's.
    ``attempt``, ``failure`` and ``fatal`` are an external completion's, whose ``step`` is a number. So is that of an
    attempt that ended ``late``, with a ``result`` or a ``failure``; ``compensate`` says that it was one of the undo.
    """

    action: Action
    by: str
    why: str = ""
    step: str = ""
    result: msgspec.Raw = NULL
    compensate: bool = False
    name: str = ""
    id: str = ""
    attempt: int = 0
    failure: Failure | None = None
    fatal: bool = False
    arguments: msgspec.Raw = NULL
    unknown: bool = False

    def __post_init__(self) -> None:
        """Refuse texts that no journal could hold: UsageError."""
        checked_text(self.by, "by")
        if self.why != "":
            checked_text(self.why, "why")
        if self.step != "":
            checked_text(self.step, "step")


def facts_for(request: Request, run: RunState) -> list[journal.AnyEvent]:
    """The facts that carry out the request.

    Raises:
        NotPossible: the run's state does not admit it.
    """
    match request.action:
        case "late":
            return facts_of_late_end(request, run)
        case "cancel" | "terminate" | "pause" | "signal" | "update" | "complete" | "fail":
            if run.status_ is not None:
                raise has_ended(request, run.id, run.status_)
            if run.is_reopened and not (request.action == "terminate" and not request.compensate):
                raise _is_reopened(request, run)
            return WHENEVER[request.action](request, run)
        case "resume":
            if run.paused is None:
                raise _not_to_be_resumed(run)
            return [journal.OperatorActed("unpause", request.by, request.why)]
        case "redrive":
            raise NotPossible(f"run {run.id} is {run.status}: {NOT_MISSED}")
        case action:
            return _for_parked_step(action, request, run)


def _for_parked_step(
    action: Literal["retry", "skip", "resolve"], request: Request, run: RunState
) -> list[journal.AnyEvent]:
    record = parked_step(run, request)
    acted = journal.OperatorActed(action, request.by, request.why, record.number)
    forward = record.state is EXHAUSTED
    if action == "retry":
        if request.arguments != NULL:
            _check_may_change(run, record, forward=forward)
        return [acted]
    if action == "skip":
        skipped = (
            journal.StepSkipped(record.number) if forward else journal.CompensationSkipped(record.number)
        )
        return [acted, skipped]
    if forward:
        return [acted, journal.StepCompleted(record.number, record.attempts, request.result, request.by)]
    return [acted, journal.CompensationCompleted(record.number, record.attempts, request.by)]


def _check_may_change(run: RunState, record: StepRecord, *, forward: bool) -> None:
    """Whether other arguments can mean no second effect beside the one that the step was meant to have."""
    if not forward:
        raise NotPossible(
            f"run {run.id} cannot retry the compensation of step {record.name} with other arguments: it undoes what the "
            "step did with its own. What is possible: retry without them, resolve, skip."
        )
    if record.unknown:
        raise NotPossible(
            f"run {run.id} cannot retry step {record.name} with other arguments: nobody knows whether it took effect with "
            "its own. What is possible: retry without them (the idempotency key stays), resolve, skip."
        )


def _pause(request: Request, run: RunState) -> list[journal.AnyEvent]:
    if run.paused is not None:
        return []
    return [journal.OperatorActed("pause", request.by, request.why)]


def _not_to_be_resumed(run: RunState) -> NotPossible:
    """The error for a run in memory: one that could be resumed would be neither loaded nor running."""
    if 0 in run.parked:
        return NotPossible(f"run {run.id} cannot resume with the code that it runs on. {CORRECT}")
    hint = "To help a parked step on: retry, skip or resolve." if run.parked else "It goes on by itself."
    return NotPossible(
        f"run {run.id} cannot resume: it is {run.status}, and its code fits its journal. {hint}"
    )


def _is_reopened(request: Request, run: RunState) -> NotPossible:
    return NotPossible(
        f"run {run.id} had ended: what took effect late is being undone, and it takes no {request.action}. "
        "What is possible in every state: terminate."
    )


def has_ended(request: Request, run_id: str, status: str) -> NotPossible:
    """The error for a wish that comes too late."""
    refusals = {
        "signal": f"takes no signal {request.name}",
        "update": f"answers no update {request.name}",
        "cancel": "cannot be cancelled",
        "complete": f"takes no completion of step {request.step}",
        "fail": f"takes no failure of step {request.step}",
    }
    refused = refusals.get(request.action, f"cannot {request.action}")
    return NotPossible(f"run {run_id} {refused}: it has already ended, {status}.")


def _signal(request: Request, run: RunState) -> list[journal.AnyEvent]:
    if request.id and run.signal_ids is not None and request.id in run.signal_ids:
        return []
    return [journal.SignalReceived(run.signals + 1, request.name, request.result, request.id, request.by)]


def _cancel(request: Request, run: RunState) -> list[journal.AnyEvent]:
    if run.cancel_requested:
        return []
    if run.pivoted:
        raise NotPossible(
            f"run {run.id} cannot be cancelled: it has passed its point of no return and can only go forward. "
            "What is possible in every state: terminate."
        )
    return [journal.CancelRequested(request.by, request.why)]


def _terminate(request: Request, run: RunState) -> list[journal.AnyEvent]:
    kept = step_named(run, request.step, ROLLED_BACK) if request.compensate and request.step else 0
    if request.compensate:
        if run.terminating and kept == run.kept:
            return []
        if run.rolling_back or run.terminating:
            hint = "Resume it: it is paused." if run.paused is not None else ""
            raise NotPossible(
                f"run {run.id} is being undone already. {hint or 'Terminating it without compensation ends it at once.'}"
            )
        if run.pivoted:
            raise NotPossible(
                f"run {run.id} cannot be undone: it has passed its point of no return. "
                "What is possible in every state: terminate without compensation."
            )
    return [journal.OperatorActed("terminate", request.by, request.why, kept, compensate=request.compensate)]


def step_named(run: RunState, named: str, wish: str) -> int:
    """The number of the step of this name or number; ``wish`` is what the run ``cannot be`` if there is none.

    Raises:
        NotPossible: there is no such step, or several have that name.
    """
    found = [step.number for step in run.steps.values() if named in (step.name, str(step.number))]
    if len(found) != 1:
        steps = ", ".join(f"{step.number} ({step.name})" for step in run.steps.values()) or "none"
        problem = "several steps are" if found else "no step is"
        raise NotPossible(
            f"run {run.id} cannot be {wish} {named!r}: {problem} called so. Its steps: {steps}."
        )
    return found[0]


def _update(request: Request, run: RunState) -> list[journal.AnyEvent]:
    accepted = journal.UpdateAccepted(request.id, request.name, request.result, request.by)
    asked = (run.updates or {}).get(request.id)
    if asked is not None:
        check_same(run.id, accepted, asked.name, asked.value)
        return []
    return [accepted]


def check_same(run_id: str, update: journal.UpdateAccepted, name: str, value: msgspec.Raw) -> None:
    """Whether an update asks what the one with its id has asked before.

    Raises:
        NotPossible: it asks something else.
    """
    if update.name != name or msgspec.json.decode(update.value) != msgspec.json.decode(value):
        raise NotPossible(
            f"run {run_id} was asked something else under the update id {update.update} before. "
            "The same id, update and value give the same answer; for another one use another id."
        )


WHENEVER: dict[str, Callable[[Request, RunState], list[journal.AnyEvent]]] = {
    "cancel": _cancel,
    "terminate": _terminate,
    "pause": _pause,
    "signal": _signal,
    "update": _update,
    "complete": arrival,
    "fail": arrival,
}
"""What is possible in every state of a run that has not ended."""


def parked_step(run: RunState, request: Request) -> StepRecord:
    """The parked step that the request means.

    Raises:
        NotPossible: none is parked, several are, or not this one.
    """
    if run.status is not Status.PARKED:
        hint = "Only a run that has not ended can be cancelled." if run.status_ is None else "It has ended."
        if run.paused is not None:
            hint = "Resume it first."
        raise NotPossible(f"run {run.id} cannot {request.action}: it is {run.status}, not PARKED. {hint}")
    parked = [run.steps[number] for number in run.parked if number]
    if not parked:
        raise NotPossible(
            f"run {run.id} cannot {request.action}: it is parked because of its code. {CORRECT}"
        )
    chosen = [record for record in parked if request.step in ("", record.name, str(record.number))]
    if len(chosen) != 1:
        names = ", ".join(f"{record.number} ({record.name})" for record in parked)
        asked = f"step {request.step!r} is not among them" if request.step else "say which"
        raise NotPossible(f"run {run.id}: these steps are parked: {names}; {asked}.")
    return chosen[0]
