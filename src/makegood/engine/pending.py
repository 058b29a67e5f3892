"""Attempts that are completed from outside: pending ones, and completions that come before an attempt is pending.

attempt ──returns PENDING──▶ StepPending ──CompletionArrived──▶ StepCompleted | AttemptFailed
   └──CompletionArrived first: kept until the attempt ends without a result of its own──┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from makegood.engine import journal
from makegood.engine.run import EXHAUSTED, OPEN, PENDING, PROBING, StepState
from makegood.errors import NotPossible
from makegood.failure import Failure

if TYPE_CHECKING:
    from makegood.engine.execution import Execution
    from makegood.engine.operator import Request
    from makegood.engine.run import RunState, StepRecord

OVERDUE = Failure("TimeoutError", "nobody completed it in time")
NO_LONGER_AWAITED = Failure("Cancelled", "the workflow no longer waited for its completion")
SETTLED: dict[StepState, str] = {
    StepState.DONE: "is already done; the first completion counts",
    StepState.FAILED: "has failed",
    StepState.SKIPPED: "was skipped by an operator",
}


def arrival(request: Request, run: RunState) -> list[journal.AnyEvent]:
    """The fact that somebody outside completed a step, or said that it failed.

    Raises:
        NotPossible: the step is settled, or it is another attempt's turn.
    """
    record = run.steps.get(int(request.step))
    if record is None or record.child or request.attempt > record.attempts + 1:
        raise NotPossible(f"run {run.id} has no such attempt: the token is another run's, or was made up.")
    where = f"step {record.number} ({record.name}) of run {run.id}"
    if not record.in_flight:
        what = SETTLED.get(record.state, "is being undone, or was undone")
        raise NotPossible(f"{where} cannot be completed: it {what}.")
    if record.arrived is not None:
        raise NotPossible(f"{where} is already completed; the first completion counts.")
    if request.failure is not None and (
        request.attempt != record.attempts + 1 or record.state not in (OPEN, PENDING)
    ):
        last = f" ({record.failure})" if record.failure is not None else ""
        raise NotPossible(
            f"{where}: attempt {request.attempt} has ended{last}; that it failed changes nothing now."
        )
    return [
        journal.CompletionArrived(
            record.number, request.attempt, request.by, request.result, request.failure, request.fatal
        )
    ]


def is_result(fact: journal.AnyEvent) -> TypeGuard[journal.CompletionArrived]:
    """Whether the fact is a completion with a result."""
    return isinstance(fact, journal.CompletionArrived) and fact.failure is None


def settle(execution: Execution, record: StepRecord, at: float, dice: float, *, ended: bool = False) -> None:
    """Take the completion that has arrived, unless an attempt or a probe is under way: then it has to end first.

    ``ended``: it is just ending.
    """
    arrived = record.arrived
    waits = record.state is OPEN and execution.waits(record, at)
    if arrived is None or not (ended or waits or record.state in (PENDING, EXHAUSTED)):
        return
    number = record.attempts + (record.state in (OPEN, PENDING) and not waits)
    if arrived.failure is None and record.state is PROBING:
        execution.probe_found(record.number, arrived.result, at)
    elif arrived.failure is None:
        execution.step_completed(record.number, number, arrived.result, at)
    else:
        execution.attempt_failed(record.number, number, arrived.failure, at, dice, fatal=arrived.fatal)


def recover(execution: Execution, at: float, dice: float) -> None:
    """After a replay: a cancelled step whose attempt is pending is over, unless that is only being decided now."""
    fresh = execution.fresh_steps()
    for record in execution.state.steps.values():
        if record.state is PENDING and record.cancelled and record.number not in fresh:
            number = record.attempts + 1
            execution.attempt_failed(record.number, number, NO_LONGER_AWAITED, at, dice, unknown=True)


def settles(record: StepRecord) -> bool:
    """Whether a completion has arrived that settles the step although its attempt, or its probe, told nothing."""
    return record.in_flight and record.arrived is not None and record.arrived.failure is None
