"""Recording and reacting: what an execution tells its run, what follows from that, and how the run comes to its end.

``engine.execution`` says which facts there are, and replays them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.definition.payload import NULL
from makegood.definition.retry import wait_before
from makegood.engine import journal
from makegood.engine.folds import FOLDS
from makegood.engine.late import ending_again, holds_up, next_undo
from makegood.engine.legs import continued, refusal, standing
from makegood.engine.nested import SagaUndone, undone
from makegood.engine.reactions import NO_FAILURE, REACTIONS, out_of_time
from makegood.engine.run import UNDO_EXHAUSTED, UNDOING, RunState
from makegood.engine.saga import cause, ending_of_rollback, termination, undo_plan
from makegood.errors import NotDurable, PayloadError
from makegood.failure import Failure

if TYPE_CHECKING:
    from makegood.definition.workflow import Workflow
    from makegood.engine.legs import Continued
    from makegood.engine.program import Program
    from makegood.engine.run import StepRecord

STUCK = (
    "workflow {} waits for something that nothing durable will ever answer: no step, no timer, no signal, no update. "
    "A future or event of its own is lost in a crash; wait for a step, a timer or a signal."
)
FAILED_BEHIND_PIVOT = (
    "workflow {} failed after its point of no return: {}. It can only go forward: correct the code, restart the worker, "
    "then: makegood resume {}"
)


class Recording(msgspec.Struct, gc=False, eq=False):
    """A run being recorded, live or in a replay."""

    workflow: Workflow[..., Any]
    program: Program
    state: RunState = msgspec.field(default_factory=RunState)
    events: list[journal.AnyEvent] = []  # recorded, and not yet taken by ``seal``
    _expected: deque[journal.Decision] | None = None  # while replaying: decided, and not yet seen recorded
    _opened_at: float | None = None
    _result: msgspec.Raw = NULL
    _undo_plan: list[StepRecord] | None = None
    _undoing: StepRecord | None = None
    _deferred: list[journal.AnyEvent] | None = None  # while paused: to be told to the program
    _catching_up: bool = False

    def seal(self, epoch: int) -> journal.Entry:
        """What was recorded since the last call, as the run's next entry."""
        entry = journal.Entry(
            self.state.clock if self._opened_at is None else self._opened_at, epoch, self.events
        )
        self.events, self._opened_at = [], None
        return entry

    def _open(self, at: float) -> float:
        """The time of the entry being written: all events of one entry share it, so the run's clock stands still."""
        if self._opened_at is None:
            self._opened_at = self.state.clock = max(self.state.clock, at)
        return self.state.clock

    def _record(self, fact: journal.AnyEvent, at: float) -> None:
        state = self.state
        if self._opened_at is None:
            self._opened_at = state.clock = max(state.clock, at)
        FOLDS[type(fact)](state, fact)
        self.events.append(fact)
        self._react(fact)

    def _decide(self, decision: journal.Decision) -> None:
        FOLDS[type(decision)](self.state, decision)
        if self._expected is None:
            self.events.append(decision)
        else:
            self._expected.append(decision)

    def _react(self, fact: journal.AnyEvent | SagaUndone) -> None:
        """Let the program take note of a fact, and record what it decides."""
        if self._deferred is not None and not self._caught_up(fact):
            return
        program = self.program
        reaction = REACTIONS.get(type(fact))
        if reaction is not None:
            program.clock = self.state.clock
            reaction(self, fact)
            if program.idle:
                program.fail(NotDurable(STUCK.format(self.workflow.name)))
            if program.decisions:
                replayed = self._expected is not None
                for decision in program.decisions:
                    if not (replayed and type(decision) is journal.ViewUpdated):
                        FOLDS[type(decision)](self.state, decision)
                (self.events if self._expected is None else self._expected).extend(program.decisions)
                program.decisions.clear()
        if program.winding_up or self.state.late is not None:
            self._wind_up()

    def pause(self) -> None:
        """From here on facts are recorded, and told to the program when it goes on."""
        if self._deferred is None:
            self._deferred = []

    def _caught_up(self, fact: journal.AnyEvent | SagaUndone) -> bool:
        """Whether the run goes on, and has been told what happened while it was paused."""
        assert self._deferred is not None
        if self.state.paused is not None:
            assert not isinstance(fact, SagaUndone)
            self._deferred.append(fact)
            return False
        deferred, self._deferred = self._deferred, None
        if not self.state.terminating:  # then no more of the workflow's code is run
            self._catching_up = True
            for earlier in deferred:
                self._react(earlier)
            self._catching_up = False
        return True

    # ---- coming to an end ----------------------------------------------------------------------------------------

    def _wind_up(self) -> None:
        """Undo what took effect late, then the nested sagas that failed; if the program is over, end the run."""
        if self._catching_up:  # the program may be over before it has been told everything
            return
        if self.state.late is not None:
            again = next_undo(self.state, self.state.late)
            if again is not None:
                if again:
                    self._decide(self._scheduled_undo(again))
                return
        for saga in self.program.rollbacks:
            if undone(saga, self.state, self._decide, self._scheduled_undo):
                self._react(SagaUndone(saga))  # and so come back here
                return
        if self.program.finished and not self.program.rollbacks:
            self._close()

    def _stand_still(self, error: BaseException) -> None:
        """The workflow failed where it can only go forward: its code has to be corrected. Nothing else is recorded."""
        if self._expected is None and 0 not in self.state.parked:
            reason = FAILED_BEHIND_PIVOT.format(self.workflow.name, Failure.of(error), self.state.id)
            self._record(journal.RunParked(0, reason), self.state.clock)

    def _close(self) -> None:
        """The program is over: when all is settled, undo what has to be undone, one by one, and end."""
        state = self.state
        if state.status_ is not None:
            return
        if state.pivoted and self.program.error is not None:
            self._stand_still(self.program.error)
            return
        if state.in_flight or (self._undo_plan is None and state.terminating and state.is_undoing):
            return
        if self._undo_plan is None:
            self._begin_ending()
            if self._undo_plan is None:
                return
        if self._undoing is not None and self._undoing.state in (UNDOING, UNDO_EXHAUSTED):
            return
        if self._undo_plan:
            self._undoing = self._undo_plan.pop()
            self._decide(self._scheduled_undo(self._undoing.number))
        elif state.rolling_back or state.is_reopened:
            self._end_undone()
        elif state.cancel_requested or state.terminating:
            self._undo_plan = (
                None  # since the workflow has returned, while what it had given up on was being undone
            )
            self._close()
        else:
            self._complete()

    def _end_undone(self) -> None:
        """Nothing is left to undo."""
        state = self.state
        if state.late is not None and state.late.ending is not None:
            self._decide(ending_again(state, state.late.ending))
        else:
            self._end(ending_of_rollback(state, cancelled=state.cancelled))

    def _complete(self) -> None:
        if self.program.continuation is None:
            self._end(journal.RunCompleted(self._result))
        elif not holds_up(self.state):
            self._continue(self.program.continuation)

    def _continue(self, continuation: Continued) -> None:
        """Go on as new: a fresh state, and a fresh program."""
        finished = self.program
        decision = continued(self.state, finished, continuation)
        self._decide(decision)
        self._undo_plan = self._undoing = None
        self.program = finished.renewed()
        finished.close()
        self._react(decision)

    def _end(self, ending: journal.Ending) -> None:
        left = self.program.unread
        if left:
            self._decide(journal.SignalsLeft([signal.number for signal in left]))
        self._decide(ending)

    def terminate(self, *, compensate: bool) -> None:
        """Nothing more of the workflow runs: end at once, or after undoing what was done."""
        if compensate:
            self.program.abandon()
        else:
            self._end(termination(self.state))

    def go_on_undoing(self) -> None:
        """Take up the rollback that the state tells of: the workflow itself is not replayed."""
        if self.state.paused is not None:
            self.pause()
        if self.state.rolling_back:
            self._undo_plan = undo_plan(self.state)
            undoing = (one for one in self.state.steps.values() if one.state in (UNDOING, UNDO_EXHAUSTED))
            self._undoing = next(undoing, None)

    def undo(self) -> None:
        """Undo a run that had completed: what follows is a rollback."""
        self._undo_plan = undo_plan(self.state)

    def _scheduled_undo(self, step: int) -> journal.CompensationScheduled:
        undo = self.program.steps[step].undo
        wait = wait_before(undo.retry, 1, 0.5) if undo is not None else None
        return journal.CompensationScheduled(step, self.state.clock + wait if wait else 0.0)

    def _begin_ending(self) -> None:
        error = self.program.error
        cancelled, overdue = self.state.cancel_requested, self.state.overdue
        if self.program.continuation is not None:
            left = standing(self.state)
            error = refusal(self.state, left) if left else None
        elif error is None and not (cancelled or overdue or self.state.terminating):
            try:
                self._result = self.workflow.signature.encode_result(self.program.value)
            except PayloadError as unusable:
                error = unusable
                if self.state.pivoted:
                    self._stand_still(unusable)
                    return
        if self.state.terminating:
            self._decide(journal.RollbackStarted(self.state.failure or NO_FAILURE))
        elif cancelled:
            self._decide(
                journal.RollbackStarted(Failure("Cancelled", self.state.cancel_reason), cancelled=True)
            )
        elif overdue:
            self._decide(journal.RollbackStarted(out_of_time(self.state)))
        elif error is not None:
            self._decide(journal.RollbackStarted(*cause(error)))
        self._undo_plan = undo_plan(self.state)
