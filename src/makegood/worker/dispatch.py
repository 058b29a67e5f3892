"""Carrying out what has become durable: a handler for each event of a committed entry that wants something done.

After a restart the same is drawn from the state instead (``resume``), as the events are long past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from makegood.engine import journal
from makegood.engine.pending import NO_LONGER_AWAITED, OVERDUE
from makegood.engine.run import OPEN, PENDING, PROBING, UNDOING
from makegood.worker.executor import Job
from makegood.worker.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.engine.run import StepRecord
    from makegood.failure import Failure
    from makegood.worker.live import LiveRun
    from makegood.worker.worker import Worker


def resume(worker: Worker, run: LiveRun, at: float, *, slept: bool) -> None:
    """Take up what a recovered run was waiting for; what its new entry asks for follows with that entry's commit."""
    fresh_steps = run.execution.fresh_steps()
    for record in run.state.steps.values():
        if record.child:
            if record.state in (OPEN, UNDOING) and record.number not in fresh_steps:
                worker.children.look(run.id, record.number)
        elif record.state is PROBING:
            submit(worker, run, record, "probe")
        elif record.state is PENDING:
            _await_completion(worker, run, record)
        elif run.execution.waits(record, at, slept=slept) and not (record.cancelled and record.state is OPEN):
            _wait_for_attempt(worker, run, record)
    fresh = run.execution.fresh_timers()
    for timer, due in run.state.timers.items():
        if timer not in fresh:
            _arm(worker, run, timer, due)


def submit(worker: Worker, run: LiveRun, record: StepRecord, kind: Literal["do", "undo", "probe"]) -> None:
    """Hand the executor the next attempt of a step, of its compensation, or of its probe."""
    execution = run.execution
    if execution.state.paused is not None:
        run.hold(lambda: begin_held(worker, run, record, kind))
        return
    definition = execution.program.steps[record.number]
    if worker.stand_in is not None:
        definition = worker.stand_in(definition, kind)
    if definition.gated and worker.gates.submit(run, record, definition, kind):
        return
    run.jobs[record.number] = job = Job(run, record, definition, kind)
    begin(worker, job)


def begin(worker: Worker, job: Job) -> None:
    """Have an attempt made."""
    definition = job.definition
    if definition.transactional and definition.transacts(job.kind):
        worker.transactions.submit(job)
        worker.committer.wake()
    else:
        worker.executor.submit(job)


def begin_held(
    worker: Worker, run: LiveRun, record: StepRecord, kind: Literal["do", "undo", "probe"]
) -> None:
    """Hand over what was to begin while the run was paused."""
    if not (record.cancelled and record.state is OPEN):  # that is stopped by its cancellation
        submit(worker, run, record, kind)


def _go_on(_worker: Worker, run: LiveRun, event: journal.OperatorActed | journal.CancelRequested) -> None:
    """Begin what was held while the run was paused, if it no longer is."""
    if run.held is not None and run.state.paused is None:
        held, run.held = run.held, None
        for begin in held:
            begin()


def _on_scheduled(worker: Worker, run: LiveRun, event: journal.StepScheduled) -> None:
    record = run.execution.state.steps[event.step]
    if record.cancelled:
        return
    if record.retry_at:
        _wait_for_first(worker, run, record)
    else:
        submit(worker, run, record, "do")


def _on_child_scheduled(worker: Worker, run: LiveRun, event: journal.ChildScheduled) -> None:
    record = run.state.steps[event.step]
    if record.state is OPEN and not record.cancelled and run.state.status_ is None:
        if run.state.paused is None:
            worker.children.begin(run, record)
        else:
            run.hold(lambda: _on_child_scheduled(worker, run, event))


def _wait_for_first(worker: Worker, run: LiveRun, record: StepRecord) -> None:
    """The first attempt, when it is due (a recovered run may be waiting for it already)."""
    if record.number not in run.waits:
        _wait_for_attempt(worker, run, record)


def _on_attempt_failed(
    worker: Worker, run: LiveRun, event: journal.AttemptFailed | journal.ProbeAnswered
) -> None:
    record = run.state.steps[event.step]
    if event.then == "probe":
        submit(worker, run, record, "probe")
    elif event.then == "retry" and not (record.cancelled and record.state is OPEN):
        _wait_for_attempt(worker, run, record)


def _wait_for_attempt(worker: Worker, run: LiveRun, record: StepRecord) -> None:
    kind: Literal["do", "undo"] = "undo" if record.state is UNDOING else "do"

    def begin() -> None:
        run.waits.pop(record.number, None)
        submit(worker, run, record, kind)

    if record.retry_at <= worker.now():
        begin()
    else:
        run.waits[record.number] = Alarm(worker.loop, worker.now, record.retry_at, begin)


def _on_attempt_released(worker: Worker, run: LiveRun, event: journal.AttemptReleased) -> None:
    worker.gates.released(run, event.step)


def _on_step_pending(worker: Worker, run: LiveRun, event: journal.StepPending) -> None:
    record = run.state.steps[event.step]
    if record.state is PENDING and record.attempts + 1 == event.attempt and event.step not in run.waits:
        _await_completion(worker, run, record)


def _await_completion(worker: Worker, run: LiveRun, record: StepRecord) -> None:
    """Give a pending attempt up when its time is over."""

    def expire() -> None:
        run.waits.pop(record.number, None)
        if run.state.paused is not None:
            run.hold(lambda: _await_completion(worker, run, record))
        elif record.state is PENDING:
            _give_up_pending(worker, run, record, OVERDUE)

    if record.retry_at:
        run.waits[record.number] = Alarm(worker.loop, worker.now, record.retry_at, expire)


def _give_up_pending(worker: Worker, run: LiveRun, record: StepRecord, failure: Failure) -> None:
    number, attempt, dice = record.number, record.attempts + 1, worker.dice()
    execution = run.execution
    worker.tell(run, lambda at: execution.attempt_failed(number, attempt, failure, at, dice, unknown=True))


def _on_compensation_scheduled(worker: Worker, run: LiveRun, event: journal.CompensationScheduled) -> None:
    record = run.state.steps[event.step]
    if record.child:
        worker.children.look(run.id, event.step)
    elif record.retry_at:
        _wait_for_first(worker, run, record)
    else:
        submit(worker, run, record, "undo")


def _on_operator_acted(worker: Worker, run: LiveRun, event: journal.OperatorActed) -> None:
    _go_on(worker, run, event)
    record = run.state.steps.get(event.step)
    if event.action == "retry" and record is not None and record.state in (OPEN, UNDOING):
        _wait_for_attempt(worker, run, record)


def _on_step_cancelled(worker: Worker, run: LiveRun, event: journal.StepCancelled) -> None:
    record = run.state.steps[event.step]
    if record.state is PROBING or not record.in_flight or run.state.status_ is not None:
        return  # (it was terminated in the same entry)
    if record.child:
        worker.children.look(run.id, event.step)
        return
    job = run.jobs.get(event.step)
    if job is not None and worker.cancel(job):
        return
    run.jobs.pop(event.step, None)
    alarm = run.waits.pop(event.step, None)
    if alarm is not None:
        alarm.cancel()
    if record.state is PENDING:
        _give_up_pending(worker, run, record, NO_LONGER_AWAITED)
    else:
        worker.tell(run, run.execution.step_stopped, event.step)


def _on_timer_started(worker: Worker, run: LiveRun, event: journal.TimerStarted) -> None:
    if event.timer in run.state.timers:
        _arm(worker, run, event.timer, event.due)


def _arm(worker: Worker, run: LiveRun, timer: int, due: float) -> None:
    def fire() -> None:
        run.timers.pop(timer, None)
        if run.state.paused is not None:
            run.hold(lambda: _arm(worker, run, timer, due))
        else:
            worker.tell(run, run.execution.timer_fired, timer)

    run.timers[timer] = Alarm(worker.loop, worker.now, due, fire)


def _on_timer_cancelled(worker: Worker, run: LiveRun, event: journal.TimerCancelled) -> None:
    alarm = run.timers.pop(event.timer, None)
    if alarm is not None:
        alarm.cancel()


def _on_parked(worker: Worker, run: LiveRun, event: journal.RunParked) -> None:
    if event.step == 0:
        worker.recovery.stand(run, event.reason)


def _on_ended(worker: Worker, run: LiveRun, event: journal.Ending) -> None:
    worker.finish(run)


HANDLERS: dict[type[journal.Event], Callable[[Worker, LiveRun, Any], None]] = {
    journal.StepScheduled: _on_scheduled,
    journal.ChildScheduled: _on_child_scheduled,
    journal.AttemptFailed: _on_attempt_failed,
    journal.ProbeAnswered: _on_attempt_failed,
    journal.AttemptReleased: _on_attempt_released,
    journal.StepPending: _on_step_pending,
    journal.CompensationScheduled: _on_compensation_scheduled,
    journal.OperatorActed: _on_operator_acted,
    journal.CancelRequested: _go_on,
    journal.StepCancelled: _on_step_cancelled,
    journal.TimerStarted: _on_timer_started,
    journal.TimerCancelled: _on_timer_cancelled,
    journal.RunParked: _on_parked,
    journal.RunCompleted: _on_ended,
    journal.RunCompensated: _on_ended,
    journal.RunFailed: _on_ended,
    journal.RunCancelled: _on_ended,
    journal.RunTerminated: _on_ended,
}
