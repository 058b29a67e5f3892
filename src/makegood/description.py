"""A run as people and programs see it, told from its journal alone: no code of the workflow is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.run import OPEN, UNDOING
from makegood.failure import Failure
from makegood.store.protocol import Pin
from makegood.waiting import NOTHING_KNOWN, Known, waiting_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from makegood.engine.run import RunState, StepRecord


class RunSummary(msgspec.Struct, frozen=True):
    """A line of a list. Times in seconds since 1970; ``key`` continues a list; ``parent``: whose child it is, or ""."""

    key: int
    id: str
    workflow: str
    status: str
    started_at: float
    ended_at: float | None
    version: int = 1
    parent: str = ""
    tags: dict[str, str] = {}
    pin: Pin | None = None


class StepDescription(msgspec.Struct, frozen=True):
    """One step: ``state`` as in ``engine.run``, ``outcome`` done, not done, unknown or "" (not settled).

    ``child`` is the id of the run that it is, "" for a step proper.
    ``began_at`` and ``settled_at`` are the step's or, once that was scheduled, its compensation's; seconds since 1970.
    """

    number: int
    name: str
    state: str
    outcome: str
    attempts: int
    critical: bool
    undoable: bool
    arguments: Any
    began_at: float
    settled_at: float | None = None
    result: Any = None
    failure: Failure | None = None
    next_attempt_at: float | None = None
    child: str = ""


class SignalDescription(msgspec.Struct, frozen=True):
    """A signal that was accepted and never received; ``received_at``: when it came, in seconds since 1970."""

    number: int
    name: str
    value: Any
    received_at: float


class LateDescription(msgspec.Struct, frozen=True):
    """An attempt that was given up on and went on, of a step or (``undo``) its compensation.

    ``outcome`` is running, done, not done or unknown; ``at`` is when it was given up on, or ended; seconds since 1970.
    """

    step: int
    name: str
    attempt: int
    outcome: str
    at: float
    undo: bool = False
    result: Any = None
    failure: Failure | None = None


class Description(msgspec.Struct, frozen=True):
    """A whole run.

    ``parked`` tells for each parked step (or "code") why; times in seconds since 1970. ``parent`` is the id of the run
    that called it, "" if none did; ``children`` tells of the child runs that it waits for, and of those that they wait
    for (the first hundred), how they stand, by id. ``held_up``: only an operator can get it going, or them.
    ``waiting_for`` says why it is not moving, and ``waiting_since`` since when; "" and None once it has ended.
    """

    id: str
    workflow: str
    status: str
    input: Any
    result: Any
    failure: Failure | None
    failed_step: str
    started_at: float
    ended_at: float | None
    steps: list[StepDescription]
    undone: list[str]
    left_as_is: list[str]
    missed: list[str]
    residue: list[str]
    parked: dict[str, str]
    waiting_for: str
    signals_left: list[SignalDescription] = []
    parent: str = ""
    children: dict[str, str] = {}
    held_up: bool = False
    version: int = 1
    leg: int = 1
    late: list[LateDescription] = []
    tags: dict[str, str] = {}
    waiting_since: float | None = None


class MissedStep(msgspec.Struct, frozen=True):
    """A best-effort step that failed in a run that completed; ``key`` is the run's, and continues a list."""

    key: int
    run: str
    workflow: str
    step: int
    name: str
    attempts: int
    failed_at: float | None
    failure: Failure | None


class HistoryItem(msgspec.Struct, frozen=True):
    """One event of the journal: its entry, time, the worker's epoch, what it is, and its fields."""

    entry: int
    at: float
    epoch: int
    event: str
    fields: dict[str, Any]


BEGINNINGS = (
    journal.StepScheduled,
    journal.ChildScheduled,
    journal.RollbackRegistered,
    journal.CompensationScheduled,
)
SETTLEMENTS = (
    journal.StepCompleted,
    journal.StepFailed,
    journal.ChildFailed,
    journal.StepSkipped,
    journal.CompensationCompleted,
    journal.CompensationSkipped,
    journal.MissedStepRetried,
)


def describe(entries: Sequence[journal.Entry], known: Known = NOTHING_KNOWN) -> Description:
    """Fold a journal, its last leg, into a description. ``known``: what else is known of what the run waits for.

    Raises:
        JournalCorrupt: an event cannot follow the ones before it.
    """
    run = folded(entries)
    times = _times(entries)
    return Description(
        id=run.id,
        workflow=run.workflow,
        status=run.status,
        input=_plain(run.input),
        result=_plain(run.result),
        failure=run.failure,
        failed_step=run.failed_step,
        started_at=run.started_at,
        ended_at=run.ended_at,
        steps=[_step(record, *times[record.number]) for record in run.steps.values()],
        undone=run.undone,
        left_as_is=run.left_as_is,
        missed=run.missed,
        residue=run.residue if run.status_ is not None else [],
        parked={
            run.steps[number].name if number else "code": reason for number, (reason, _) in run.parked.items()
        },
        waiting_for=waiting_for(run, {number: at for number, (at, _) in times.items()}, known),
        waiting_since=None if run.status_ is not None else _waiting_since(run),
        signals_left=_signals_left(entries, run.signals_left),
        parent=run.parent,
        version=run.version,
        leg=run.leg,
        late=_late(entries, run),
        tags=run.tags,
    )


def _waiting_since(run: RunState) -> float:
    if run.paused is not None:
        return run.paused[1]
    return min((since for _, since in run.parked.values()), default=run.clock)


def leg_entries(entries: Iterable[journal.Entry]) -> list[int]:
    """The numbers of the entries with which the run went on as new, 0 before them for its beginning."""
    continuing = (
        number
        for number, entry in enumerate(entries, start=1)
        if any(isinstance(event, journal.RunContinued) for event in entry.events)
    )
    return [0, *continuing]


def flatten(entries: Iterable[journal.Entry], after: int = 0) -> list[HistoryItem]:
    """Every event of a journal, in order; the first entry is the one after that number."""
    return [
        HistoryItem(number, entry.at, entry.epoch, type(event).__name__, _fields(event))
        for number, entry in enumerate(entries, start=after + 1)
        for event in entry.events
    ]


def _fields(event: journal.AnyEvent) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    del fields["event"]
    return fields


def _times(entries: Iterable[journal.Entry]) -> dict[int, tuple[float, float | None]]:
    """When each step, or its compensation, began and was settled."""
    times: dict[int, tuple[float, float | None]] = {}
    for entry in entries:
        for event in entry.events:
            if isinstance(event, BEGINNINGS):
                times[event.step] = entry.at, None
            elif isinstance(event, SETTLEMENTS) or (
                isinstance(event, journal.ProbeAnswered) and event.then == "complete"
            ):
                times[event.step] = times[event.step][0], entry.at
    return times


def _late(entries: Iterable[journal.Entry], run: RunState) -> list[LateDescription]:
    """The attempts that were given up on and went on."""
    if run.late is None:
        return []
    found: dict[tuple[int, int, bool], LateDescription] = {}
    undoing: set[int] = set()
    for entry in entries:
        for event in entry.events:
            if isinstance(event, journal.CompensationScheduled):
                undoing.add(event.step)
            elif isinstance(event, journal.AttemptFailed) and event.running:
                step, attempt, undo = event.step, event.attempt, event.step in undoing
                name = run.steps[step].name
                found[step, attempt, undo] = LateDescription(step, name, attempt, "running", entry.at, undo)
            elif isinstance(event, journal.AttemptEndedLate) and event.step in run.steps:
                found[event.step, event.attempt, event.undo] = _ended_late(event, run, entry.at)
    return list(found.values())


def _ended_late(event: journal.AttemptEndedLate, run: RunState, at: float) -> LateDescription:
    outcome = "done" if event.failure is None else "unknown" if event.unknown else "not done"
    name, result = run.steps[event.step].name, _plain(event.result)
    return LateDescription(event.step, name, event.attempt, outcome, at, event.undo, result, event.failure)


def _signals_left(entries: Iterable[journal.Entry], numbers: Sequence[int]) -> list[SignalDescription]:
    if not numbers:
        return []
    return [
        SignalDescription(signal.number, signal.name, _plain(signal.payload), at)
        for number, (signal, at) in sorted(_signals(entries).items())
        if number in numbers
    ]


def _signals(entries: Iterable[journal.Entry]) -> dict[int, tuple[journal.SignalReceived, float]]:
    """The signals by number, and when each came; those of an earlier leg as of when that was over."""
    found: dict[int, tuple[journal.SignalReceived, float]] = {}
    for entry in entries:
        for event in entry.events:
            if isinstance(event, journal.SignalReceived):
                found[event.number] = event, entry.at
            elif isinstance(event, journal.RunContinued):
                for signal in event.unread:
                    found.setdefault(signal.number, (signal, entry.at))
    return found


def _step(record: StepRecord, began_at: float, settled_at: float | None) -> StepDescription:
    if record.in_flight:
        outcome = "unknown" if record.unknown else ""
    elif record.result is not None:
        outcome = "done"
    else:
        outcome = "unknown" if record.unknown else "not done"
    return StepDescription(
        number=record.number,
        name=record.name,
        state=record.state,
        outcome=outcome,
        attempts=record.attempts,
        critical=record.critical,
        undoable=record.undoable,
        arguments=_plain(record.arguments),
        began_at=began_at,
        settled_at=settled_at,
        result=_plain(record.result),
        failure=record.failure,
        next_attempt_at=record.retry_at if record.state in (OPEN, UNDOING) and record.retry_at else None,
        child=record.child,
    )


def _plain(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)
