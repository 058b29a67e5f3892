"""A run's journal, read without the engine: what was intended, settled and undone, each with the ticket of its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults.evidence import Committed, Dumped

if TYPE_CHECKING:
    from tests.faults.sagas import Terms


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    run_id: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} · run {self.run_id}: {self.message}"


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of the journal: the commit that made it durable (0: none did), and when that was."""

    ticket: int
    durable_at: float
    event: dict[str, Any]


@dataclass(slots=True)
class StepStory:
    """One step as told by the journal. An intent is (ticket, not to be acted upon before)."""

    number: int
    name: str
    undoable: bool
    critical: bool
    intents: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: {"do": [], "undo": []})
    done: int = 0
    result: Any = None
    by_operator: bool = (
        False  # a person's word for the result or the undo: the participants know nothing of it
    )
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    unknown: bool = False
    held: bool = False  # its next attempt may not begin before it is released
    undo_scheduled: int = 0
    undone: int = 0
    undo_skipped: int = 0
    child: str = ""  # the id of the run that it is
    child_ended: str = ""  # as its parent was told
    left_open: list[str] = field(default_factory=list)  # of that run
    arrived: list[int] = field(default_factory=list)
    heartbeats: dict[str, list[tuple[int, Any]]] = field(default_factory=lambda: {"do": [], "undo": []})
    given_up: set[int] = field(default_factory=set)  # attempts that went on, and are not known to have ended
    given_up_before: set[int] = field(default_factory=set)  # all of them
    late_results: list[Any] = field(default_factory=list)
    undo_due: int = 0  # once more, since then
    rounds: int = 0  # how often it was undone again
    registered: bool = False  # to be undone without having been done: on_rollback
    saga: int = 0  # the nested saga that was rolled back with it

    @property
    def settled(self) -> int:
        return self.done or self.failed or self.skipped

    @property
    def may_stand(self) -> bool:
        """Whether, as far as the journal knows, its effect was or may have been there before any undo."""
        return bool(self.done) or self.unknown

    @property
    def abandoned(self) -> bool:
        """Whether the workflow went on without its result."""
        return bool(self.failed or self.skipped or self.cancelled)


ABOUT_A_STEP = frozenset(
    (
        *("StepCompleted", "AttemptFailed", "ProbeAnswered", "StepFailed", "StepSkipped", "StepCancelled"),
        *("ChildFailed", "StepPending", "CompletionArrived", "AttemptEndedLate"),
        *("AttemptHeld", "AttemptReleased"),
        *("CompensationScheduled", "CompensationCompleted", "CompensationSkipped"),
    )
)
ENDINGS = ("RunCompleted", "RunFailed", "RunCompensated", "RunCancelled", "RunTerminated")


class Story:
    """A fold over a run's journal; what cannot be is a violation."""

    def __init__(
        self,
        dumped: Dumped,
        commits: dict[int, Committed],
        terms: Terms,
    ) -> None:
        self.run_id = dumped.run_id
        self.status = dumped.status
        self.ended_at = dumped.ended_at
        self.terms = terms
        self.steps: dict[str, StepStory] = {}
        self.by_number: dict[int, StepStory] = {}
        self.lines: dict[tuple[str, int, int], list[StepStory]] = {}  # what is undone one by one
        self.leg_ends: list[int] = []  # the last step of each leg that is over
        self.sagas_rolled_back: set[int] = set()
        self.terminated = ""
        self.termination_asked = 0
        self.kept = 0  # an operator's rollback leaves the steps up to this number as they are
        self.signals: list[Fact] = []
        self.signals_left: list[int] = []
        self.timers: dict[int, tuple[float, str]] = {}
        self.parked: set[int] = set()
        self.patches: set[str] = set()
        self.ending: Fact | None = None
        self.endings: list[Fact] = []
        self.asked: dict[str, Fact] = {}
        self.answered: dict[str, Fact] = {}
        self.shown: list[Fact] = []
        self.rollback = 0
        self.parent: tuple[str, int] | None = None
        self.began = 0
        self.completed = 0
        self.undo_requested = 0
        self.cancel_requested = 0
        self.seen: set[str] = set()
        self.violations: list[Violation] = []
        for number, data, _ in dumped.entries:
            commit = commits.get(number)
            entry = msgspec.json.decode(data)
            ticket, durable_at = (commit.ticket, commit.at) if commit else (0, 0.0)
            for event in entry["events"]:
                self._take(Fact(ticket, durable_at, event))

    def violated(self, invariant: str, message: str) -> None:
        self.violations.append(Violation(invariant, self.run_id, message))

    def _take(self, fact: Fact) -> None:
        kind = fact.event["event"]
        if kind == "UndoRequested":
            self._undo_requested(fact)
            return
        if self.ending is not None and kind != "AttemptEndedLate":
            self.violated("I3", f"{kind} is recorded after the ending")
        if kind in ENDINGS:
            self.ending = fact
            self.endings.append(fact)
            before = self.endings[0].event["event"]
            if kind not in (before, "RunTerminated") and not self.undo_requested:
                self.violated("I3", f"it ended {before}, and then {kind}")
            self.completed = self.completed or (fact.ticket if kind == "RunCompleted" else 0)
        else:
            step = self.by_number.get(fact.event.get("step", -1))
            if step is None and kind in ABOUT_A_STEP:
                self.violated("I9", f"{kind} is about a step that was never scheduled")
            else:
                TAKES[kind](self, fact, step)
        self.seen.add(kind)

    # ---- steps -------------------------------------------------------------------------------------------------------

    def _run_started(self, fact: Fact, _: StepStory | None) -> None:
        if self.seen:
            self.violated("I9", "the run starts twice")
        self.began = fact.ticket
        if fact.event.get("parent"):
            self.parent = fact.event["parent"], fact.event["parent_step"]

    def _step_scheduled(self, fact: Fact, _: StepStory | None) -> None:
        event = fact.event
        step = StepStory(
            event["step"], event["name"], event.get("undoable", False), event.get("critical", True)
        )
        if step.number != len(self.by_number) + 1 or step.name in self.steps:
            self.violated("I3", f"step {step.number} ({step.name}) is scheduled twice or out of order")
        self.steps[step.name] = self.by_number[step.number] = step
        step.intents["do"].append((fact.ticket, event.get("due", 0.0)))
        if self.rollback:
            self.violated("I2", f"step {step.name} is scheduled in the rollback")

    def _child_scheduled(self, fact: Fact, _: StepStory | None) -> None:
        event = fact.event
        self._step_scheduled(Fact(fact.ticket, fact.durable_at, event | {"undoable": True}), None)
        self.by_number[event["step"]].child = event["child"]

    def _child_failed(self, fact: Fact, step: StepStory) -> None:
        self._step_failed(fact, step)
        step.child_ended, step.left_open = fact.event["status"], fact.event.get("residue", [])

    def _undo_requested(self, fact: Fact) -> None:
        if self.ending is None or self.ending.event["event"] != "RunCompleted" or self.parent is None:
            self.violated("I2", "its undo is requested although it is no child that has completed")
        self.ending, self.rollback, self.undo_requested = None, fact.ticket, fact.ticket

    def _step_completed(self, fact: Fact, step: StepStory) -> None:
        if step.settled:
            self.violated("I3", f"a result of step {step.name} is recorded, but it was settled before")
        if fact.event["attempt"] in step.given_up_before and not fact.event.get("by"):
            self.violated("I3", f"a result of step {step.name} is of an attempt that was given up on")
        step.done, step.result, step.unknown = fact.ticket, fact.event.get("result"), False
        step.by_operator |= bool(fact.event.get("by"))
        self.parked.discard(step.number)

    def _attempt_failed(self, fact: Fact, step: StepStory) -> None:
        event = fact.event
        undoing = bool(step.undo_scheduled)
        if "heartbeat" in event:
            step.heartbeats["undo" if undoing else "do"].append((fact.ticket, event["heartbeat"]))
        if step.undone or (step.settled and not undoing):
            self.violated("I3", f"an attempt of step {step.name} ends after what it was for was recorded")
        if not undoing:
            step.unknown |= event.get("unknown", False)
            certain = step.name in self.terms.transactions
            if event.get("lost") and step.held:
                self.violated("I2", f"an attempt of step {step.name} that was held is recorded as lost")
            if event.get("lost") and bool(event.get("unknown")) is certain:
                recorded = "is" if certain else "is not"
                self.violated("I2", f"a lost attempt of step {step.name} {recorded} recorded as unknown")
            if event.get("running"):
                step.given_up.add(event["attempt"])
                step.given_up_before.add(event["attempt"])
        if event["then"] == "retry" and event.get("held"):
            step.held = True
        elif event["then"] == "retry":
            step.intents["undo" if undoing else "do"].append((fact.ticket, event.get("retry_at", 0.0)))

    def _attempt_ended_late(self, fact: Fact, step: StepStory) -> None:
        event = fact.event
        if event.get("undo"):
            return
        if event["attempt"] not in step.given_up:
            self.violated("I9", f"an attempt of step {step.name} ends late that was not given up on")
        step.given_up.discard(event["attempt"])
        if event.get("failure") is not None and not event.get("unknown"):
            return
        step.late_results.append(event.get("result"))
        at_once = self.terminated == "at once" and self.ending is not None
        if step.undoable and step.undo_scheduled and not (step.undo_skipped or at_once):
            step.undo_due = fact.ticket
            self.ending = None

    def _attempt_held(self, fact: Fact, step: StepStory) -> None:
        if step.held:
            self.violated("I9", f"an attempt of step {step.name} is held that is held already")
        step.held = True
        step.intents["undo" if step.undo_scheduled else "do"].pop()  # until it is released

    def _attempt_released(self, fact: Fact, step: StepStory) -> None:
        if not step.held:
            self.violated("I9", f"an attempt of step {step.name} is released that is not held")
        step.held = False
        step.intents["undo" if step.undo_scheduled else "do"].append((fact.ticket, 0.0))

    def _step_pending(self, fact: Fact, step: StepStory) -> None:
        if step.settled:
            self.violated("I3", f"step {step.name} is pending after it was settled")

    def _completion_arrived(self, fact: Fact, step: StepStory) -> None:
        if step.settled:
            self.violated("I3", f"a completion of step {step.name} is accepted after it was settled")
        if not fact.event.get("by"):
            self.violated("I9", "a completion is recorded without who sent it")
        step.arrived.append(fact.ticket)

    def _probe_answered(self, fact: Fact, step: StepStory) -> None:
        event = fact.event
        if step.settled:
            self.violated("I3", f"step {step.name} is probed after it was settled")
        if event["outcome"] == "done" or (event["outcome"] == "not done" and not step.given_up_before):
            step.unknown = False
        if event["outcome"] == "done":
            step.done, step.result = fact.ticket, event.get("result")
        if event["then"] == "retry":
            step.intents["do"].append((fact.ticket, event.get("retry_at", 0.0)))

    def _step_failed(self, fact: Fact, step: StepStory) -> None:
        if step.settled:
            self.violated("I3", f"step {step.name} fails after it was settled")
        if step.unknown and not fact.event.get("unknown"):
            self.violated("I2", f"step {step.name} fails as if its unknown outcome had been settled")
        step.failed = fact.ticket
        self.parked.discard(step.number)

    def _step_skipped(self, fact: Fact, step: StepStory) -> None:
        step.skipped = fact.ticket
        self.parked.discard(step.number)

    def _step_cancelled(self, fact: Fact, step: StepStory) -> None:
        step.cancelled = fact.ticket

    # ---- timers ------------------------------------------------------------------------------------------------------

    def _timer_started(self, fact: Fact, _: None) -> None:
        self.timers[fact.event["timer"]] = (fact.event["due"], "waits")

    def _timer_fired(self, fact: Fact, _: None) -> None:
        timer = fact.event["timer"]
        due, state = self.timers.get(timer, (0.0, "never started"))
        if state != "waits":
            self.violated("I7", f"timer {timer} fires, but it {state}")
        if fact.ticket and fact.durable_at < due:
            self.violated("I7", f"timer {timer} fires {due - fact.durable_at:g} s early")
        self.timers[timer] = (due, "has fired")

    def _timer_cancelled(self, fact: Fact, _: None) -> None:
        timer = fact.event["timer"]
        self.timers[timer] = (self.timers[timer][0], "was cancelled")

    # ---- updates and views -------------------------------------------------------------------------------------------

    def _update_accepted(self, fact: Fact, _: None) -> None:
        update = fact.event["update"]
        if update in self.asked:
            self.violated("I7", f"update {update} is accepted twice")
        if not fact.event.get("by"):
            self.violated("I9", "an update is recorded without who asked")
        self.asked[update] = fact

    def _update_answered(self, fact: Fact, _: None) -> None:
        update = fact.event["update"]
        if update not in self.asked or update in self.answered:
            self.violated("I7", f"update {update} is answered twice, or was never accepted")
        self.answered.setdefault(update, fact)

    def _view_updated(self, fact: Fact, _: None) -> None:
        self.shown.append(fact)

    # ---- changed code ------------------------------------------------------------------------------------------------

    def _run_continued(self, fact: Fact, _: None) -> None:
        for step in self.steps.values():
            if not step.settled:
                self.violated("I3", f"the run goes on as new while step {step.name} is open")
            if step.undoable and step.may_stand and not (step.undone or step.undo_skipped):
                self.violated("I2", f"the run goes on as new and forgets to undo step {step.name}")
        for timer, (_due, state) in self.timers.items():
            if state == "waits":
                self.violated("I7", f"the run goes on as new and forgets timer {timer}")
        if fact.event["started"]["id"] != self.run_id or fact.event.get("steps", 0) != len(self.by_number):
            self.violated("I9", "the run goes on as new as another run, or counts its steps wrongly")
        self.leg_ends.append(len(self.by_number))

    def _patched(self, fact: Fact, _: None) -> None:
        change = fact.event["id"]
        if change in self.patches:
            self.violated("I8", f"change {change} is taken twice")
        self.patches.add(change)

    # ---- signals -----------------------------------------------------------------------------------------------------

    def _signal_received(self, fact: Fact, _: None) -> None:
        self.signals.append(fact)

    def _signals_awaited(self, fact: Fact, _: None) -> None:
        if self.rollback:
            self.violated("I2", f"signals {fact.event.get('names')} are waited for in the rollback")

    def _signals_left(self, fact: Fact, _: None) -> None:
        if self.signals_left:
            self.violated("I7", "signals are left twice")
        self.signals_left = fact.event["signals"]

    # ---- the rollback ------------------------------------------------------------------------------------------------

    def _cancel_requested(self, fact: Fact, _: None) -> None:
        self.cancel_requested = self.cancel_requested or fact.ticket
        if not fact.event.get("by"):
            self.violated("I9", "a cancellation is recorded without who asked for it")

    def _rollback_started(self, fact: Fact, _: None) -> None:
        event = fact.event
        self.rollback = fact.ticket
        error = event.get("failure", {}).get("type", "")
        if event.get("cancelled"):
            caused = bool(self.cancel_requested)
        elif event.get("step"):
            blamed = self.steps.get(event["step"])
            caused = blamed is not None and bool(blamed.failed)
        elif error == "TimeoutError":
            caused = "TimerFired" in self.seen
        elif error == "Terminated":
            caused = bool(self.terminated)
        else:
            caused = "StepFailed" in self.seen or error in self.terms.own_errors
        if not caused:
            self.violated(
                "I2", f"a rollback starts without a recorded fault or cancellation ({error or 'no cause'})"
            )
        self._only_before_the_pivot("a rollback starts")
        for line in self.lines.values():
            if is_open(line[-1]):
                self.violated("I2", f"a rollback starts while the undo of {line[-1].name} is open")

    def _only_before_the_pivot(self, what: str) -> None:
        behind = self.steps.get(self.terms.behind_pivot)
        if behind is not None:
            self.violated("I2", f"{what} behind the point of no return: {behind.name} was scheduled")

    def _rollback_registered(self, fact: Fact, _: StepStory | None) -> None:
        self._step_scheduled(Fact(fact.ticket, fact.durable_at, fact.event | {"undoable": True}), None)
        step = self.by_number[fact.event["step"]]
        step.registered, step.done = True, fact.ticket

    def _pivoted(self, fact: Fact, _: StepStory | None) -> None:
        if self.cancel_requested or self.rollback:
            self.violated("I2", "it passes its point of no return although it is to be rolled back")

    def _saga_rollback_started(self, fact: Fact, _: StepStory | None) -> None:
        number = fact.event["saga"]
        self.sagas_rolled_back.add(number)
        named = [self.by_number[step] for step in fact.event["steps"]]
        inside = [self.steps[name] for name in self.terms.inside.get(number, ()) if name in self.steps]
        self._only_before_the_pivot(f"saga {number} is rolled back")
        for step in named:
            if step not in inside:
                self.violated("I2", f"saga {number} is to undo {step.name}, which happened outside")
            step.saga = number
        for step in inside:
            if not step.settled:
                self.violated("I2", f"saga {number} is rolled back while {step.name} is open")
            elif step.undoable and step.may_stand and not (step.undone or step in named):
                self.violated("I1", f"saga {number} is rolled back without {step.name}")
        if not self.seen & {"StepFailed", "TimerFired", "StepCancelled"}:
            self.violated("I2", f"saga {number} is rolled back without a recorded fault")

    def _compensation_scheduled(self, fact: Fact, step: StepStory) -> None:
        if step.undo_due:
            if not step.undone:
                self.violated("I2", f"step {step.name} is undone again while it is being undone")
            step.undo_due, step.undone, step.rounds = 0, 0, step.rounds + 1
            step.undo_scheduled = fact.ticket
            step.heartbeats["undo"].append((fact.ticket, None))
            step.intents["undo"].append((fact.ticket, event_due(fact)))
            return
        if step.undo_scheduled:
            self.violated("I2", f"the compensation of step {step.name} is scheduled twice")
        line = self.lines.setdefault(line_of(self, step), [])
        if line:
            last = line[-1]
            if last.number <= step.number:
                self.violated(
                    "I2", f"step {step.name} is undone after {last.name}, which was scheduled before it"
                )
            if is_open(last):
                self.violated("I2", f"step {step.name} is to be undone while the undo of {last.name} is open")
        if not step.may_stand:
            self.violated("I2", f"step {step.name} is to be undone although it was not done")
        if not (self.rollback or step.saga or (step.abandoned and step.may_stand)):
            self.violated("I2", f"step {step.name} is to be undone without a recorded fault or cancellation")
        step.undo_scheduled, step.held = fact.ticket, False
        step.intents["undo"].append((fact.ticket, fact.event.get("due", 0.0)))
        line.append(step)

    def _compensation_completed(self, fact: Fact, step: StepStory) -> None:
        if step.undone or not step.undo_scheduled:
            self.violated(
                "I2", f"the compensation of step {step.name} completes twice, or was never scheduled"
            )
        step.undone = fact.ticket
        step.by_operator |= bool(fact.event.get("by"))
        self.parked.discard(step.number)

    def _compensation_skipped(self, fact: Fact, step: StepStory) -> None:
        step.undo_skipped, step.left_open = fact.ticket, fact.event.get("residue", [])
        step.undo_due = 0
        self.parked.discard(step.number)

    # ---- operators ---------------------------------------------------------------------------------------------------

    def _run_parked(self, fact: Fact, _: StepStory | None) -> None:
        number = fact.event["step"]
        if number == 0:
            self.violated("I8", f"the replay decides otherwise: {fact.event['reason']}")
        self.parked.add(number)

    def _operator_acted(self, fact: Fact, step: StepStory | None) -> None:
        if not fact.event.get("by"):
            self.violated("I9", "an operator's action is recorded without who acted")
        if fact.event["action"] == "retry" and step is not None:
            step.intents["undo" if step.undo_scheduled else "do"].append((fact.ticket, 0.0))
            self.parked.discard(step.number)
        if fact.event["action"] == "terminate":
            self.terminated = "after undoing" if fact.event.get("compensate") else "at once"
            self.kept = fact.event.get("step", 0)
            self.termination_asked = self.termination_asked or fact.ticket
            if self.terminated == "at once":
                self.parked.clear()


def event_due(fact: Fact) -> float:
    """Not before when it is to be acted upon."""
    return float(fact.event.get("due", 0.0))


def is_open(step: StepStory) -> bool:
    """Whether it is being undone."""
    return bool(step.undo_scheduled) and not (step.undone or step.undo_skipped)


def line_of(story: Story, step: StepStory) -> tuple[str, int, int]:
    """With which other steps it is undone one by one: those of its leg, and there of its saga's rollback, of the run's,
    or, where a workflow that had returned left something to make good, of what was begun before a cancellation rolled
    the run back.
    """
    leg = sum(last < step.number for last in story.leg_ends)
    if step.saga:
        return "saga", step.saga, leg
    return "run", 0 if 0 < step.undo_scheduled < story.rollback else story.rollback, leg


TAKES: dict[str, Callable[[Story, Fact, Any], None]] = {
    "RunStarted": Story._run_started,
    "StepScheduled": Story._step_scheduled,
    "ChildScheduled": Story._child_scheduled,
    "ChildFailed": Story._child_failed,
    "StepCompleted": Story._step_completed,
    "AttemptFailed": Story._attempt_failed,
    "AttemptEndedLate": Story._attempt_ended_late,
    "AttemptHeld": Story._attempt_held,
    "AttemptReleased": Story._attempt_released,
    "StepPending": Story._step_pending,
    "CompletionArrived": Story._completion_arrived,
    "ProbeAnswered": Story._probe_answered,
    "StepFailed": Story._step_failed,
    "StepSkipped": Story._step_skipped,
    "StepCancelled": Story._step_cancelled,
    "TimerStarted": Story._timer_started,
    "TimerFired": Story._timer_fired,
    "TimerCancelled": Story._timer_cancelled,
    "UpdateAccepted": Story._update_accepted,
    "UpdateAnswered": Story._update_answered,
    "ViewUpdated": Story._view_updated,
    "Patched": Story._patched,
    "RunContinued": Story._run_continued,
    "SignalReceived": Story._signal_received,
    "SignalsAwaited": Story._signals_awaited,
    "SignalsLeft": Story._signals_left,
    "CancelRequested": Story._cancel_requested,
    "RollbackRegistered": Story._rollback_registered,
    "Pivoted": Story._pivoted,
    "SagaRollbackStarted": Story._saga_rollback_started,
    "RollbackStarted": Story._rollback_started,
    "CompensationScheduled": Story._compensation_scheduled,
    "CompensationCompleted": Story._compensation_completed,
    "CompensationSkipped": Story._compensation_skipped,
    "RunParked": Story._run_parked,
    "OperatorActed": Story._operator_acted,
}
