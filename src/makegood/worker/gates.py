"""The gates before the executor: breakers, and steps' own limits. An attempt begins when all of them let it, or is held.

submit ─▶ all let it ────────────────────────────────────────────────────────▶ executor | transactions
            └─▶ held, in the queue of one that does not ─▶ (AttemptReleased is durable) ─┘

Nothing is taken from one gate while another one holds: each is asked again when the attempt could begin. What is held for
longer is recorded, so that a later worker knows that it had not begun; from then on its beginning is recorded first.
When a gate opens is up to ``worker.breaker`` and ``worker.limit``; times here are the event loop's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from makegood.engine.run import OPEN, PROBING, UNDOING
from makegood.errors import MakegoodError
from makegood.worker.breaker import BreakerState
from makegood.worker.dispatch import begin, begin_held
from makegood.worker.executor import Job
from makegood.worker.limit import LimitState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from makegood.definition.breaker import Breaker
    from makegood.definition.step import Step, StepOptions
    from makegood.engine.run import StepRecord
    from makegood.worker.breaker import Verdict
    from makegood.worker.live import LiveRun
    from makegood.worker.worker import Worker

    Kind: TypeAlias = Literal["do", "undo", "probe"]

WANTED_IN = {"do": OPEN, "undo": UNDOING, "probe": PROBING}
RECORDED_AFTER_SECONDS = 1.0
RECORDED_AT_ONCE = 500


class GateState(Protocol):
    """When attempts may begin: ``BreakerState`` or ``LimitState``."""

    def may_begin_at(self, at: float) -> float: ...

    def let_through(self, at: float) -> int: ...

    def begun(self, at: float) -> None: ...

    def withdrawn(self, period: int) -> None: ...

    def ended(self, period: int, verdict: Verdict, at: float) -> None: ...

    def emptied(self) -> None: ...


class Holding(msgspec.Struct, frozen=True):
    """What holds an attempt. Times in seconds since 1970.

    Of an open breaker: since when, after how many failures, and when an attempt is made next (None: it is under way).
    """

    gate: str
    opened_at: float | None = None
    failures: int = 0
    next_try_at: float | None = None


class Gate:
    """One gate, and the attempts that it holds, in the order of their coming."""

    __slots__ = ("alarm", "due", "held", "name", "state")

    def __init__(self, name: str, state: GateState) -> None:
        self.name = name
        self.state = state
        self.held: OrderedDict[GatedJob, None] = OrderedDict()
        self.alarm: asyncio.TimerHandle | None = None
        self.due = math.inf


class GatedJob(Job):
    """An attempt that has to pass gates. ``gate``: the one that holds it; ``periods``: None unless they let it through.

    ``was_held``: that was recorded, perhaps by an earlier worker.
    """

    __slots__ = ("gate", "gates", "has_begun", "periods", "was_held")

    def __init__(
        self,
        run: LiveRun,
        record: StepRecord,
        definition: Step[..., Any],
        kind: Kind,
        gates: tuple[Gate, ...],
    ) -> None:
        super().__init__(run, record, definition, kind)
        self.gates = gates
        self.gate: Gate | None = None
        self.periods: list[int | None] | None = None
        self.has_begun = False
        self.was_held = False

    @property
    def is_wanted(self) -> bool:
        """Whether its step still waits for it: it may have been completed from outside."""
        return self.record.state is WANTED_IN[self.kind]


class Gates:
    """The gates of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = worker.loop
        self._breakers: dict[str, Gate] = {}
        self._limits: dict[Callable[..., Any], Gate] = {}
        self._fresh: list[GatedJob] = []  # held, and not recorded yet
        self._recording: asyncio.TimerHandle | None = None
        self._closed = False

    def submit(self, run: LiveRun, record: StepRecord, definition: Step[..., Any], kind: Kind) -> bool:
        """Have the next attempt begin as soon as its gates let it. False: there are none for this kind of attempt."""
        breaker = definition.breaker(kind)
        gates = () if breaker is None else (self._breaker(breaker, record),)
        if definition.is_limited(kind):
            gates = (*gates, self._limit(definition))
        if not gates:
            return False
        job = GatedJob(run, record, definition, kind, gates)
        run.jobs[record.number] = job
        at = self._loop.time()
        gate = self._in_the_way(job, at)
        if gate is None:
            self._let_through(job, at)
            return True
        self._hold(job, gate)
        if kind != "probe" and record.held is None:
            self._fresh.append(job)
            if self._closed:
                self._record()
            elif self._recording is None:
                self._recording = self._loop.call_later(RECORDED_AFTER_SECONDS, self._record)
        return True

    def withdraw(self, job: GatedJob) -> bool:
        """Let go of an attempt that is no longer wanted. False: it has been handed over, and may be under way."""
        if job.has_begun:
            return False
        if job.gate is not None:
            gate, job.gate = job.gate, None
            del gate.held[job]
            self._look(gate)
        self.never_began(job)
        return True

    def released(self, run: LiveRun, step: int) -> None:
        """That this attempt may begin is durable."""
        job = run.jobs.get(step)
        if not isinstance(job, GatedJob) or job.periods is None or job.has_begun:
            return
        if run.state.paused is None:
            self._begin(job)
        else:
            self.withdraw(job)
            self._take_back(job)

    def never_began(self, job: GatedJob) -> None:
        """An attempt that was let through is no longer wanted, and was still waiting to be made."""
        periods, job.periods = job.periods, None
        for gate, period in zip(job.gates, periods or (), strict=False):
            if period is not None and job.has_begun:
                self._tell(job, gate, period, "nothing")
            elif period is not None:
                gate.state.withdrawn(period)
                self._look(gate)

    def ended(self, job: GatedJob, verdict: Verdict) -> str:
        """An attempt has ended. Returns what holds the next one, if this one failed and does not count."""
        periods, job.periods = job.periods, None
        held_by = ""
        for gate, period in zip(job.gates, periods or (), strict=False):
            if period is not None:
                held_by = self._tell(job, gate, period, verdict) or held_by
        return held_by

    def raised(self, job: Job, error: BaseException) -> str:
        """The same for an attempt that raised, whether or not it had gates to pass: what that says of what it depends on."""
        return self.ended(job, self._verdict(job, error)) if isinstance(job, GatedJob) else ""

    def given_up(self, job: Job) -> str:
        """The same for one that gave no answer in time and goes on: it still counts as under way, until it has ended."""
        held_by = ""
        if isinstance(job, GatedJob) and job.periods is not None:
            for index, (gate, period) in enumerate(zip(job.gates, job.periods, strict=True)):
                if isinstance(gate.state, BreakerState) and period is not None:
                    job.periods[index] = None
                    held_by = self._tell(job, gate, period, "failed") or held_by
        return held_by

    def holding(self, run: LiveRun) -> dict[int, Holding]:
        """What holds the steps of a run, by their numbers."""
        return {
            step: self._holding(job.gate)
            for step, job in run.jobs.items()
            if isinstance(job, GatedJob) and job.gate is not None
        }

    def close(self) -> None:
        """Let nothing more begin, and record what is held, so that it does not count as lost."""
        self._closed = True
        for gate in (*self._breakers.values(), *self._limits.values()):
            if gate.alarm is not None:
                gate.alarm.cancel()
        while self._fresh:
            self._record()
        if self._recording is not None:
            self._recording.cancel()

    # ---- inside --------------------------------------------------------------------------------------------------

    def _breaker(self, named: Breaker, record: StepRecord) -> Gate:
        declared = self._worker.registry.breaker(named)
        gate = self._breakers.get(named.name)
        if gate is None:
            gate = self._breakers[named.name] = Gate(f"breaker {named.name}", BreakerState(declared))
        assert isinstance(gate.state, BreakerState)
        gate.state.declared = declared
        if record.held is not None and record.held[0] == gate.name:
            gate.state.has_inherited = True
        return gate

    def _limit(self, definition: Step[..., Any]) -> Gate:
        gate = self._limits.get(definition.function)
        if gate is None:
            options = definition.options_
            state = LimitState(options.rate_limit, options.max_concurrency)
            gate = self._limits[definition.function] = Gate(_limits_in_words(options), state)
        return gate

    def _tell(self, job: GatedJob, gate: Gate, period: int, verdict: Verdict) -> str:
        """Tell a gate how an attempt ended. Returns its name if the attempt does not count, as nobody answers."""
        state = gate.state
        state.ended(period, verdict, self._loop.time())
        self._look(gate)
        if verdict != "failed" or not isinstance(state, BreakerState):
            return ""
        return gate.name if state.is_open or (job.was_held and state.is_untried) else ""

    def _in_the_way(self, job: GatedJob, at: float, asking: Gate | None = None) -> Gate | None:
        """A gate that does not let the attempt begin now, or has let others wait for longer. Not ``asking``."""
        for gate in job.gates:
            if gate is not asking and (gate.held or gate.state.may_begin_at(at) > at or self._closed):
                return gate
        return None

    def _hold(self, job: GatedJob, gate: Gate) -> None:
        job.gate = gate
        gate.held[job] = None
        self._look(gate)

    def _let_through(self, job: GatedJob, at: float) -> None:
        job.periods = [gate.state.let_through(at) for gate in job.gates]
        if job.record.held is not None and job.kind != "probe":
            job.was_held = True
            self._worker.tell(job.run, job.run.execution.attempt_released, job.step_number)
        else:
            self._begin(job)

    def _begin(self, job: GatedJob) -> None:
        at = self._loop.time()
        for gate in job.gates:
            gate.state.begun(at)
            self._look(gate)
        job.has_begun = True
        begin(self._worker, job)

    def _take_back(self, job: GatedJob) -> None:
        """Not at this time: its run is paused; or no more."""
        run, worker = job.run, self._worker
        if run.jobs.get(job.step_number) is job:
            del run.jobs[job.step_number]
        if run.state.paused is not None:
            run.hold(lambda: begin_held(worker, run, job.record, job.kind))

    def _look(self, gate: Gate) -> None:
        """Something has changed: see to it that the gate opens when it can."""
        if not gate.held:
            gate.state.emptied()
            return
        now = self._loop.time()
        due = max(gate.state.may_begin_at(now), now)
        if gate.due <= due or self._closed:
            return
        if gate.alarm is not None:
            gate.alarm.cancel()
        gate.due, gate.alarm = due, self._loop.call_at(due, self._open, gate)

    def _open(self, gate: Gate) -> None:
        """Let through what may begin now."""
        gate.alarm, gate.due = None, math.inf
        at = self._loop.time()
        while gate.held and gate.state.may_begin_at(at) <= at:
            job, _ = gate.held.popitem(last=False)
            job.gate = None
            if job.run.state.paused is not None or not job.is_wanted:
                self._take_back(job)
                continue
            other = self._in_the_way(job, at, asking=gate)
            if other is None:
                self._let_through(job, at)
            else:
                self._hold(job, other)
        self._look(gate)

    def _record(self) -> None:
        """Record what is still held of what came before; the rest follows, so that nobody else has to wait for long."""
        self._recording = None
        now, self._fresh = self._fresh[:RECORDED_AT_ONCE], self._fresh[RECORDED_AT_ONCE:]
        for job in now:
            if job.gate is not None and job.record.held is None and job.run.state.paused is None:
                run = job.run
                self._worker.tell(run, run.execution.attempt_held, job.step_number, job.gate.name)
        if self._fresh and not self._closed:
            self._recording = self._loop.call_later(0, self._record)

    def _verdict(self, job: GatedJob, error: BaseException) -> Verdict:
        """What the error says: there was an answer, there was none, or neither, as it is of our own making."""
        if job.timed_out:
            return "failed"
        if job.cancelled or not isinstance(error, Exception) or isinstance(error, MakegoodError):
            return "nothing"
        if job.kind == "do" and isinstance(error, job.definition.options_.fatal):
            return "answered"
        breaker = job.definition.breaker(job.kind)
        counts = () if breaker is None else self._worker.registry.breaker(breaker).counts
        return "failed" if isinstance(error, counts) else "answered"

    def _holding(self, gate: Gate) -> Holding:
        state = gate.state
        if not isinstance(state, BreakerState) or not state.is_open:
            return Holding(gate.name)
        shift_seconds = self._worker.now() - self._loop.time()
        next_try_at = None if state.is_being_tried else state.next_try_at + shift_seconds
        return Holding(gate.name, state.opened_at + shift_seconds, state.failures, next_try_at)


def _limits_in_words(options: StepOptions) -> str:
    rate = [] if options.rate_limit is None else [f"rate limit {options.rate_limit}"]
    concurrency = [] if options.max_concurrency is None else [f"max_concurrency {options.max_concurrency}"]
    return ", ".join(rate + concurrency)
