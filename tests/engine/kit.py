"""Drives one run by hand, as its worker would, and tells in words what it recorded. No event loop, no I/O."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

import makegood as mg
from makegood.definition.payload import NULL
from makegood.engine import journal
from makegood.engine.coroutine import CoroutineProgram
from makegood.engine.execution import Execution
from makegood.engine.folds import folded
from makegood.engine.operator import Request
from makegood.engine.run import RunState, Status, StepRecord
from makegood.failure import Failure

START = 1_000_000.0

_entry_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(journal.Entry)


class Run:
    """One run. Every fact that it is told becomes one entry and is answered with that entry's events in words."""

    def __init__(
        self,
        workflow: mg.Workflow[..., Any],
        *args: Any,
        child_of: tuple[Run, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.workflow = workflow
        self.entries: list[journal.Entry] = []
        self.now = START
        self._facts: list[Callable[[Execution], object]] = []
        self._snapshots: list[dict[str, Any]] = []
        self.execution = fresh_execution(workflow)
        arguments = workflow.signature.encode_arguments(args, kwargs)
        if child_of is None:
            self.began = self.tell(lambda execution: execution.start("run-1", arguments, START))
        else:
            parent, step = child_of[0].state.id, child_of[0].step(child_of[1])
            self.began = self.tell(
                lambda execution: execution.start_child(step.child, arguments, parent, step.number, START)
            )

    # ---- what may happen to it -----------------------------------------------------------------------------------

    def tell(self, *facts: Callable[[Execution], object]) -> list[str]:
        """Facts that become one entry together."""

        def all_of_them(execution: Execution) -> None:
            for fact in facts:
                fact(execution)

        all_of_them(self.execution)
        if not self.execution.events:
            return []
        entry = sealed(self.execution)
        self.entries.append(entry)
        self._facts.append(all_of_them)
        self._snapshots.append(snapshot(self.execution.state))
        return in_words(entry, names_in(self.entries))

    def completing(self, step: str, result: Any = None) -> Callable[[Execution], object]:
        number, attempt, at = self.number(step), self.step(step).attempts + 1, self.now
        raw = self.execution.program.steps[number].signature.encode_result(result)
        return lambda execution: execution.step_completed(number, attempt, raw, at)

    def complete(self, step: str, result: Any = None) -> list[str]:
        return self.tell(self.completing(step, result))

    def failing(
        self,
        step: str,
        message: str = "no",
        *,
        unknown: bool = False,
        fatal: bool = False,
        lost: bool = False,
        running: bool = False,
        heartbeat: Any = None,
        held: str = "",
        dice: float = 0.5,
    ) -> Callable[[Execution], object]:
        number, attempt, at = self.number(step), self.step(step).attempts + 1, self.now
        failure = mg.Failure("shop.Refused", message)
        details = NULL if heartbeat is None else msgspec.Raw(msgspec.json.encode(heartbeat))
        return lambda execution: execution.attempt_failed(
            number,
            attempt,
            failure,
            at,
            dice,
            unknown=unknown,
            fatal=fatal,
            lost=lost,
            running=running,
            heartbeat=details,
            held=held,
        )

    def fail(self, step: str, message: str = "no", **how: Any) -> list[str]:
        """An attempt of the step, or of its compensation if that is under way, fails."""
        return self.tell(self.failing(step, message, **how))

    def fail_for_good(self, step: str, message: str = "no", *, unknown: bool = False) -> list[str]:
        return self.fail(step, message, unknown=unknown, fatal=True)

    def give_up_on(self, step: str, **how: Any) -> list[str]:
        """The time of an attempt is over, and it cannot be stopped."""
        return self.fail(step, "too late", unknown=True, running=True, **how)

    def end_late(
        self, step: str, result: Any = "late", *, attempt: int = 1, undo: bool = False, **how: Any
    ) -> list[str]:
        """An attempt that was given up on ends: with a result, or as ``how`` says (failure, unknown)."""
        raw = NULL if "failure" in how else msgspec.Raw(msgspec.json.encode(result))
        number = str(self.number(step))
        return self.act(Request("late", "", step=number, result=raw, attempt=attempt, compensate=undo, **how))

    def stop(self, step: str) -> list[str]:
        """A cancelled step that had no attempt under way is over."""
        number, at = self.number(step), self.now
        return self.tell(lambda execution: execution.step_stopped(number, at))

    def cut_off(self, step: str) -> list[str]:
        """The attempt of a cancelled step is stopped under way: nobody knows what it did."""
        return self.fail(step, "no longer waited for", unknown=True)

    def hold(self, step: str, gate: str = "breaker payments") -> list[str]:
        """Something holds the step's next attempt, or its compensation's."""
        number, at = self.number(step), self.now
        return self.tell(lambda execution: execution.attempt_held(number, gate, at))

    def release(self, step: str) -> list[str]:
        """The attempt that was held may begin."""
        number, at = self.number(step), self.now
        return self.tell(lambda execution: execution.attempt_released(number, at))

    def pend(self, step: str, due: float = 0.0) -> list[str]:
        """The step returns ``mg.PENDING``."""
        number, attempt, at = self.number(step), self.step(step).attempts + 1, self.now
        return self.tell(lambda execution: execution.step_pending(number, attempt, due, at, 0.5))

    def complete_outside(self, step: str, result: Any = None, *, attempt: int = 1) -> list[str]:
        """Somebody outside completes an attempt of the step."""
        raw = msgspec.Raw(msgspec.json.encode(result))
        number = str(self.number(step))
        return self.act(Request("complete", "ann", step=number, result=raw, attempt=attempt))

    def fail_outside(self, step: str, *, attempt: int = 1, fatal: bool = False) -> list[str]:
        """Somebody outside says that an attempt of the step failed."""
        number, failure = str(self.number(step)), mg.Failure("CompletionFailed", "no")
        return self.act(Request("fail", "ann", "no", number, attempt=attempt, failure=failure, fatal=fatal))

    def probe_finds(self, step: str, result: Any) -> list[str]:
        number, at = self.number(step), self.now
        raw = self.execution.program.steps[number].signature.encode_result(result)
        return self.tell(lambda execution: execution.probe_found(number, raw, at))

    def probe_finds_nothing(self, step: str, *, cannot_tell: bool = False) -> list[str]:
        number, at = self.number(step), self.now
        failure = mg.Failure("shop.Down", "cannot tell") if cannot_tell else None
        return self.tell(lambda execution: execution.probe_found_nothing(number, at, 0.5, failure))

    def undo(self, step: str) -> list[str]:
        """The step's compensation succeeds."""
        number, attempt, at = self.number(step), self.step(step).attempts + 1, self.now
        return self.tell(lambda execution: execution.compensation_completed(number, attempt, at))

    def fire(self, timer: int = 0) -> list[str]:
        """The given timer, or the next one, comes due."""
        timers = self.state.timers
        chosen = timer or min(timers, key=lambda number: (timers[number], number))
        self.now = max(self.now, timers[chosen])
        at = self.now
        return self.tell(lambda execution: execution.timer_fired(chosen, at))

    def cancel(self, why: str = "changed my mind") -> list[str]:
        return self.act(Request("cancel", "ann", why))

    def child_ends(self, child: Run) -> list[str]:
        """This run's worker is told that a child of its has ended, or was undone."""
        step, at, ending = child.state.parent_step, self.now, copy.deepcopy(child.state)
        return self.tell(lambda execution: execution.child_ended(step, ending, at))

    def child_refused(self, step: str, message: str = "no") -> list[str]:
        """The child cannot be started."""
        number, at, failure = self.number(step), self.now, mg.Failure("makegood.RunConflict", message)
        return self.tell(lambda execution: execution.child_refused(number, failure, at))

    def undo_asked(self) -> list[str]:
        """The parent of this ended run is rolled back, and asks for the undo."""
        asked, at = journal.UndoRequested(self.state.parent), self.now
        return self.tell(lambda execution: execution._record(asked, at))

    def retry_missed(self, step: str, failure: Failure | None = None, result: Any = None) -> list[str]:
        """A best-effort step that failed is tried again, after the run has completed."""
        number, at = self.number(step), self.now
        outcome = msgspec.Raw(msgspec.json.encode(result)) if failure is None else NULL
        attempt = self.state.steps[number].attempts + 1
        fact = journal.MissedStepRetried(number, attempt, "ann", "", outcome, failure)
        return self.tell(lambda execution: execution._record(fact, at))

    def act(self, request: Request) -> list[str]:
        at = self.now
        return self.tell(lambda execution: execution.act(request, at))

    def signal(self, name: str, value: Any = None, *, id: str = "") -> list[str]:
        return self.act(signalling(name, value, id=id))

    def operate(self, action: Any, step: str = "", result: Any = None) -> list[str]:
        raw = msgspec.Raw(msgspec.json.encode(result))
        return self.act(Request(action, "ann", "because", step, raw))

    def crash(self) -> list[str]:
        """The worker dies with nothing in flight written, and another one recovers the run."""
        self.execution.program.close()  # or its coroutines would outlive the crash
        self.execution = replayed(self.workflow, self.entries)
        at = self.now
        return self.tell(lambda execution: execution.recover(at, 0.5))

    # ---- what can be seen of it ----------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        return self.execution.state

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def story(self) -> list[str]:
        """Every event so far, in words."""
        return [line for entry in self.entries for line in in_words(entry, names_in(self.entries))]

    @property
    def events(self) -> list[journal.AnyEvent]:
        return [event for entry in self.entries for event in entry.events]

    def number(self, step: str) -> int:
        """The latest step of this name."""
        return max(number for number, record in self.state.steps.items() if record.name == step)

    def step(self, step: str) -> StepRecord:
        return self.state.steps[self.number(step)]

    def wait_seconds(self, step: str) -> float:
        """The wait before the step's next attempt."""
        return self.step(step).retry_at - self.now

    # ---- the check that every scenario ends with -----------------------------------------------------------------

    def check_replay(self) -> None:
        """From every prefix of the journal, a replay gives the same state, and what follows the same entries."""
        for length in range(1, len(self.entries) + 1):
            execution = replayed(self.workflow, self.entries[:length])
            where = f"after replaying {length} of {len(self.entries)} entries"
            assert not execution.events, f"{where}: {sealed(execution).events}"
            assert snapshot(execution.state) == self._snapshots[length - 1], where
            assert folded_snapshot(self.entries[:length]) == self._snapshots[length - 1], (
                f"{where}, without code"
            )
            try:
                for fact, entry in zip(self._facts[length:], self.entries[length:], strict=True):
                    fact(execution)
                    assert sealed(execution) == entry, where
            finally:
                execution.program.close()
        self.execution.program.close()


def signalling(name: str, value: Any = None, *, id: str = "") -> Request:
    """The request that sends a signal."""
    return Request("signal", "", result=msgspec.Raw(msgspec.json.encode(value)), name=name, id=id)


def fresh_execution(workflow: mg.Workflow[..., Any]) -> Execution:
    return Execution(workflow, CoroutineProgram(workflow))


def replayed(workflow: mg.Workflow[..., Any], entries: list[journal.Entry]) -> Execution:
    execution = fresh_execution(workflow)
    try:
        execution.replay(entries)
    except Exception:
        execution.program.close()
        raise
    return execution


def sealed(execution: Execution) -> journal.Entry:
    """The next entry, after its way through the store."""
    return _entry_decoder.decode(_entry_encoder.encode(execution.seal(epoch=1)))


def snapshot(state: RunState) -> dict[str, Any]:
    """All that a state holds, as it is now."""
    now = {name: copy.copy(value) for name, value in msgspec.structs.asdict(state).items()}
    return now | {"steps": [copy.copy(record) for record in state.steps.values()]}


def folded_snapshot(entries: list[journal.Entry]) -> dict[str, Any]:
    """What the journal tells without any code."""
    return snapshot(folded(entries))


def names_in(entries: list[journal.Entry]) -> dict[int, str]:
    """The names of all steps by number."""
    named = (journal.StepScheduled, journal.ChildScheduled, journal.RollbackRegistered)
    return {event.step: event.name for entry in entries for event in entry.events if isinstance(event, named)}


def in_words(entry: journal.Entry, names: dict[int, str]) -> list[str]:
    return [_in_words(event, names) for event in entry.events]


def _in_words(event: journal.AnyEvent, names: dict[int, str]) -> str:  # noqa: C901, PLR0911, PLR0912 - one case for each event
    name = names[event.step] if isinstance(getattr(event, "step", ""), int) and event.step else ""
    match event:
        case journal.StepScheduled():
            return f"{name} scheduled"
        case journal.ChildScheduled():
            return f"{name} scheduled as {event.child}"
        case journal.ChildFailed():
            return f"{name} ended {event.status or 'before it began'}"
        case journal.UndoRequested():
            return f"{event.by}: undo"
        case journal.StepCompleted():
            return f"{name} done" + (f" by {event.by}" if event.by else "")
        case journal.AttemptFailed():
            marks = [mark for mark in ("unknown", "lost", "running", "held") if getattr(event, mark)]
            return f"{name} attempt {event.attempt} failed{''.join(f' ({mark})' for mark in marks)}: {event.then}"
        case journal.AttemptEndedLate():
            how = "done" if event.failure is None else "perhaps done" if event.unknown else "not done"
            return f"{'undo of ' if event.undo else ''}{name} attempt {event.attempt} ended late: {how}"
        case journal.MissedStepRetried():
            return f"{name} tried again: {'made good' if event.failure is None else 'still missed'}"
        case journal.AttemptHeld():
            return f"{name} held by {event.gate}"
        case journal.AttemptReleased():
            return f"{name} released"
        case journal.StepPending():
            return f"{name} pending" + (f" until {event.due - START:g}" if event.due else "")
        case journal.CompletionArrived():
            return f"{event.by}: {name} {'done' if event.failure is None else 'failed'}"
        case journal.ProbeAnswered():
            return f"{name} probed: {event.outcome}: {event.then}"
        case journal.StepFailed():
            return f"{name} failed" + (" (unknown)" if event.unknown else "")
        case journal.StepSkipped():
            return f"{name} skipped"
        case journal.StepCancelled():
            return f"{name} cancelled"
        case journal.TimerStarted():
            return f"timer {event.timer} started, due at {event.due - START:g}"
        case journal.TimerFired():
            return f"timer {event.timer} fired"
        case journal.TimerCancelled():
            return f"timer {event.timer} cancelled"
        case journal.SignalReceived():
            return f"signal {event.number}: {event.name} {bytes(event.payload).decode()}"
        case journal.SignalsAwaited():
            return f"waits for {', '.join(event.names) or 'no signal'}"
        case journal.SignalsLeft():
            return f"left: {', '.join(map(str, event.signals))}"
        case journal.RollbackRegistered():
            return f"{name} on rollback"
        case journal.SagaRollbackStarted():
            inside = ", ".join(names[number] for number in event.steps)
            return f"saga {event.saga} rolls back: {inside or 'nothing'}"
        case journal.RunContinued():
            return f"continued as leg {event.leg}"
        case journal.Patched():
            return f"patched: {event.id}"
        case journal.CompensationScheduled():
            return f"undo {name}"
        case journal.CompensationCompleted():
            return f"{name} undone" + (f" by {event.by}" if event.by else "")
        case journal.CompensationSkipped():
            return f"undo {name} skipped" + (f", open: {', '.join(event.residue)}" if event.residue else "")
        case journal.RunParked():
            return f"parked: {name or 'code'}"
        case journal.OperatorActed():
            what = f"{event.action} and compensate" if event.compensate else event.action
            return f"{event.by}: {what} {name}".rstrip()
        case journal.CancelRequested():
            return f"{event.by}: cancel"
        case journal.RollbackStarted():
            return "rollback" + (" (cancelled)" if event.cancelled else "")
        case journal.UpdateAccepted():
            return f"{event.by} asks {event.name}"
        case journal.UpdateAnswered():
            failed = "" if event.failure is None else f" with {event.failure.type.rpartition('.')[2]}"
            return f"answered {event.update}{failed}"
        case journal.ViewUpdated():
            return f"shows {', '.join(event.fields)}"
        case journal.RunTerminated():
            return f"TERMINATED, open: {', '.join(event.residue)}"
        case _:
            return type(event).__name__.removeprefix("Run").upper()
