"""The state of a run, as its events tell it. This file owns every transition; the tables come first.

A step:

    OPEN ──AttemptFailed: retry──▶ OPEN            an attempt is under way, or the wait before it
     │ ├──AttemptFailed: probe──▶ PROBING ─┬─ complete ─▶ DONE
     │ │                                   ├─ retry ────▶ OPEN
     │ └──AttemptFailed: give up─▶ EXHAUSTED ◀─ give up ┘
     │                               ├─ StepFailed ──▶ FAILED
     ├──StepPending──▶ PENDING ── as OPEN: StepCompleted, AttemptFailed
     └──StepCompleted──▶ DONE ◀──────┼─ StepCompleted (resolved by an operator)
                                     ├─ StepSkipped ─▶ SKIPPED
                                     └─ OperatorActed: retry ─▶ OPEN
    FAILED | SKIPPED ──MissedStepRetried──▶ DONE    of a best-effort step, once the run is COMPLETED
    DONE | FAILED | SKIPPED ──CompensationScheduled──▶ UNDOING ──CompensationCompleted──▶ UNDONE
                                                          ▲ (again, after AttemptEndedLate)  │
                                                          └──────────────────────────────────┘
    UNDOING ──AttemptFailed: give up──▶ UNDO_EXHAUSTED ─┬─ OperatorActed: retry ─▶ UNDOING
                                                        ├─ CompensationCompleted ─▶ UNDONE
                                                        └─ CompensationSkipped ───▶ RESIDUE
A step that is a child run has one attempt, without retries: OPEN ──ChildFailed──▶ FAILED. Retries and operators are
the child's own; if one left effects open there, UNDOING ──CompensationSkipped──▶ RESIDUE.

A run:

    RUNNING ──RollbackStarted──▶ COMPENSATING ──▶ COMPENSATED | FAILED | CANCELLED | TERMINATED
       └──────RunCompleted──────▶ COMPLETED       ▲
                                      └──UndoRequested (of a child only)
    an ended one ──AttemptEndedLate──▶ COMPENSATING, for what took effect late, and then ended as before (``engine.late``)
    any of these but the ended ──OperatorActed: terminate──▶ TERMINATED, at once or after a rollback
    PARKED while a step is EXHAUSTED or UNDO_EXHAUSTED and waits for an operator, or the code does not fit the journal.
    PAUSED from OperatorActed: pause to OperatorActed: unpause, or until it is cancelled or terminated.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

from makegood.engine import journal
from makegood.errors import JournalCorrupt
from makegood.failure import Failure


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
    PENDING = "pending"


class Status(StrEnum):
    __hash__ = str.__hash__  # Enum's own is Python code; commits count by status

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    PARKED = "PARKED"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"


OPEN, PROBING, EXHAUSTED, DONE, FAILED, SKIPPED, UNDOING, UNDO_EXHAUSTED, UNDONE, RESIDUE, PENDING = StepState

STEP_TRANSITIONS: dict[tuple[StepState, str], StepState] = {
    (OPEN, "completed"): DONE,
    (OPEN, "retry"): OPEN,
    (OPEN, "probe"): PROBING,
    (OPEN, "give up"): EXHAUSTED,
    (OPEN, "failed"): FAILED,
    (OPEN, "pending"): PENDING,
    (PENDING, "completed"): DONE,
    (PENDING, "retry"): OPEN,
    (PENDING, "probe"): PROBING,
    (PENDING, "give up"): EXHAUSTED,
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
    (FAILED, "made good"): DONE,
    (SKIPPED, "made good"): DONE,
    (UNDOING, "undone"): UNDONE,
    (UNDOING, "retry"): UNDOING,
    (UNDOING, "give up"): UNDO_EXHAUSTED,
    (UNDOING, "left open"): RESIDUE,
    (UNDO_EXHAUSTED, "undone"): UNDONE,
    (UNDO_EXHAUSTED, "undo skipped"): RESIDUE,
    (UNDO_EXHAUSTED, "reopened"): UNDOING,
    (UNDONE, "undo again"): UNDOING,
}
IN_FLIGHT = frozenset({OPEN, PENDING, PROBING, EXHAUSTED})
LEFT = frozenset({UNDOING, UNDO_EXHAUSTED, RESIDUE})
STANDING = LEFT | {DONE, PENDING, PROBING}
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
    retry_at: float  # of a pending attempt: when its time is over (0: never)
    state: StepState = OPEN
    attempts: int = 0  # that ended; of the compensation once that is under way
    failures: int = 0  # attempts that count against the retries
    unknown: bool = False  # an attempt may have taken effect, and nothing has settled it
    lost: int = 0  # the last attempts, so many in a row, ended with their process
    held: tuple[str, float] | None = None  # the next attempt: by what, since when; it has certainly not begun
    fatal: bool = False  # the last attempt said that trying again is pointless
    cancelled: bool = False  # the workflow no longer waits for it
    registered: bool = False  # by ``on_rollback``: there is nothing to do but to undo
    result: msgspec.Raw | None = None
    failure: Failure | None = None
    revision: int = 0  # so often an operator has given it other arguments
    child: str = ""  # the id of the run that it is
    residue: tuple[str, ...] = ()  # what that run left open
    arrived: journal.CompletionArrived | None = None  # from outside, and not taken yet

    @property
    def in_flight(self) -> bool:
        """Whether it is not settled yet: an attempt is under way, to come, or up to an operator."""
        return self.state in IN_FLIGHT

    @property
    def needs_undo(self) -> bool:
        """Whether a rollback has to compensate it: it has a compensation, and was done or may have been."""
        return self.undoable and (self.state is DONE or (self.unknown and self.state in (FAILED, SKIPPED)))

    def may_stand(self, clock: float) -> bool:
        """Whether its effect is, or may be, there: also that of an attempt which may be under way at this moment."""
        return (
            self.unknown
            or self.state in STANDING
            or (self.state is OPEN and self.retry_at <= clock and self.held is None)
        )

    def stays(self, kept: int) -> bool:
        """Whether a rollback that keeps the steps up to this number leaves its effect open."""
        return self.number <= kept and self.needs_undo

    @property
    def open_effects(self) -> list[str]:
        """How its open effect is called: by its name; those of a child run by the names of its steps as well."""
        return [f"{self.name}/{inner}" for inner in self.residue] or [self.name]


class UpdateRecord(msgspec.Struct, frozen=True, gc=False):
    """What was asked; it is asked once, and answered once."""

    name: str
    value: msgspec.Raw
    answered: bool = False


class View(msgspec.Struct, frozen=True, gc=False):
    """What the workflow published; ``steps_pending`` of the steps after the number ``after``, and of those ``open``."""

    fields: dict[str, msgspec.Raw]
    after: int = 0
    open: list[int] = []


class Late(msgspec.Struct, frozen=True):
    """What is known of attempts that were given up on while they went on. Steps by number (``engine.late``)."""

    running: frozenset[tuple[int, int, bool]] = (
        frozenset()
    )  # step, attempt, and whether it is one of the undo
    happened: dict[
        int, msgspec.Raw | None
    ] = {}  # steps that took effect late, or may have (None), and the result
    due: tuple[int, ...] = ()  # steps to be undone again
    again: int = 0  # the one that is being undone again
    rounds: dict[int, int] = {}  # how often each was undone again
    ending: journal.Ending | None = None  # of a run that was reopened


class RunState(msgspec.Struct, gc=False):
    """A run as a fold over its events. Used live, in replay and to describe a run whose code is not at hand."""

    id: str = ""
    workflow: str = ""
    version: int = 1
    input: msgspec.Raw | None = None
    parent: str = ""  # the run whose step ``parent_step`` this one is
    parent_step: int = 0
    tags: dict[str, str] = {}
    clock: float = 0.0  # seconds since 1970: the time of the entry being applied
    started_at: float = 0.0
    ended_at: float | None = None
    status_: Status | None = None
    leg: int = 1  # it has gone on as new so often, and once
    steps_before: int = 0  # of earlier legs
    residue_before: Sequence[str] = ()
    misses: bool = False  # a best-effort step has failed
    steps: dict[int, StepRecord] = {}
    has_children: bool = False
    in_flight: int = 0
    timers: dict[int, float] = {}
    signals: int = 0  # accepted so far
    signal_ids: dict[str, None] | None = None  # in the order of their coming
    awaited: Sequence[str] = ()  # names of the signals that the workflow waits for
    signals_left: Sequence[int] = ()
    parked: dict[int, tuple[str, float]] = {}  # step (0: the code) → reason, since when
    forks: Sequence[tuple[str, int]] = ()  # whose steps the first ones are
    paused: tuple[str, float] | None = None  # by whom and why, since when
    patches: tuple[str, ...] = ()
    rolling_back: bool = False
    cancel_requested: bool = False
    cancel_reason: str = ""
    cancelled: bool = False  # the rollback is because of the cancellation
    failure: Failure | None = None
    failed_step: str = ""
    undone: list[str] = []
    left_open: list[str] = []  # of a terminated run
    terminating: Literal["", "at once", "after undoing"] = ""  # an operator said so
    kept: int = 0  # then the steps up to this number are not undone
    pivoted: bool = False  # nothing is rolled back any more
    view: View | None = None
    updates: dict[str, UpdateRecord] | None = None  # by id
    result: msgspec.Raw | None = None
    deadline: float = 0.0  # when the workflow's time is over (0: never)
    overdue: bool = False  # it was, and the run could still be rolled back
    late: Late | None = None
    heartbeats: dict[tuple[int, bool], msgspec.Raw] | None = (
        None  # the last details, by step and whether of its undo
    )

    @property
    def status(self) -> Status:
        if self.status_ is not None:
            return self.status_
        if self.paused is not None:
            return Status.PAUSED
        if self.parked:
            return Status.PARKED
        making_good = self.rolling_back or self.terminating or (self.late is not None and self.is_reopened)
        return Status.COMPENSATING if making_good else Status.RUNNING

    @property
    def is_reopened(self) -> bool:
        """Whether it had ended, and what took effect since is being undone."""
        return self.late is not None and self.late.ending is not None

    @property
    def is_undoing(self) -> bool:
        return any(step.state in (UNDOING, UNDO_EXHAUSTED) for step in self.steps.values())

    @property
    def residue(self) -> list[str]:
        """Names of the steps whose effects are, or may be, open although nobody wants them; a child's after its own."""
        if self.status_ is Status.TERMINATED:
            return self.left_open
        completed = self.status_ is Status.COMPLETED
        open_ = [
            s
            for s in self.steps.values()
            if s.state is RESIDUE or s.residue or (s.needs_undo and not completed)
        ]
        return [*self.residue_before, *(name for step in open_ for name in step.open_effects)]

    @property
    def left_as_is(self) -> list[str]:
        """Names of the steps without a compensation that were done, or may have been, in a run that did not go on."""
        if self.status_ is Status.TERMINATED:
            return [s.name for s in self.steps.values() if not s.undoable and s.may_stand(self.clock)]
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

    def author_of(self, step: int) -> str:
        """The id of the run that made this step's effect: another one's, if this run is its fork."""
        if not self.forks:
            return self.id
        return next((run_id for run_id, number in self.forks if step <= number), self.id)

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
