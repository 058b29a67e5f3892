"""What each fact means to a run's program: one function per event, and the table of them (``engine.execution``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from makegood.engine import journal
from makegood.engine.folds import DEADLINE
from makegood.engine.nested import SagaUndone
from makegood.errors import ChildFailed, StepFailed
from makegood.failure import Failure

if TYPE_CHECKING:
    from makegood.engine.recording import Recording
    from makegood.engine.run import RunState

NO_FAILURE = Failure("", "")


def _on_step_failed(execution: Recording, fact: journal.StepFailed) -> None:
    record = execution.state.steps[fact.step]
    if not record.critical:
        execution.program.resolve(fact.step, None)
    elif not record.cancelled:
        failure = record.failure or NO_FAILURE
        execution.program.reject(
            fact.step, StepFailed(record.name, failure, unknown=fact.unknown, attempts=record.attempts)
        )


def _on_child_failed(execution: Recording, fact: journal.ChildFailed) -> None:
    record = execution.state.steps[fact.step]
    if not record.cancelled:
        error = ChildFailed(
            record.name, fact.failure, child=record.child, status=fact.status, residue=fact.residue
        )
        execution.program.reject(fact.step, error)


def _on_undo_requested(execution: Recording, _fact: journal.UndoRequested) -> None:
    execution.undo()


def _on_run_started(execution: Recording, fact: journal.RunStarted) -> None:
    program = execution.program
    program.run_id, program.state = fact.id, execution.state
    if fact.deadline:
        program.decisions.append(journal.TimerStarted(DEADLINE, fact.deadline))
    program.start(fact.input)


def _on_run_continued(execution: Recording, fact: journal.RunContinued) -> None:
    execution.program.begin_leg(fact)
    _on_run_started(execution, fact.started)


def _on_timer_fired(execution: Recording, fact: journal.TimerFired) -> None:
    if fact.timer != DEADLINE:
        execution.program.fire(fact.timer)
    elif execution.state.overdue:
        execution.program.cancel(out_of_time(execution.state).message)


def out_of_time(run: RunState) -> Failure:
    """Why a run is rolled back whose workflow's own time is over."""
    limit_seconds = run.deadline - run.started_at
    return Failure("TimeoutError", f"workflow {run.workflow} was not done within {limit_seconds:g} s")


def _on_probe_answered(execution: Recording, fact: journal.ProbeAnswered) -> None:
    if fact.outcome == "done":
        execution.program.resolve(fact.step, fact.result)


def _on_cancel_requested(execution: Recording, fact: journal.CancelRequested) -> None:
    if not execution.state.rolling_back:
        execution.program.cancel(fact.why)


def _on_operator_acted(execution: Recording, fact: journal.OperatorActed) -> None:
    if fact.action == "terminate":
        execution.terminate(compensate=fact.compensate)
    elif fact.action == "pause":
        execution.pause()


REACTIONS: dict[type[Any], Callable[[Recording, Any], None]] = {
    journal.RunStarted: _on_run_started,
    journal.RunContinued: _on_run_continued,
    journal.StepCompleted: lambda execution, fact: execution.program.resolve(fact.step, fact.result),
    journal.StepSkipped: lambda execution, fact: execution.program.resolve(fact.step, None),
    journal.StepFailed: _on_step_failed,
    journal.ChildFailed: _on_child_failed,
    journal.UndoRequested: _on_undo_requested,
    journal.ProbeAnswered: _on_probe_answered,
    journal.TimerFired: _on_timer_fired,
    journal.SignalReceived: lambda execution, fact: execution.program.deliver(fact),
    journal.CancelRequested: _on_cancel_requested,
    journal.UpdateAccepted: lambda execution, fact: execution.program.accept_update(fact),
    journal.OperatorActed: _on_operator_acted,
    SagaUndone: lambda execution, happened: execution.program.rolled_back(happened.saga),
}
