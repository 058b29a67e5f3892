"""What each event does to the state of a run (``engine.run``): one function per event, and the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from makegood.definition.payload import NULL
from makegood.engine import journal, late, legs, missed
from makegood.engine.run import (
    DONE,
    ENDINGS,
    LEFT,
    OPEN,
    RESIDUE,
    UNDOING,
    UNDONE,
    RunState,
    Status,
    StepRecord,
    UpdateRecord,
)
from makegood.engine.views import updated
from makegood.errors import JournalCorrupt
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEADLINE = 0  # the timer of the workflow's own time limit


def _run_started(run: RunState, event: journal.RunStarted) -> None:
    run.id, run.workflow, run.input, run.started_at = event.id, event.workflow, event.input, run.clock
    run.parent, run.parent_step, run.version, run.forks = (
        event.parent,
        event.parent_step,
        event.version,
        event.forks,
    )
    run.deadline = event.deadline
    run.tags = event.tags


def _run_continued(run: RunState, event: journal.RunContinued) -> None:
    waits = run.timers.keys() - {DEADLINE}
    if run.in_flight or run.rolling_back or waits or run.parked or legs.standing(run):
        raise run.misplaced(event)
    legs.begin(run, event)
    started_at = run.started_at
    _run_started(run, event.started)
    run.started_at = started_at


def _step_scheduled(run: RunState, event: journal.StepScheduled) -> None:
    if event.step != len(run.steps) + run.steps_before + 1:
        raise JournalCorrupt(f"run {run.id}: step {event.step} is scheduled out of order.")
    run.steps[event.step] = StepRecord(
        event.step, event.name, event.arguments, event.undoable, event.critical, event.due
    )
    run.in_flight += 1


def _child_scheduled(run: RunState, event: journal.ChildScheduled) -> None:
    if event.step != len(run.steps) + run.steps_before + 1:
        raise JournalCorrupt(f"run {run.id}: step {event.step} is scheduled out of order.")
    run.steps[event.step] = StepRecord(
        event.step, event.name, event.arguments, undoable=True, critical=True, retry_at=0.0, child=event.child
    )
    run.in_flight += 1
    run.has_children = True


def _child_failed(run: RunState, event: journal.ChildFailed) -> None:
    step = run.move(event.step, "failed")
    step.attempts, step.failure, step.residue = 1, event.failure, tuple(event.residue)


def _step_completed(run: RunState, event: journal.StepCompleted) -> None:
    step = run.move(event.step, "completed")
    step.attempts, step.result, step.unknown, step.failure = event.attempt, event.result, False, None
    if run.parked:
        run.parked.pop(event.step, None)


def _attempt_failed(run: RunState, event: journal.AttemptFailed) -> None:
    undoing = run.steps[event.step].state is UNDOING
    step = run.move(event.step, event.then)
    step.attempts, step.failure, step.retry_at = event.attempt, event.failure, event.retry_at
    step.lost = step.lost + 1 if event.lost else 0
    step.failures += not (event.lost or event.held)
    step.held = (event.held, run.clock) if event.held and event.then == "retry" else None
    step.arrived = None
    step.fatal = event.fatal
    if not undoing:
        step.unknown = step.unknown or event.unknown
    if event.running:
        late.leave_running(run, event, undoing=undoing)
    if event.heartbeat is not NULL:
        run.heartbeats = {**(run.heartbeats or {}), (event.step, undoing): event.heartbeat}


def _attempt_held(run: RunState, event: journal.AttemptHeld) -> None:
    step = run.steps[event.step]
    if step.state not in (OPEN, UNDOING) or step.held is not None:
        raise run.misplaced(event)
    step.held = event.gate, run.clock


def _attempt_released(run: RunState, event: journal.AttemptReleased) -> None:
    step = run.steps[event.step]
    if step.held is None:
        raise run.misplaced(event)
    step.held = None


def _step_pending(run: RunState, event: journal.StepPending) -> None:
    run.move(event.step, "pending").retry_at = event.due


def _completion_arrived(run: RunState, event: journal.CompletionArrived) -> None:
    step = run.steps[event.step]
    if not step.in_flight or step.arrived is not None:
        raise run.misplaced(event)
    step.arrived = event


def _probe_answered(run: RunState, event: journal.ProbeAnswered) -> None:
    step = run.move(event.step, f"probed: {event.then}")
    step.retry_at = event.retry_at
    if event.outcome == "done" or (event.outcome == "not done" and not late.may_happen(run, event.step)):
        step.unknown = False
    if event.outcome == "done":
        step.result, step.failure = event.result, None


def _step_failed(run: RunState, event: journal.StepFailed) -> None:
    step = run.move(event.step, "failed")
    step.unknown = event.unknown
    if not step.critical:
        run.misses = True
    run.parked.pop(event.step, None)


def _step_skipped(run: RunState, event: journal.StepSkipped) -> None:
    if not run.move(event.step, "skipped").critical:
        run.misses = True
    run.parked.pop(event.step, None)


def _step_cancelled(run: RunState, event: journal.StepCancelled) -> None:
    run.steps[event.step].cancelled = True


def _timer_started(run: RunState, event: journal.TimerStarted) -> None:
    if event.timer in run.timers:
        raise run.misplaced(event)
    run.timers[event.timer] = event.due


def _timer_fired(run: RunState, event: journal.TimerFired) -> None:
    run.clock = max(run.clock, run.timers.pop(event.timer))
    if event.timer == DEADLINE:
        run.overdue = not (run.rolling_back or run.pivoted)


def _timer_cancelled(run: RunState, event: journal.TimerCancelled) -> None:
    del run.timers[event.timer]


def _patched(run: RunState, event: journal.Patched) -> None:
    if event.id in run.patches:
        raise run.misplaced(event)
    run.patches += (event.id,)


def _compensation_scheduled(run: RunState, event: journal.CompensationScheduled) -> None:
    if run.late is not None and run.steps[event.step].state is UNDONE:
        step = late.begin_again(run, event)
    else:
        step = run.move(event.step, "undo")
    step.attempts, step.failures, step.retry_at, step.lost, step.held = 0, 0, event.due, 0, None


def _compensation_completed(run: RunState, event: journal.CompensationCompleted) -> None:
    step = run.move(event.step, "undone")
    step.attempts, step.unknown = event.attempt, False
    if run.late is None or not late.settle_again(run, event.step):
        run.undone.append(step.name)
    run.parked.pop(event.step, None)


def _compensation_skipped(run: RunState, event: journal.CompensationSkipped) -> None:
    step = run.move(event.step, "left open" if event.residue else "undo skipped")
    step.residue = tuple(event.residue)
    run.parked.pop(event.step, None)
    if run.late is not None:
        late.leave_open(run, event.step)


def _run_parked(run: RunState, event: journal.RunParked) -> None:
    run.parked[event.step] = (event.reason, run.clock)


def _operator_acted(run: RunState, event: journal.OperatorActed) -> None:
    if event.action == "retry":
        step = run.move(event.step, "reopened")
        step.failures, step.lost, step.retry_at = 0, 0, run.clock
        if event.arguments != NULL:
            step.arguments, step.revision = event.arguments, step.revision + 1
        run.parked.pop(event.step, None)
    elif event.action == "resume":
        run.parked.pop(0, None)
        run.paused = None
    elif event.action == "pause":
        run.paused = f"{event.by}: {event.why}" if event.why else event.by, run.clock
    elif event.action == "unpause":
        run.paused = None
    elif event.action == "terminate":
        run.terminating, run.kept = "after undoing" if event.compensate else "at once", event.step
        run.parked.pop(0, None)
        run.paused = None
        run.failure = run.failure or Failure("Terminated", event.why or f"by {event.by}")


def _cancel_requested(run: RunState, event: journal.CancelRequested) -> None:
    run.cancel_requested, run.cancel_reason = True, event.why
    run.paused = None


def _rollback_registered(run: RunState, event: journal.RollbackRegistered) -> None:
    if event.step != len(run.steps) + run.steps_before + 1:
        raise JournalCorrupt(f"run {run.id}: step {event.step} is registered out of order.")
    record = StepRecord(event.step, event.name, event.arguments, undoable=True, critical=True, retry_at=0.0)
    record.state, record.registered = DONE, True
    run.steps[event.step] = record


def _pivoted(run: RunState, event: journal.Pivoted) -> None:
    if run.pivoted or run.rolling_back:
        raise run.misplaced(event)
    run.pivoted = True


def _saga_rollback_started(run: RunState, event: journal.SagaRollbackStarted) -> None:
    """What follows is told by the compensations themselves."""


def _update_accepted(run: RunState, event: journal.UpdateAccepted) -> None:
    if run.updates is None:
        run.updates = {}
    if event.update in run.updates:
        raise run.misplaced(event)
    run.updates[event.update] = UpdateRecord(event.name, event.value)


def _update_answered(run: RunState, event: journal.UpdateAnswered) -> None:
    asked = run.updates.get(event.update) if run.updates is not None else None
    if run.updates is None or asked is None or asked.answered:
        raise run.misplaced(event)
    run.updates[event.update] = UpdateRecord(asked.name, asked.value, answered=True)


def _view_updated(run: RunState, event: journal.ViewUpdated) -> None:
    run.view = updated(run, event)


def _signal_received(run: RunState, event: journal.SignalReceived) -> None:
    if event.number != run.signals + 1:
        raise run.misplaced(event)
    run.signals = event.number
    if event.id:
        if run.signal_ids is None:
            run.signal_ids = {}
        run.signal_ids[event.id] = None


def _signals_awaited(run: RunState, event: journal.SignalsAwaited) -> None:
    run.awaited = event.names


def _signals_left(run: RunState, event: journal.SignalsLeft) -> None:
    run.signals_left = event.signals


def _rollback_started(run: RunState, event: journal.RollbackStarted) -> None:
    if run.rolling_back or run.pivoted:
        raise run.misplaced(event)
    run.rolling_back, run.cancelled = True, event.cancelled
    run.failure, run.failed_step = event.failure, event.step
    run.awaited = ()


def _undo_requested(run: RunState, event: journal.UndoRequested) -> None:
    if run.status_ is not Status.COMPLETED or not run.parent:
        raise run.misplaced(event)
    run.status_, run.ended_at, run.result = None, None, None
    run.rolling_back = True
    run.failure = Failure("Undone", f"run {event.by}, of which this one is a part, was rolled back")


def _honest(run: RunState, event: journal.Ending) -> bool:
    """Whether everything that a rollback has to undo is undone, or said to be left open (G1)."""
    if run.late is not None and late.is_open(run.late):
        return False
    if not run.rolling_back:
        return True
    left = {
        RESIDUE if step.residue else step.state
        for step in run.steps.values()
        if (step.needs_undo and not step.stays(run.kept)) or step.residue or step.state in LEFT
    }
    if run.residue_before:
        left.add(RESIDUE)
    if run.terminating:
        return left <= {RESIDUE}
    return left == ({RESIDUE} if type(event) is journal.RunTerminated else set())


def _ended(run: RunState, event: journal.Ending) -> None:
    completed = type(event) is journal.RunCompleted
    if isinstance(event, journal.RunTerminated):
        run.left_open = event.residue
    if run.terminating and not isinstance(event, journal.RunTerminated):
        raise run.misplaced(event)
    if run.terminating == "at once":
        run.parked.clear()
    elif run.in_flight or run.rolling_back is completed or not _honest(run, event):
        raise run.misplaced(event)
    if run.late is not None:
        late.close(run)
    run.status_, run.ended_at = ENDINGS[type(event)], run.clock
    run.timers.clear()
    run.awaited = ()
    if isinstance(event, journal.RunCompleted):
        run.result = event.result


FOLDS: dict[type[journal.Event], Callable[[RunState, Any], None]] = {
    journal.RunStarted: _run_started,
    journal.StepScheduled: _step_scheduled,
    journal.ChildScheduled: _child_scheduled,
    journal.StepCompleted: _step_completed,
    journal.AttemptFailed: _attempt_failed,
    journal.AttemptEndedLate: late.take,
    journal.MissedStepRetried: missed.take,
    journal.AttemptHeld: _attempt_held,
    journal.AttemptReleased: _attempt_released,
    journal.StepPending: _step_pending,
    journal.CompletionArrived: _completion_arrived,
    journal.ProbeAnswered: _probe_answered,
    journal.StepFailed: _step_failed,
    journal.StepSkipped: _step_skipped,
    journal.StepCancelled: _step_cancelled,
    journal.TimerStarted: _timer_started,
    journal.TimerFired: _timer_fired,
    journal.TimerCancelled: _timer_cancelled,
    journal.Patched: _patched,
    journal.RunContinued: _run_continued,
    journal.CompensationScheduled: _compensation_scheduled,
    journal.CompensationCompleted: _compensation_completed,
    journal.CompensationSkipped: _compensation_skipped,
    journal.ChildFailed: _child_failed,
    journal.UndoRequested: _undo_requested,
    journal.RunParked: _run_parked,
    journal.OperatorActed: _operator_acted,
    journal.CancelRequested: _cancel_requested,
    journal.RollbackRegistered: _rollback_registered,
    journal.Pivoted: _pivoted,
    journal.SagaRollbackStarted: _saga_rollback_started,
    journal.UpdateAccepted: _update_accepted,
    journal.UpdateAnswered: _update_answered,
    journal.ViewUpdated: _view_updated,
    journal.SignalReceived: _signal_received,
    journal.SignalsAwaited: _signals_awaited,
    journal.SignalsLeft: _signals_left,
    journal.RollbackStarted: _rollback_started,
    **dict.fromkeys(ENDINGS, _ended),
}


REOPENING = frozenset({journal.UndoRequested, journal.AttemptEndedLate, journal.MissedStepRetried})
"""What may still be recorded of a run that has ended."""


def apply(run: RunState, event: journal.Event) -> None:
    """Take in one event of a journal.

    Raises:
        JournalCorrupt: it cannot follow the ones before it.
    """
    kind = type(event)
    ended = run.status_ is not None and kind not in REOPENING
    begins = kind is journal.RunStarted or (kind is journal.RunContinued and not run.id)
    if ended or bool(run.id) is begins:
        raise run.misplaced(event)
    try:
        FOLDS[kind](run, event)
    except KeyError:
        raise run.misplaced(event) from None


def folded(entries: Iterable[journal.Entry]) -> RunState:
    """The state that these entries tell, without any code.

    Raises:
        JournalCorrupt: an event cannot follow the ones before it.
    """
    run = RunState()
    for entry in entries:
        run.clock = entry.at
        for event in entry.events:
            apply(run, event)
    return run
