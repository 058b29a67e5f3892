"""The state of a run, as its events tell it. This file owns every transition; the tables come first.

A step:

    OPEN ──AttemptFailed: retry──▶ OPEN            an attempt is under way, or the wait before it
     │ ├──AttemptFailed: probe──▶ PROBING ─┬─ complete ─▶ DONE
     │ │                                   ├─ retry ────▶ OPEN
     │ └──AttemptFailed: give up─▶ EXHAUSTED ◀─ give up ┘
     │                               ├─ StepFailed ──▶ FAILED
     └──StepCompleted──▶ DONE ◀──────┼─ StepCompleted (resolved by an operator)
                                     ├─ StepSkipped ─▶ SKIPPED
                                     └─ OperatorActed: retry ─▶ OPEN
    DONE | FAILED | SKIPPED ──CompensationScheduled──▶ UNDOING ──CompensationCompleted──▶ UNDONE
    UNDOING ──AttemptFailed: give up──▶ UNDO_EXHAUSTED ─┬─ OperatorActed: retry ─▶ UNDOING
                                                        ├─ CompensationCompleted ─▶ UNDONE
                                                        └─ CompensationSkipped ───▶ RESIDUE
A run:

    RUNNING ──RollbackStarted──▶ COMPENSATING ──▶ COMPENSATED | FAILED | CANCELLED | TERMINATED
       └──────RunCompleted──────▶ COMPLETED
    PARKED while a step is EXHAUSTED or UNDO_EXHAUSTED and waits for an operator, or the code does not fit the journal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.engine import journal
from makegood.errors import JournalCorrupt
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class StepState(StrEnum):
    OPEN = "open"
    PROBING = "probing"
    EXHAUSTED = "exhausted"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDOING = "undoing"
    UNDO_EXHAUSTED = "undo exhausted"
    UNDONE = "undone"
    RESIDUE = "residue"


class Status(StrEnum):
    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    PARKED = "PARKED"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"


OPEN, PROBING, EXHAUSTED, DONE, FAILED, SKIPPED, UNDOING, UNDO_EXHAUSTED, UNDONE, RESIDUE = StepState

STEP_TRANSITIONS: dict[tuple[StepState, str], StepState] = {
    (OPEN, "completed"): DONE,
    (OPEN, "retry"): OPEN,
    (OPEN, "probe"): PROBING,
    (OPEN, "give up"): EXHAUSTED,
    (OPEN, "failed"): FAILED,
    (PROBING, "probed: complete"): DONE,
    (PROBING, "probed: retry"): OPEN,
    (PROBING, "probed: give up"): EXHAUSTED,
    (EXHAUSTED, "failed"): FAILED,
    (EXHAUSTED, "completed"): DONE,
    (EXHAUSTED, "skipped"): SKIPPED,
    (EXHAUSTED, "reopened"): OPEN,
    (DONE, "undo"): UNDOING,
    (FAILED, "undo"): UNDOING,
    (SKIPPED, "undo"): UNDOING,
    (UNDOING, "undone"): UNDONE,
    (UNDOING, "retry"): UNDOING,
    (UNDOING, "give up"): UNDO_EXHAUSTED,
    (UNDO_EXHAUSTED, "undone"): UNDONE,
    (UNDO_EXHAUSTED, "undo skipped"): RESIDUE,
    (UNDO_EXHAUSTED, "reopened"): UNDOING,
}
IN_FLIGHT = frozenset({OPEN, PROBING, EXHAUSTED})
LEFT = frozenset({UNDOING, UNDO_EXHAUSTED, RESIDUE})
MOVES: dict[str, dict[StepState, tuple[StepState, int]]] = {}  # the table, with the change of steps in flight
for (_before, _happening), _after in STEP_TRANSITIONS.items():
    _difference = (_after in IN_FLIGHT) - (_before in IN_FLIGHT)
    MOVES.setdefault(_happening, {})[_before] = (_after, _difference)

ENDINGS: dict[type[journal.Event], Status] = {
    journal.RunCompleted: Status.COMPLETED,
    journal.RunCompensated: Status.COMPENSATED,
    journal.RunFailed: Status.FAILED,
    journal.RunCancelled: Status.CANCELLED,
    journal.RunTerminated: Status.TERMINATED,
}


class StepRecord(msgspec.Struct, gc=False):
    """What is known of one step of a run."""

    number: int
    name: str
    arguments: msgspec.Raw
    undoable: bool
    critical: bool
    retry_at: float
    state: StepState = OPEN
    attempts: int = 0  # that ended; of the compensation once that is under way
    failures: int = 0  # attempts that count against the retries
    unknown: bool = False  # an attempt may have taken effect, and nothing has settled it
    lost: bool = False  # the last attempt ended with its process
    fatal: bool = False  # the last attempt said that trying again is pointless
    cancelled: bool = False  # the workflow no longer waits for it
    result: msgspec.Raw | None = None
    failure: Failure | None = None

    @property
    def in_flight(self) -> bool:
        """Whether it is not settled yet: an attempt is under way, to come, or up to an operator."""
        return self.state in IN_FLIGHT

    @property
    def needs_undo(self) -> bool:
        """Whether a rollback has to compensate it: it has a compensation, and was done or may have been."""
        return self.undoable and (self.state is DONE or (self.unknown and self.state in (FAILED, SKIPPED)))


class RunState(msgspec.Struct, gc=False):
    """A run as a fold over its events. Used live, in replay and to describe a run whose code is not at hand."""

    id: str = ""
    workflow: str = ""
    input: msgspec.Raw | None = None
    clock: float = 0.0  # seconds since 1970: the time of the entry being applied
    started_at: float = 0.0
    ended_at: float | None = None
    status_: Status | None = None
    steps: dict[int, StepRecord] = {}
    in_flight: int = 0
    timers: dict[int, float] = {}
    parked: dict[int, tuple[str, float]] = {}  # step (0: the code) → reason, since when
    rolling_back: bool = False
    cancel_requested: bool = False
    cancel_reason: str = ""
    cancelled: bool = False  # the rollback is because of the cancellation
    failure: Failure | None = None
    failed_step: str = ""
    undone: list[str] = []
    result: msgspec.Raw | None = None

    @property
    def status(self) -> Status:
        if self.status_ is not None:
            return self.status_
        if self.parked:
            return Status.PARKED
        return Status.COMPENSATING if self.rolling_back else Status.RUNNING

    @property
    def residue(self) -> list[str]:
        """Names of the steps whose effects are, or may be, open although nobody wants them."""
        completed = self.status_ is Status.COMPLETED
        return [s.name for s in self.steps.values() if s.state is RESIDUE or (s.needs_undo and not completed)]

    @property
    def left_as_is(self) -> list[str]:
        """Names of the steps without a compensation that were done, or may have been, in a run that was rolled back."""
        if not self.rolling_back:
            return []
        return [s.name for s in self.steps.values() if not s.undoable and (s.state is DONE or s.unknown)]

    @property
    def missed(self) -> list[str]:
        """Names of the best-effort steps that failed."""
        return [
            s.name
            for s in self.steps.values()
            if not (s.critical or s.cancelled or s.in_flight) and s.result is None
        ]

    def apply(self, event: journal.Event) -> None:
        """Take in one event.

        Raises:
            JournalCorrupt: the event cannot follow the ones before it.
        """
        if self.status_ is not None or bool(self.id) is (type(event) is journal.RunStarted):
            raise self.misplaced(event)
        try:
            FOLDS[type(event)](self, event)
        except KeyError:
            raise self.misplaced(event) from None

    def misplaced(self, event: journal.Event) -> JournalCorrupt:
        """The error for an event that cannot follow the ones before it."""
        return JournalCorrupt(
            f"{type(event).__name__} cannot follow here: the journal of run {self.id or '(not started)'} was altered, "
            "or written by a faulty makegood."
        )

    def move(self, number: int, happening: str) -> StepRecord:
        """Change a step's state.

        Raises:
            JournalCorrupt: the table does not admit it.
        """
        step = self.steps[number]
        try:
            step.state, difference = MOVES[happening][step.state]
        except KeyError:
            raise JournalCorrupt(
                f"step {step.number} ({step.name}) is {step.state} and cannot become {happening}: "
                "the journal was altered, or written by a faulty makegood."
            ) from None
        if difference:
            self.in_flight += difference
        return step


def _run_started(run: RunState, event: journal.RunStarted) -> None:
    run.id, run.workflow, run.input, run.started_at = event.id, event.workflow, event.input, run.clock


def _step_scheduled(run: RunState, event: journal.StepScheduled) -> None:
    if event.step != len(run.steps) + 1:
        raise JournalCorrupt(f"run {run.id}: step {event.step} is scheduled out of order.")
    run.steps[event.step] = StepRecord(
        event.step, event.name, event.arguments, event.undoable, event.critical, event.due
    )
    run.in_flight += 1


def _step_completed(run: RunState, event: journal.StepCompleted) -> None:
    step = run.move(event.step, "completed")
    step.attempts, step.result, step.unknown, step.failure = event.attempt, event.result, False, None
    if run.parked:
        run.parked.pop(event.step, None)


def _attempt_failed(run: RunState, event: journal.AttemptFailed) -> None:
    undoing = run.steps[event.step].state is UNDOING
    step = run.move(event.step, event.then)
    step.attempts, step.failure, step.retry_at, step.lost = (
        event.attempt,
        event.failure,
        event.retry_at,
        event.lost,
    )
    step.failures += not event.lost
    step.fatal = event.fatal
    if not undoing:
        step.unknown = step.unknown or event.unknown


def _probe_answered(run: RunState, event: journal.ProbeAnswered) -> None:
    step = run.move(event.step, f"probed: {event.then}")
    step.retry_at = event.retry_at
    if event.outcome != "unknown":
        step.unknown = False
    if event.outcome == "done":
        step.result, step.failure = event.result, None


def _step_failed(run: RunState, event: journal.StepFailed) -> None:
    run.move(event.step, "failed").unknown = event.unknown
    run.parked.pop(event.step, None)


def _step_skipped(run: RunState, event: journal.StepSkipped) -> None:
    run.move(event.step, "skipped")
    run.parked.pop(event.step, None)


def _step_cancelled(run: RunState, event: journal.StepCancelled) -> None:
    run.steps[event.step].cancelled = True


def _timer_started(run: RunState, event: journal.TimerStarted) -> None:
    if event.timer in run.timers:
        raise run.misplaced(event)
    run.timers[event.timer] = event.due


def _timer_fired(run: RunState, event: journal.TimerFired) -> None:
    run.clock = max(run.clock, run.timers.pop(event.timer))


def _timer_cancelled(run: RunState, event: journal.TimerCancelled) -> None:
    del run.timers[event.timer]


def _compensation_scheduled(run: RunState, event: journal.CompensationScheduled) -> None:
    step = run.move(event.step, "undo")
    step.attempts, step.failures, step.retry_at, step.lost = 0, 0, event.due, False


def _compensation_completed(run: RunState, event: journal.CompensationCompleted) -> None:
    step = run.move(event.step, "undone")
    step.attempts, step.unknown = event.attempt, False
    run.undone.append(step.name)
    run.parked.pop(event.step, None)


def _compensation_skipped(run: RunState, event: journal.CompensationSkipped) -> None:
    run.move(event.step, "undo skipped")
    run.parked.pop(event.step, None)


def _run_parked(run: RunState, event: journal.RunParked) -> None:
    run.parked[event.step] = (event.reason, run.clock)


def _operator_acted(run: RunState, event: journal.OperatorActed) -> None:
    if event.action == "retry":
        step = run.move(event.step, "reopened")
        step.failures, step.retry_at = 0, run.clock
        run.parked.pop(event.step, None)
    elif event.action == "resume":
        run.parked.pop(0, None)


def _cancel_requested(run: RunState, event: journal.CancelRequested) -> None:
    run.cancel_requested, run.cancel_reason = True, event.why


def _rollback_started(run: RunState, event: journal.RollbackStarted) -> None:
    if run.rolling_back:
        raise run.misplaced(event)
    run.rolling_back, run.cancelled = True, event.cancelled
    run.failure, run.failed_step = event.failure, event.step


def _honest(run: RunState, event: journal.Ending) -> bool:
    """Whether everything that a rollback has to undo is undone, or said to be left open (G1)."""
    left = {step.state for step in run.steps.values() if step.needs_undo or step.state in LEFT}
    return left == ({RESIDUE} if type(event) is journal.RunTerminated else set())


def _ended(run: RunState, event: journal.Ending) -> None:
    completed = type(event) is journal.RunCompleted
    if run.in_flight or run.rolling_back is completed or (run.rolling_back and not _honest(run, event)):
        raise run.misplaced(event)
    run.status_, run.ended_at = ENDINGS[type(event)], run.clock
    run.timers.clear()
    if isinstance(event, journal.RunCompleted):
        run.result = event.result


FOLDS: dict[type[journal.Event], Callable[[RunState, Any], None]] = {
    journal.RunStarted: _run_started,
    journal.StepScheduled: _step_scheduled,
    journal.StepCompleted: _step_completed,
    journal.AttemptFailed: _attempt_failed,
    journal.ProbeAnswered: _probe_answered,
    journal.StepFailed: _step_failed,
    journal.StepSkipped: _step_skipped,
    journal.StepCancelled: _step_cancelled,
    journal.TimerStarted: _timer_started,
    journal.TimerFired: _timer_fired,
    journal.TimerCancelled: _timer_cancelled,
    journal.CompensationScheduled: _compensation_scheduled,
    journal.CompensationCompleted: _compensation_completed,
    journal.CompensationSkipped: _compensation_skipped,
    journal.RunParked: _run_parked,
    journal.OperatorActed: _operator_acted,
    journal.CancelRequested: _cancel_requested,
    journal.RollbackStarted: _rollback_started,
    **dict.fromkeys(ENDINGS, _ended),
}


def folded(entries: Iterable[journal.Entry]) -> RunState:
    """The state that these entries tell, without any code.

    Raises:
        JournalCorrupt: an event cannot follow the ones before it.
    """
    run = RunState()
    for entry in entries:
        run.clock = entry.at
        for event in entry.events:
            run.apply(event)
    return run
