"""What happened in a run, and when: told from its journal alone, as data for a timeline (``cli``) and for ``diagram``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from makegood.engine import journal
from makegood.engine.run import ENDINGS, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from makegood.failure import Failure

Kind: TypeAlias = Literal[
    "step", "child", "undo", "timer", "signal", "parked", "paused", "rollback", "leg", "operator"
]
Outcome: TypeAlias = Literal["", "done", "failed", "unknown", "skipped", "pending", "left open"]


class Attempt(msgspec.Struct):
    """One attempt; ``outcome`` "" while it is under way. Times in seconds since 1970."""

    number: int
    began_at: float
    ended_at: float | None = None
    outcome: Outcome = ""
    failure: Failure | None = None


class Span(msgspec.Struct):
    """Something that took time, or (``ended_at`` is ``began_at``) a moment.

    ``step`` is the step's number, 0 for what is none; ``name`` the step's, signal's or child's workflow's. ``first`` and
    ``last`` tell the order exactly: the places of its first and last event in the journal (``last`` None: not over).
    A compensation that is tried again has several attempts; ``note`` is what is said for the record.
    """

    kind: Kind
    name: str
    began_at: float
    first: int
    step: int = 0
    ended_at: float | None = None
    last: int | None = None
    outcome: Outcome = ""
    attempts: list[Attempt] = []
    failure: Failure | None = None
    child: str = ""
    critical: bool = True
    note: str = ""


class Timeline(msgspec.Struct):
    """A whole run, all legs of it: the spans in the order of their beginnings. ``until``: the end, or the last entry."""

    id: str
    workflow: str
    status: str
    began_at: float
    until: float
    ended_at: float | None
    spans: list[Span]
    failure: Failure | None = None


def timeline(entries: Iterable[journal.Entry]) -> Timeline:
    """Tell a run's story from its whole journal.

    Timers that were cancelled (time limits that were kept) are left out.
    """
    story = _Story()
    for entry in entries:
        story.at = entry.at
        for event in entry.events:
            story.place += 1
            teller = TELLERS.get(type(event))
            if teller is not None:
                teller(story, event)
    return Timeline(
        story.id,
        story.workflow,
        story.standing,
        story.began_at,
        story.at,
        story.ended_at,
        [span for span in story.spans if span.outcome != "skipped" or span.kind != "timer"],
        story.failure,
    )


class _Story:
    """The story so far."""

    id = workflow = ""
    status: Status | None = None
    failure: Failure | None = None
    at = began_at = 0.0
    ended_at: float | None = None
    place = 0
    undoing = False

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.steps: dict[int, Span] = {}  # the step's, or its compensation's once that is scheduled
        self.timers: dict[int, Span] = {}
        self.parked: dict[int, Span] = {}
        self.paused: Span | None = None

    @property
    def standing(self) -> str:
        """The run's status."""
        if self.status is not None:
            return self.status
        if self.paused is not None:
            return Status.PAUSED
        if self.parked:
            return Status.PARKED
        return Status.COMPENSATING if self.undoing else Status.RUNNING

    def begin(self, kind: Kind, name: str, **details: Any) -> Span:
        span = Span(kind, name, self.at, self.place, **details)
        self.spans.append(span)
        return span

    def moment(self, kind: Kind, name: str, note: str = "", step: int = 0) -> None:
        self.end(self.begin(kind, name, note=note, step=step), "done")

    def end(self, span: Span | None, outcome: Outcome) -> None:
        if span is not None and span.last is None:
            span.ended_at, span.last, span.outcome = self.at, self.place, outcome

    def attempt(self, span: Span, due: float = 0.0) -> None:
        span.attempts.append(Attempt(len(span.attempts) + 1, max(self.at, due)))

    def attempt_ended(self, number: int, outcome: Outcome, failure: Failure | None = None) -> Span:
        span = self.steps[number]
        if span.attempts and span.attempts[-1].ended_at is None:
            last = span.attempts[-1]
            last.ended_at, last.outcome, last.failure = max(self.at, last.began_at), outcome, failure
        span.failure = failure
        return span

    def unpark(self, step: int) -> None:
        self.end(self.parked.pop(step, None), "done")


def _started(story: _Story, event: journal.RunStarted) -> None:
    story.id, story.workflow, story.began_at = event.id, event.workflow, story.at


def _continued(story: _Story, event: journal.RunContinued) -> None:
    story.moment("leg", "goes on as new")
    story.steps, story.timers = {}, {}


def _scheduled(story: _Story, event: journal.StepScheduled) -> None:
    span = story.steps[event.step] = story.begin(
        "step", event.name, step=event.step, critical=event.critical, attempts=[]
    )
    story.attempt(span, event.due)


def _child_scheduled(story: _Story, event: journal.ChildScheduled) -> None:
    story.steps[event.step] = story.begin("child", event.name, step=event.step, child=event.child)


def _completed(story: _Story, event: journal.StepCompleted) -> None:
    span = story.attempt_ended(event.step, "done")
    span.note = f"resolved by {event.by}" if event.by else ""
    story.end(span, "done")
    story.unpark(event.step)


def _attempt_failed(story: _Story, event: journal.AttemptFailed) -> None:
    span = story.attempt_ended(event.step, "unknown" if event.unknown else "failed", event.failure)
    if event.then == "retry":
        story.attempt(span, event.retry_at)


def _pending(story: _Story, event: journal.StepPending) -> None:
    story.steps[event.step].note = "completed from outside"


def _probed(story: _Story, event: journal.ProbeAnswered) -> None:
    span = story.steps[event.step]
    if event.then == "complete":
        span.note, span.failure = "found done by its probe", None
        story.end(span, "done")
    elif event.then == "retry":
        story.attempt(span, event.retry_at)


def _failed(story: _Story, event: journal.StepFailed) -> None:
    story.end(story.steps[event.step], "unknown" if event.unknown else "failed")
    story.unpark(event.step)


def _child_failed(story: _Story, event: journal.ChildFailed) -> None:
    span = story.steps[event.step]
    span.failure, span.note = event.failure, event.status
    story.end(span, "failed")


def _skipped(story: _Story, event: journal.StepSkipped) -> None:
    story.end(story.steps[event.step], "skipped")
    story.unpark(event.step)


def _cancelled(story: _Story, event: journal.StepCancelled) -> None:
    if event.step in story.steps:
        story.steps[event.step].note = "no longer awaited"


def _registered(story: _Story, event: journal.RollbackRegistered) -> None:
    story.steps[event.step] = Span("step", event.name, story.at, story.place, step=event.step)


def _undo_scheduled(story: _Story, event: journal.CompensationScheduled) -> None:
    forward = story.steps[event.step]
    span = story.steps[event.step] = story.begin(
        "undo", forward.name, step=event.step, child=forward.child, attempts=[]
    )
    if not forward.child:
        story.attempt(span, event.due)


def _undone(story: _Story, event: journal.CompensationCompleted) -> None:
    span = story.attempt_ended(event.step, "done")
    span.note = f"done by hand, says {event.by}" if event.by else ""
    story.end(span, "done")
    story.unpark(event.step)


def _undo_skipped(story: _Story, event: journal.CompensationSkipped) -> None:
    story.end(story.steps[event.step], "left open")
    story.unpark(event.step)


def _timer_started(story: _Story, event: journal.TimerStarted) -> None:
    story.timers[event.timer] = story.begin("timer", "timer")


def _timer_fired(story: _Story, event: journal.TimerFired) -> None:
    story.end(story.timers.pop(event.timer, None), "done")


def _timer_cancelled(story: _Story, event: journal.TimerCancelled) -> None:
    story.end(story.timers.pop(event.timer, None), "skipped")


def _signalled(story: _Story, event: journal.SignalReceived) -> None:
    story.moment("signal", event.name, f"by {event.by}" if event.by else "")


def _parked(story: _Story, event: journal.RunParked) -> None:
    name = story.steps[event.step].name if event.step else "its code"
    story.parked[event.step] = story.begin("parked", name, step=event.step, note=event.reason)


def _operator_acted(story: _Story, event: journal.OperatorActed) -> None:
    said = f"by {event.by}: {event.why}" if event.why else f"by {event.by}"
    if event.action == "pause":
        story.paused = story.begin("paused", "paused", note=said)
        return
    step = event.step if event.action in ("retry", "skip", "resolve") else 0
    story.moment("operator", "resume" if event.action == "unpause" else event.action, said, step)
    if event.action in ("unpause", "resume", "terminate"):
        story.end(story.paused, "done")
        story.paused = None
        story.unpark(0)
    elif event.action == "retry":
        story.unpark(event.step)
        if event.step in story.steps:
            story.attempt(story.steps[event.step])


def _cancel_requested(story: _Story, event: journal.CancelRequested) -> None:
    story.moment("operator", "cancel", f"by {event.by}: {event.why}" if event.why else f"by {event.by}")
    story.end(story.paused, "done")
    story.paused = None


def _rollback_started(story: _Story, event: journal.RollbackStarted) -> None:
    story.undoing, story.failure = True, event.failure
    story.moment("rollback", "rollback", str(event.failure))


def _saga_rollback_started(story: _Story, event: journal.SagaRollbackStarted) -> None:
    story.moment("rollback", "rollback of a nested saga")


def _undo_requested(story: _Story, event: journal.UndoRequested) -> None:
    story.status, story.ended_at, story.undoing = None, None, True
    story.moment("rollback", "rollback", f"run {event.by}, of which this one is a part, was rolled back")


def _missed_retried(story: _Story, event: journal.MissedStepRetried) -> None:
    name = story.steps[event.step].name
    span = story.begin("step", name, step=event.step, critical=False, note=f"tried again by {event.by}")
    outcome: Outcome = "done" if event.failure is None else "unknown" if event.unknown else "failed"
    span.attempts = [Attempt(event.attempt, story.at, story.at, outcome, event.failure)]
    story.end(span, outcome)


def _ended(story: _Story, event: journal.Ending) -> None:
    story.status, story.ended_at = ENDINGS[type(event)], story.at
    for span in story.timers.values():
        story.end(span, "skipped")
    for span in (*story.parked.values(), *story.steps.values()):
        story.end(span, "left open")
    story.parked = {}


TELLERS: dict[type[journal.Event], Callable[[_Story, Any], None]] = {
    journal.RunStarted: _started,
    journal.RunContinued: _continued,
    journal.StepScheduled: _scheduled,
    journal.ChildScheduled: _child_scheduled,
    journal.StepCompleted: _completed,
    journal.AttemptFailed: _attempt_failed,
    journal.StepPending: _pending,
    journal.ProbeAnswered: _probed,
    journal.StepFailed: _failed,
    journal.ChildFailed: _child_failed,
    journal.StepSkipped: _skipped,
    journal.StepCancelled: _cancelled,
    journal.RollbackRegistered: _registered,
    journal.CompensationScheduled: _undo_scheduled,
    journal.CompensationCompleted: _undone,
    journal.CompensationSkipped: _undo_skipped,
    journal.TimerStarted: _timer_started,
    journal.TimerFired: _timer_fired,
    journal.TimerCancelled: _timer_cancelled,
    journal.SignalReceived: _signalled,
    journal.RunParked: _parked,
    journal.OperatorActed: _operator_acted,
    journal.CancelRequested: _cancel_requested,
    journal.RollbackStarted: _rollback_started,
    journal.SagaRollbackStarted: _saga_rollback_started,
    journal.UndoRequested: _undo_requested,
    journal.MissedStepRetried: _missed_retried,
    **dict.fromkeys(ENDINGS, _ended),
}
