"""What an operator may do with a parked run, as facts to record; or why not, and what is possible instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from makegood.definition.payload import NULL
from makegood.engine import journal
from makegood.engine.run import EXHAUSTED, RunState, Status
from makegood.errors import NotPossible

if TYPE_CHECKING:
    from makegood.engine.run import StepRecord

Action: TypeAlias = Literal["retry", "skip", "resolve", "cancel", "terminate"]


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operator's wish, as it travels from any process to the worker that owns the run.

    ``step`` names the parked step, "" for the only one; ``result`` is JSON, for ``resolve``; ``compensate``: what was
    done is to be undone, for ``terminate``.
    """

    action: Action
    by: str
    why: str = ""
    step: str = ""
    result: msgspec.Raw = NULL
    compensate: bool = False


def facts_for(request: Request, run: RunState) -> list[journal.AnyEvent]:
    """The facts that carry out the request.

    Raises:
        NotPossible: the run's state does not admit it.
    """
    if request.action == "cancel":
        return _cancel(request, run)
    if request.action == "terminate":
        return [_terminate(request, run)]
    record = parked_step(run, request)
    acted = journal.OperatorActed(request.action, request.by, request.why, record.number)
    if request.action == "retry":
        return [acted]
    forward = record.state is EXHAUSTED
    if request.action == "skip":
        skipped = (
            journal.StepSkipped(record.number) if forward else journal.CompensationSkipped(record.number)
        )
        return [acted, skipped]
    if forward:
        return [acted, journal.StepCompleted(record.number, record.attempts, request.result, request.by)]
    return [acted, journal.CompensationCompleted(record.number, record.attempts, request.by)]


def _cancel(request: Request, run: RunState) -> list[journal.AnyEvent]:
    if run.status_ is not None:
        raise NotPossible(f"run {run.id} cannot be cancelled: it has already ended, {run.status_}.")
    if run.cancel_requested:
        return []
    return [journal.CancelRequested(request.by, request.why)]


def _terminate(request: Request, run: RunState) -> journal.OperatorActed:
    if run.status_ is not None:
        raise NotPossible(f"run {run.id} cannot be terminated: it has already ended, {run.status_}.")
    return journal.OperatorActed("terminate", request.by, request.why, compensate=request.compensate)


def parked_step(run: RunState, request: Request) -> StepRecord:
    """The parked step that the request means.

    Raises:
        NotPossible: none is parked, several are, or not this one.
    """
    if run.status is not Status.PARKED:
        hint = "Only a run that has not ended can be cancelled." if run.status_ is None else "It has ended."
        raise NotPossible(f"run {run.id} cannot {request.action}: it is {run.status}, not PARKED. {hint}")
    parked = [run.steps[number] for number in run.parked if number]
    if not parked:
        raise NotPossible(
            f"run {run.id} cannot {request.action}: it is parked because its code does not fit its journal. "
            "Correct the code, restart the worker, then retry."
        )
    chosen = [record for record in parked if request.step in ("", record.name, str(record.number))]
    if len(chosen) != 1:
        names = ", ".join(f"{record.number} ({record.name})" for record in parked)
        asked = f"step {request.step!r} is not among them" if request.step else "say which"
        raise NotPossible(f"run {run.id}: these steps are parked: {names}; {asked}.")
    return chosen[0]
