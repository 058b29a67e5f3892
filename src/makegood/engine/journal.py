"""The journal's vocabulary: a closed union of events, and the entry that holds them.

An *entry* is everything that one run wants to write in one commit: facts from outside, each followed by the decisions
that the run drew from it. Facts are replayed; decisions are compared with what the code decides now (``execution``).
A decision becomes a command by being durable: the worker carries out an entry's events after its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

from makegood.definition.payload import NULL
from makegood.failure import Failure


class Event(msgspec.Struct, tag=True, tag_field="event", omit_defaults=True, frozen=True, gc=False):
    """Something that happened to a run. Names are in the past tense; times are seconds since 1970, UTC."""


# ---- facts -----------------------------------------------------------------------------------------------------------


class RunStarted(Event, frozen=True):
    """``parent``: the run whose step ``parent_step`` this one is; ``version``: of the workflow's code.

    ``forks``: what the steps up to these numbers did, after those of the one before, was done by these runs; ``by`` and
    ``why``: who forked it. ``deadline``: when the workflow's time is over (0: never), of all legs together.
    ``tags``: what it is found by.
    """

    id: str
    workflow: str
    input: msgspec.Raw
    parent: str = ""
    parent_step: int = 0
    version: int = 1
    forks: Sequence[tuple[str, int]] = ()
    by: str = ""
    why: str = ""
    deadline: float = 0.0
    tags: dict[str, str] = {}


class StepCompleted(Event, frozen=True):
    """The step took effect and this is its result; ``by`` names the operator who said so, if one did."""

    step: int
    attempt: int
    result: msgspec.Raw
    by: str = ""


class AttemptFailed(Event, frozen=True):
    """An attempt of a step (or of its compensation, if that is under way) ended without a result.

    ``unknown``: nobody knows whether it took effect. ``lost``: the process died; does not count against the retries.
    ``fatal``: trying again is pointless. ``running``: it was given up on and could not be stopped; it may still take
    effect (``AttemptEndedLate``). ``heartbeat``: the last details that it reported, for the next attempt. ``held``: what the
    step depends on does not answer, and holds the next attempt (see ``AttemptHeld``); does not count against the retries.
    """

    step: int
    attempt: int
    failure: Failure
    then: Literal["retry", "probe", "give up"]
    unknown: bool = False
    lost: bool = False
    fatal: bool = False
    retry_at: float = 0.0
    running: bool = False
    heartbeat: msgspec.Raw = NULL
    held: str = ""


class AttemptEndedLate(Event, frozen=True):
    """An attempt that was given up on has ended after all: with a ``result``, or a ``failure``. Never the step's result.

    ``unknown``: the failure does not tell whether it took effect. ``undo``: it was one of the compensation.
    """

    step: int
    attempt: int
    result: msgspec.Raw = NULL
    failure: Failure | None = None
    unknown: bool = False
    undo: bool = False


class AttemptHeld(Event, frozen=True):
    """The next attempt has not begun, and does not before ``AttemptReleased``: ``gate`` (a breaker, a limit) holds it."""

    step: int
    gate: str


class AttemptReleased(Event, frozen=True):
    """An attempt that was held may begin."""

    step: int


class StepPending(Event, frozen=True):
    """The attempt's function has ended; somebody outside is going to complete it, until ``due`` (0: whenever)."""

    step: int
    attempt: int
    due: float = 0.0


class CompletionArrived(Event, frozen=True):
    """Somebody outside says that the step is done, with this result; or that this attempt of it failed."""

    step: int
    attempt: int
    by: str
    result: msgspec.Raw = NULL
    failure: Failure | None = None
    fatal: bool = False


class ProbeAnswered(Event, frozen=True):
    """The probe settled an unknown outcome, or could not."""

    step: int
    outcome: Literal["done", "not done", "unknown"]
    then: Literal["complete", "retry", "give up"]
    result: msgspec.Raw = NULL
    failure: Failure | None = None
    retry_at: float = 0.0


class StepFailed(Event, frozen=True):
    """The step gave up; ``unknown`` if it may have taken effect all the same."""

    step: int
    unknown: bool = False


class StepSkipped(Event, frozen=True):
    """An operator let the run go on without the step: its call returns None."""

    step: int


class TimerFired(Event, frozen=True):
    timer: int


class CompensationCompleted(Event, frozen=True):
    step: int
    attempt: int
    by: str = ""


class CompensationSkipped(Event, frozen=True):
    """An operator left the step's effect open: residue; ``residue`` names what of a child run was left open."""

    step: int
    residue: list[str] = []


class ChildFailed(Event, frozen=True):
    """A child run ended otherwise than COMPLETED: as ``status`` says, or "" if it could not be started.

    ``residue``: the steps that it left open.
    """

    step: int
    status: str
    failure: Failure
    residue: list[str] = []


class MissedStepRetried(Event, frozen=True):  # see ``engine.missed``
    step: int
    attempt: int
    by: str
    why: str = ""
    result: msgspec.Raw = NULL
    failure: Failure | None = None
    unknown: bool = False


class UndoRequested(Event, frozen=True):
    """The parent is rolled back: this run, although COMPLETED, is to be undone."""

    by: str


class RunParked(Event, frozen=True):
    """The run waits for an operator; ``step`` 0 means that the code no longer fits the journal."""

    step: int
    reason: str


class OperatorActed(Event, frozen=True):
    """Who did what, and why; the effect follows as events of its own.

    ``terminate`` with ``compensate``: the steps after number ``step`` are undone. ``pause``: from here on the program is
    told nothing and nothing new begins, until ``unpause``, a cancellation or a termination. ``resume``: the code was
    corrected. ``arguments``: what a step is retried with instead of its own.
    """

    action: Literal["retry", "skip", "resolve", "resume", "terminate", "pause", "unpause"]
    by: str
    why: str = ""
    step: int = 0
    compensate: bool = False
    arguments: msgspec.Raw = NULL


class CancelRequested(Event, frozen=True):
    by: str
    why: str = ""


class SignalReceived(Event, frozen=True):
    """A signal was accepted, the run's ``number``-th; ``id`` tells it from a repetition, ``by`` says who sent it."""

    number: int
    name: str
    payload: msgspec.Raw = NULL
    id: str = ""
    by: str = ""


class UpdateAccepted(Event, frozen=True):
    """Somebody asked the workflow something, it passed the workflow's validator, and its handler takes it up."""

    update: str
    name: str
    value: msgspec.Raw
    by: str = ""


# ---- decisions -------------------------------------------------------------------------------------------------------


class StepScheduled(Event, frozen=True):
    """The intent to run a step. ``undoable``: it has a compensation; ``due``: not before this time (0: at once)."""

    step: int
    name: str
    arguments: msgspec.Raw
    undoable: bool = False
    critical: bool = True
    due: float = 0.0


class ChildScheduled(Event, frozen=True):
    """The intent to run a workflow as a child: a step whose only attempt is the run ``child``."""

    step: int
    child: str
    name: str
    arguments: msgspec.Raw


class StepCancelled(Event, frozen=True):
    """The workflow no longer waits for the step; its attempt under way is stopped."""

    step: int


class TimerStarted(Event, frozen=True):
    timer: int
    due: float


class TimerCancelled(Event, frozen=True):
    timer: int


class RollbackRegistered(Event, frozen=True):
    """Something to be done if the run, or the saga around it, is rolled back: a step that counts as done."""

    step: int
    name: str
    arguments: msgspec.Raw


class Pivoted(Event, frozen=True):
    """The point of no return: from here on nothing is rolled back."""


class SagaRollbackStarted(Event, frozen=True):
    """A nested saga failed: these of its steps are undone, in this order, and the run goes on."""

    saga: int
    steps: list[int]
    failure: Failure


class UpdateAnswered(Event, frozen=True):
    """The handler has replied; with a ``failure``, it raised instead. Nothing of it holds for the run itself."""

    update: str
    reply: msgspec.Raw = NULL
    failure: Failure | None = None


class ViewUpdated(Event, frozen=True):
    """The workflow published these fields of its view. Code that publishes otherwise today still fits the journal.

    ``steps_pending`` speaks of the steps after the number ``after``, and of those that were ``open``.
    """

    fields: dict[str, msgspec.Raw]
    after: int = 0
    open: list[int] = []


class SignalsAwaited(Event, frozen=True):
    """From here on the workflow waits for signals of these names; that it takes one follows from its coming."""

    names: list[str] = []


class SignalsLeft(Event, frozen=True):
    """The run is about to end without having received these signals, by their numbers."""

    signals: list[int]


class RunContinued(Event, frozen=True):
    """The run goes on as new: ``started`` tells how, with new input. Numbers of steps, timers and signals go on.

    ``at_once``: how many legs before this one, in a row, have waited for nothing. ``unread`` signals, the ids of the
    newest signals and the newest updates (``asked``, all answered), the view and the ``residue`` are carried over.
    """

    started: RunStarted
    started_at: float
    leg: int
    at_once: int = 0
    steps: int = 0
    timers: int = 0
    signals: int = 0
    unread: list[SignalReceived] = []
    signal_ids: list[str] = []
    asked: list[UpdateAccepted] = []
    view: dict[str, msgspec.Raw] = {}
    residue: list[str] = []


class Patched(Event, frozen=True):
    """The run takes the new branch of a change of its code, here and wherever it is asked again."""

    id: str


class RollbackStarted(Event, frozen=True):
    failure: Failure
    step: str = ""
    cancelled: bool = False


class CompensationScheduled(Event, frozen=True):
    """The intent to undo a step; ``due``: not before this time (0: at once)."""

    step: int
    due: float = 0.0


class RunCompleted(Event, frozen=True):
    result: msgspec.Raw


class RunFailed(Event, frozen=True):
    """Failed, and nothing was left done."""


class RunCompensated(Event, frozen=True):
    """Failed, and everything done was undone."""


class RunCancelled(Event, frozen=True):
    """Cancelled, and everything done was undone."""


class RunTerminated(Event, frozen=True):
    """Ended by an operator, leaving the effects of these steps open, or perhaps open."""

    residue: list[str]


Fact: TypeAlias = (
    RunStarted
    | StepCompleted
    | AttemptFailed
    | AttemptEndedLate
    | AttemptHeld
    | AttemptReleased
    | StepPending
    | CompletionArrived
    | ProbeAnswered
    | StepFailed
    | StepSkipped
    | TimerFired
    | CompensationCompleted
    | CompensationSkipped
    | ChildFailed
    | MissedStepRetried
    | UndoRequested
    | RunParked
    | OperatorActed
    | CancelRequested
    | SignalReceived
    | UpdateAccepted
)
Ending: TypeAlias = RunCompleted | RunFailed | RunCompensated | RunCancelled | RunTerminated
Decision: TypeAlias = (
    StepScheduled
    | ChildScheduled
    | StepCancelled
    | TimerStarted
    | TimerCancelled
    | Patched
    | RunContinued
    | RollbackRegistered
    | Pivoted
    | SagaRollbackStarted
    | UpdateAnswered
    | ViewUpdated
    | SignalsAwaited
    | SignalsLeft
    | RollbackStarted
    | CompensationScheduled
    | RunCompleted
    | RunFailed
    | RunCompensated
    | RunCancelled
    | RunTerminated
)
AnyEvent: TypeAlias = Fact | Decision

DECISIONS: frozenset[type[Event]] = frozenset(get_args(Decision))


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One commit of one run: ``at`` is the run's clock (seconds since 1970), ``epoch`` the writing worker's incarnation."""

    at: float
    epoch: int
    events: list[AnyEvent]
