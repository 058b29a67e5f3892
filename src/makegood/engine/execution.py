"""An execution: one run being lived or relived. It joins the state, the program and the saga.

Told a fact, it records it, lets the program or the saga react, and records their decisions; what it recorded is
taken by the worker as the next entry. Replaying, the same decisions are compared with the recorded ones instead.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from makegood.definition.payload import NULL
from makegood.definition.signal import check_signal
from makegood.engine import journal, pending
from makegood.engine.children import facts_of_ending
from makegood.engine.determinism import fits, last_told, mismatch, stands_still
from makegood.engine.folds import DEADLINE, FOLDS, apply
from makegood.engine.legs import last_leg
from makegood.engine.operator import facts_for
from makegood.engine.patches import recorded_patches
from makegood.engine.recording import Recording
from makegood.engine.retrying import after_failure
from makegood.engine.run import EXHAUSTED, OPEN, PENDING, UNDO_EXHAUSTED, UNDOING, RunState
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.engine.operator import Request
    from makegood.engine.run import StepRecord

POISONOUS = (
    "{1} attempts of step {0} in a row ended with the process that made them. Perhaps it takes that down (out of memory, "
    "a crash in native code): look into it before it is tried again"
)
LOST = Failure("WorkerLost", "the process that ran this attempt ended before it could record the outcome")


class Execution(Recording, gc=False, eq=False):
    """One run: facts in, events out. ``at`` is always seconds since 1970; ``dice`` a random number in [0, 1)."""

    def fresh_timers(self) -> set[int]:
        """Timers that were started by what is not yet durable."""
        return {event.timer for event in self.events if isinstance(event, journal.TimerStarted)}

    def fresh_steps(self) -> set[int]:
        """Steps about which something was decided that is not yet durable."""
        decided = (journal.ChildScheduled, journal.StepCancelled, journal.CompensationScheduled)
        return {event.step for event in self.events if isinstance(event, decided)}

    # ---- facts ---------------------------------------------------------------------------------------------------

    def start(self, run_id: str, arguments: msgspec.Raw, at: float) -> None:
        workflow = self.workflow
        deadline = workflow.deadline(at)
        self._record(
            journal.RunStarted(run_id, workflow.name, arguments, version=workflow.version, deadline=deadline),
            at,
        )

    def start_tagged(self, run_id: str, arguments: msgspec.Raw, tags: dict[str, str], at: float) -> None:
        workflow = self.workflow
        deadline = workflow.deadline(at)
        self._record(
            journal.RunStarted(
                run_id, workflow.name, arguments, version=workflow.version, deadline=deadline, tags=tags
            ),
            at,
        )

    def start_child(
        self, run_id: str, arguments: msgspec.Raw, parent: str, parent_step: int, at: float
    ) -> None:
        workflow = self.workflow
        deadline = workflow.deadline(at)
        self._record(
            journal.RunStarted(
                run_id, workflow.name, arguments, parent, parent_step, workflow.version, deadline=deadline
            ),
            at,
        )

    def child_ended(self, step: int, child: RunState, at: float) -> None:
        """A child run has ended, or was undone. Telling it again changes nothing."""
        for fact in facts_of_ending(self.state.steps[step], child):
            self._record(fact, at)

    def child_refused(self, step: int, failure: Failure, at: float) -> None:
        """A child run could not be started."""
        if self.state.steps[step].state is OPEN:
            self._record(journal.ChildFailed(step, "", failure), at)

    def step_completed(self, step: int, attempt: int, result: msgspec.Raw, at: float) -> None:
        self._record(journal.StepCompleted(step, attempt, result), at)

    def compensation_completed(self, step: int, attempt: int, at: float) -> None:
        self._record(journal.CompensationCompleted(step, attempt), at)

    def attempt_failed(
        self,
        step: int,
        attempt: int,
        failure: Failure,
        at: float,
        dice: float,
        *,
        unknown: bool = False,
        fatal: bool = False,
        lost: bool = False,
        running: bool = False,
        heartbeat: msgspec.Raw = NULL,
        held: str = "",
    ) -> None:
        """An attempt of a step, or of its compensation, ended without a result: decide what follows.

        ``running``: it goes on, and is given up on; ``heartbeat``: the last details that it reported. ``held``: by what, if
        the next one is.
        """
        record = self.state.steps[step]
        at = self._open(at)
        if pending.settles(record):
            pending.settle(self, record, at, dice, ended=True)
            return
        if (
            record.arrived is not None and record.arrived.failure is not None
        ):  # which says more than the attempt
            failure, unknown, lost, fatal = record.arrived.failure, running, False, record.arrived.fatal
            held = ""
        then: Literal["retry", "probe", "give up"]
        definition = self.program.steps[step]
        then, retry_at = after_failure(definition, record, at, dice, fatal=fatal, lost=lost, held=bool(held))
        if (
            unknown
            and record.state in (OPEN, PENDING)
            and self.program.steps[step].probe_function is not None
        ):
            then, retry_at = "probe", 0.0
        held = "" if then == "give up" else held
        self._record(
            journal.AttemptFailed(
                step, attempt, failure, then, unknown, lost, fatal, retry_at, running, heartbeat, held
            ),
            at,
        )
        if then == "give up":
            self._give_up(record, at)

    def attempt_held(self, step: int, gate: str, at: float) -> None:
        """The next attempt has not begun: something holds it, and may do so for long."""
        self._record(journal.AttemptHeld(step, gate), at)

    def attempt_released(self, step: int, at: float) -> None:
        """The attempt that was held may begin."""
        self._record(journal.AttemptReleased(step), at)

    def step_pending(self, step: int, attempt: int, due: float, at: float, dice: float) -> None:
        """The attempt's function has ended; somebody outside is going to complete it, until ``due`` (0: whenever)."""
        record = self.state.steps[step]
        if record.cancelled:
            self.attempt_failed(step, attempt, pending.NO_LONGER_AWAITED, at, dice, unknown=True)
        else:
            self._record(journal.StepPending(step, attempt, due), at)
            pending.settle(self, record, at, dice)

    def probe_found(self, step: int, result: msgspec.Raw, at: float) -> None:
        self._record(journal.ProbeAnswered(step, "done", "complete", result), at)

    def probe_found_nothing(self, step: int, at: float, dice: float, failure: Failure | None = None) -> None:
        """The probe says that the step did not take effect, or (with a failure) could not tell."""
        record = self.state.steps[step]
        at = self._open(at)
        if pending.settles(record):
            pending.settle(self, record, at, dice, ended=True)
            return
        then, retry_at = after_failure(
            self.program.steps[step], record, at, dice, fatal=record.fatal, lost=record.lost > 0, counted=True
        )
        outcome: Literal["not done", "unknown"] = "not done" if failure is None else "unknown"
        self._record(journal.ProbeAnswered(step, outcome, then, NULL, failure, retry_at), at)
        if then == "give up":
            self._give_up(record, at)

    def step_stopped(self, step: int, at: float) -> None:
        """A cancelled step that had no attempt under way is over."""
        self._record(journal.StepFailed(step, self.state.steps[step].unknown), at)

    def timer_fired(self, timer: int, at: float) -> None:
        if timer in self.state.timers and not (timer == DEADLINE and self.state.rolling_back):
            self._record(journal.TimerFired(timer), at)

    def act(self, request: Request, at: float, dice: float = 0.5) -> None:
        """Carry out what an operator asks for.

        Raises:
            NotPossible: the state does not admit it; nothing was recorded.
            UsageError: the result of a ``resolve``, or a signal, cannot be taken; nothing was recorded.
        """
        facts = facts_for(request, self.state)
        if request.arguments != NULL:
            facts = [self._with_arguments(fact, request.arguments) for fact in facts]
        for fact in facts:
            if isinstance(fact, journal.StepCompleted) or pending.is_result(fact):
                self.program.steps[fact.step].signature.check_result(fact.result)
            elif isinstance(fact, journal.SignalReceived):
                check_signal(fact.name, fact.payload, self.program.declared_signal(fact.name))
            elif isinstance(fact, journal.UpdateAccepted):
                self.program.check_update(self.state.id, fact.name, fact.value)
        for fact in facts:
            self._record(fact, at)
            if isinstance(fact, journal.CompletionArrived):
                pending.settle(self, self.state.steps[fact.step], at, dice)

    def _with_arguments(self, fact: journal.AnyEvent, given: msgspec.Raw) -> journal.AnyEvent:
        """The operator's retry, with arguments that the step can be called with."""
        assert isinstance(fact, journal.OperatorActed)
        signature = self.program.steps[fact.step].signature
        bound = signature.decode_arguments(bytes(given))
        return msgspec.structs.replace(fact, arguments=signature.encode_arguments(bound.args, bound.kwargs))

    def resumed(self, acted: journal.OperatorActed, at: float) -> None:
        """An operator had the run tried again after its code was corrected: before what that code decides."""
        self._open(at)
        apply(self.state, acted)
        self.events.insert(0, acted)

    def waits(self, record: StepRecord, at: float, *, slept: bool = False) -> bool:
        """Whether its next attempt is yet to begin; where the clock was set back, nobody can tell, so it does not.

        ``slept``: the run was asleep, so nothing has begun.
        """
        if record.state not in (OPEN, UNDOING):
            return False
        if slept or record.held is not None:
            return True
        paused = self.state.paused
        if paused is not None and record.retry_at > paused[1]:
            return True
        return record.retry_at > at >= self.state.clock

    def recover(self, at: float, dice: float) -> None:
        """After a replay: whatever attempt may have been under way when the last owner died is lost, its outcome unknown."""
        beginnings = (journal.StepScheduled, journal.CompensationScheduled, journal.AttemptReleased)
        fresh = {event.step for event in self.events if isinstance(event, beginnings)}
        begun = [  # before any of them: what follows from one of them may schedule a compensation
            record
            for record in self.state.steps.values()
            if record.state in (OPEN, EXHAUSTED, UNDOING) and record.number not in fresh and not record.child
        ]
        for record in begun:
            waiting = record.state is EXHAUSTED or self.waits(record, at)
            if record.cancelled and waiting and record.state is not UNDOING:
                self.step_stopped(record.number, at)
            elif not waiting:
                undoing = record.state is UNDOING
                unknown = not self.program.steps[record.number].transacts("undo" if undoing else "do")
                self.attempt_failed(
                    record.number, record.attempts + 1, LOST, at, dice, unknown=unknown, lost=True
                )
        pending.recover(self, at, dice)
        making_good = self.program.winding_up or self.state.late is not None
        if making_good and self.state.paused is None:  # corrected code may fail again, elsewhere
            self._open(at)
            self._wind_up()

    # ---- replay --------------------------------------------------------------------------------------------------

    def replay(self, entries: Sequence[journal.Entry]) -> None:
        """Relive recorded entries. What the code decides beyond the last of them is recorded as new.

        Raises:
            DeterminismError: the code decides otherwise than it did.
            JournalCorrupt: the entries do not make sense.
        """
        entries = last_leg(entries)
        self._expected = deque()
        program = self.program
        program.patches, program.answers_recorded = recorded_patches(entries), math.inf
        last, answers = last_told(entries)
        for entry in entries:
            self.state.clock = entry.at
            for event in entry.events:
                if type(event) in journal.DECISIONS and self.state.id:
                    if not self._agrees(event):  # type: ignore[arg-type] # DECISIONS and Decision name the same types
                        raise mismatch(self.state, entries, event, self._expected)
                elif not stands_still(event) and self._next_expected() is not None:
                    raise mismatch(self.state, entries, event, self._expected)
                else:
                    if event is last:
                        program.answers_recorded = answers
                    apply(self.state, event)
                    self._react(event)
        program.answers_recorded = 0
        for decision in self._expected:
            if type(decision) is journal.ViewUpdated:
                FOLDS[type(decision)](self.state, decision)
        self.events.extend(self._expected)
        self._expected = None

    def _next_expected(self) -> journal.Decision | None:
        """What the code decides next; what it publishes today, where the journal has nothing, is passed over."""
        expected = self._expected
        assert expected is not None
        while expected and type(expected[0]) is journal.ViewUpdated:
            expected.popleft()
        return expected[0] if expected else None

    def _republish(self, recorded: journal.ViewUpdated) -> None:
        """What was published holds, whatever the code would publish today."""
        if self._expected and type(self._expected[0]) is journal.ViewUpdated:
            self._expected.popleft()
        FOLDS[type(recorded)](self.state, recorded)

    def _agrees(self, recorded: journal.Decision) -> bool:
        """Whether the code decides as recorded; then that holds, whatever else it would say today."""
        if type(recorded) is journal.ViewUpdated:
            self._republish(recorded)
            return True
        if type(recorded) is journal.Patched:  # the program has known it from the start, wherever it asks
            FOLDS[journal.Patched](self.state, recorded)
            return True
        decided = self._next_expected()
        if decided is None or not fits(recorded, decided):
            return False
        assert self._expected is not None
        self._expected.popleft()
        self._hold(recorded)
        return True

    def _hold(self, recorded: journal.Decision) -> None:
        if isinstance(recorded, journal.StepScheduled):
            step = self.state.steps[recorded.step]
            step.arguments, step.undoable = recorded.arguments, recorded.undoable
            step.critical, step.retry_at = recorded.critical, recorded.due
        elif isinstance(recorded, (journal.ChildScheduled, journal.RollbackRegistered)):
            self.state.steps[recorded.step].arguments = recorded.arguments
        elif isinstance(recorded, journal.TimerStarted):
            if recorded.timer in self.state.timers:
                self.state.timers[recorded.timer] = recorded.due
        elif isinstance(recorded, journal.RollbackStarted):
            self.state.failure, self.state.failed_step = recorded.failure, recorded.step
        elif isinstance(recorded, journal.CompensationScheduled):
            self.state.steps[recorded.step].retry_at = recorded.due

    # ---- what follows a failed attempt ---------------------------------------------------------------------------

    def _only_forward(self, record: StepRecord) -> bool:
        return self.state.pivoted and record.critical

    def _give_up(self, record: StepRecord, at: float) -> None:
        if record.state is UNDO_EXHAUSTED:
            reason = f"the compensation of step {record.name} gave up after {record.attempts} attempt(s): {record.failure}"
            self._record(journal.RunParked(record.number, reason), at)
        elif (
            (
                self.program.steps[record.number].options_.on_exhausted == "park"
                or self._only_forward(record)
                or record.lost
            )
            and not record.cancelled
            and record.state is EXHAUSTED
        ):
            reason = f"step {record.name} gave up after {record.attempts} attempt(s): {record.failure}"
            if record.lost:
                reason = POISONOUS.format(record.name, record.lost)
            self._record(journal.RunParked(record.number, reason), at)
        else:
            self._record(journal.StepFailed(record.number, record.unknown), at)
