"""The worker: owns the runs of a store, tells their executions what happened, and recovers what others left.

adopt ──▶ replay ──▶ [ fact ─▶ execution ─▶ committer ─▶ (durable) ─▶ dispatch ─▶ executor | alarm ─▶ fact … ] ──▶ ended
             └──▶ unfit: the code does not fit the journal; parked until an operator retries
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from makegood.definition.completion import PENDING
from makegood.definition.payload import NULL
from makegood.definition.step import NotDone
from makegood.engine import journal
from makegood.engine.coroutine import CoroutineProgram
from makegood.engine.execution import Execution
from makegood.engine.legs import last_leg
from makegood.engine.run import PROBING, RunState, Status
from makegood.errors import MakegoodError, PayloadError, StoreError, UsageError
from makegood.failure import Failure
from makegood.worker.awaiting import Awaiting
from makegood.worker.children import Children
from makegood.worker.committer import Committer
from makegood.worker.dispatch import HANDLERS, submit
from makegood.worker.eviction import Eviction
from makegood.worker.executor import Executor, Job, failure_of
from makegood.worker.gates import GatedJob, Gates
from makegood.worker.late import LateResults
from makegood.worker.live import NOTHING, LiveRun
from makegood.worker.recovery import Recovery
from makegood.worker.scheduler import Scheduler
from makegood.worker.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import msgspec

    from makegood.definition.registry import Registry
    from makegood.definition.workflow import Workflow
    from makegood.engine.operator import Request
    from makegood.store.protocol import InboxAnswer, Store
    from makegood.worker.changes import Changes
    from makegood.worker.executor import StandIn

log = logging.getLogger("makegood")

BLOCKED_SECONDS = 0.5
FLUSH_SECONDS = 2.0
BLOCKED = "run %s: workflow %s blocked its worker, and every other run, for %.1f s. Blocking calls belong in a step."


class Worker:
    """Runs workflows of one registry on one store, in one process.

    ``now`` gives seconds since 1970; ``dice`` random numbers in [0, 1), for the jitter of retries; ``changes`` are told of
    every entry that has become durable. ``stand_in`` (for tests) says what is called in a step's place.
    """

    def __init__(
        self,
        store: Store,
        epoch: int,
        registry: Registry,
        now: Callable[[], float],
        dice: Callable[[], float],
        *,
        waiting_limit: int,
        changes: Changes,
        stand_in: StandIn | None = None,
    ) -> None:
        self.store = store
        self.epoch = epoch
        self.registry = registry
        self.now = now
        self.dice = dice
        self.changes = changes
        self.stand_in = stand_in
        self.loop = asyncio.get_running_loop()
        self.runs: dict[str, LiveRun] = {}
        self.starting: dict[str, LiveRun] = {}
        """Not durable yet, and perhaps never: another run may have the id, in the store or just being recovered."""
        self.late = LateResults(self)
        self.executor = Executor(self._returned, self._raised, self.late.give_up)
        self.gates = Gates(self)
        self.recovery = Recovery(self)
        self.eviction = Eviction(self, waiting_limit)
        self.awaiting = Awaiting(self.loop)
        self.scheduler = Scheduler(self)
        self.transactions = Transactions(store, epoch, self._transacted, self._raised, self.recovery.reload)
        self.committer = Committer(store, epoch, self._durable, self._rejected, self.transactions)
        self.children = Children(self)
        self.error: BaseException | None = None
        self._serving: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to serve: adopt what waits, and go on."""
        self._serving = [
            self.loop.create_task(self._guard(self.committer.serve), name="makegood-committer"),
            self.loop.create_task(self._guard(self.recovery.serve), name="makegood-recovery"),
            self.loop.create_task(self._guard(self.recovery.listen), name="makegood-listener"),
            self.loop.create_task(self._guard(self.eviction.serve), name="makegood-eviction"),
            self.loop.create_task(self._guard(self.scheduler.serve), name="makegood-scheduler"),
            self.loop.create_task(self._guard(self.children.serve), name="makegood-children"),
        ]

    async def stop(self, grace_seconds: float) -> None:
        """Drain: begin nothing new, let attempts under way end and be recorded; the rest is recovered later."""
        self.scheduler.close()
        self.transactions.close()
        self.gates.close()
        await asyncio.gather(self.executor.drain(grace_seconds), self.recovery.inbox.drain(grace_seconds))
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(max(grace_seconds, FLUSH_SECONDS)):
                await self.late.settled()
                await self.committer.flushed()
        self.late.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for run in (*self.runs.values(), *self.starting.values()):
            self.drop(
                run, StoreError("the engine was closed; the run goes on when its store is opened again.")
            )
        self.awaiting.disappoint(
            StoreError("the engine was closed; the run goes on when its store is opened again.")
        )

    # ---- runs ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        workflow: Workflow[..., Any],
        run_id: str,
        arguments: msgspec.Raw,
        parent: tuple[str, int] | None = None,
        tags: dict[str, str] | None = None,
    ) -> LiveRun:
        """Create a run; it exists once ``started`` says so. ``parent``: the run and its step that it is."""
        self.check()
        run = LiveRun(run_id, Execution(workflow, CoroutineProgram(workflow)))
        run.starters = []
        self.starting[run_id] = run
        if tags:
            self.tell(run, run.execution.start_tagged, run_id, arguments, tags)
        elif parent is None:
            self.tell(run, run.execution.start, run_id, arguments)
        else:
            self.tell(run, run.execution.start_child, run_id, arguments, *parent)
        return run

    def check(self) -> None:
        """Raise what stopped this worker, if anything did."""
        if self.error is not None:
            raise StoreError(f"this engine has stopped: {self.error}") from self.error

    def tell(self, run: LiveRun, fact: Callable[..., None], *details: Any) -> None:
        """Tell a run's execution a fact, and have what it records committed. A bad run harms no other (G10)."""
        began_at = self.now()
        try:
            fact(*details, began_at)
        except MakegoodError as error:
            self.recovery.set_aside(run, error)
            return
        except Exception as error:
            log.exception("run %s: the engine failed; the run is set aside.", run.id)
            self.recovery.set_aside(run, error)
            return
        blocked_seconds = self.now() - began_at
        if blocked_seconds > BLOCKED_SECONDS:
            log.warning(BLOCKED, run.id, run.execution.workflow.name, blocked_seconds)
        self.committer.enqueue(run)

    def request(self, run: LiveRun, request: Request, answers: list[InboxAnswer]) -> None:
        """Carry out an operator's request; ``answers`` are committed along with it.

        Raises:
            NotPossible, PayloadError: the state does not admit it; nothing was changed.
        """
        waited = {number: run.state.steps[number].state for number in run.waits} if request.attempt else {}
        run.execution.act(request, self.now(), self.dice())
        for number, state in waited.items():
            if (
                run.state.steps[number].state is not state
            ):  # completed from outside: nothing to wait for any more
                run.waits.pop(number).cancel()
        if run.state.status_ is not None:
            run.entry = NOTHING  # what is being committed is not carried out any more
            self._stop_work(run)
        if run.execution.events:
            run.answers.extend(answers)
        self.committer.enqueue(run)

    def finish(self, run: LiveRun) -> None:
        """A run's ending is durable."""
        self.runs.pop(run.id, None)
        self._let_go(run)
        self.scheduler.ended(run.id)
        if run.state.parent:
            self.children.ended(run)
        if run.state.status_ is Status.TERMINATED:
            self.children.abandoned(run.state)
        for waiter in run.waiters:
            if not waiter.done():
                waiter.set_result(run.state)

    def drop(self, run: LiveRun, error: BaseException) -> None:
        """Forget a run that is to go on elsewhere or later."""
        (self.runs if run.starters is None else self.starting).pop(run.id, None)
        self._let_go(run)
        waiting = (*(run.starters or ()), *run.waiters)
        run.waiters = []  # the error knows its frames, and they know the run
        if run.starters is not None:
            run.starters = []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits gets it; nobody has to

    def let_sleep(self, run: LiveRun) -> None:
        """Forget a run that waits; whoever awaits its end goes on waiting."""
        del self.runs[run.id]
        self.awaiting.leave(run)
        self._let_go(run)

    def started(self, run: LiveRun) -> asyncio.Future[bool]:
        """Resolves once the run is durable: True; or False if its id was taken."""
        starter: asyncio.Future[bool] = self.loop.create_future()
        if run.starters is None:
            starter.set_result(True)
        else:
            run.starters.append(starter)
        return starter

    def _let_go(self, run: LiveRun) -> None:
        self._stop_work(run)
        run.execution.program.close()

    def _stop_work(self, run: LiveRun) -> None:
        """No alarm rings any more, attempts under way are stopped, and what they still report is not heard."""
        self.eviction.forget(run)
        if run.timers or run.waits:
            for alarm in (*run.timers.values(), *run.waits.values()):
                alarm.cancel()
            run.timers.clear()
            run.waits.clear()
        run.held = None
        if run.jobs:
            for job in run.jobs.values():
                self.cancel(job)
            run.jobs.clear()

    def cancel(self, job: Job) -> bool:
        """Stop an attempt: whether it was under way and will report."""
        if isinstance(job, GatedJob) and self.gates.withdraw(job):
            return False
        makers = self.transactions if job.definition.transacts(job.kind) else self.executor
        under_way = makers.cancel(job)
        if isinstance(job, GatedJob) and not under_way:
            self.gates.never_began(job)
        return under_way

    def ending_of(self, run: LiveRun) -> asyncio.Future[RunState | None]:
        """Resolves with the final state, once it is durable; None if the run never began, because its id was taken."""
        waiter: asyncio.Future[RunState | None] = self.loop.create_future()
        run.waiters.append(waiter)
        return waiter

    async def ending_within(self, run_id: str, seconds: float) -> RunState | None:
        """The final state of a run that may not be in memory, should it end here and in time."""
        run = self.runs.get(run_id)
        if run is not None:
            return await self.ending_of(run)
        return await self.awaiting.within(run_id, seconds)

    def take_up(self, run: LiveRun) -> None:
        """Own a run that was loaded."""
        self.runs[run.id] = run
        self.awaiting.come(run)

    # ---- what the committer reports ------------------------------------------------------------------------------

    def _durable(self, run: LiveRun) -> None:
        """Carry out what the entry just committed asks for."""
        run.committing = False
        if run.starters is not None:
            self.starting.pop(run.id, None)
            self.runs[run.id] = run
            self._tell_starters(run, created=True)
        if self.changes.events:
            self.changes.tell(run.id)
        try:
            for event in run.entry.events if run.leg == 1 else self._of_this_leg(run):
                handler = HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, run, event)
            if not run.jobs and run.state.status_ is None:
                self.eviction.waits(run)
        except Exception as error:
            log.exception("run %s: the engine failed; the run is set aside.", run.id)
            self.recovery.set_aside(run, error)

    def _of_this_leg(self, run: LiveRun) -> Sequence[journal.AnyEvent]:
        """The events of the entry just committed that still matter: a run that has gone on as new has no work behind it."""
        if run.leg != run.state.leg:
            return ()
        if run.entry_number == run.leg_entry:
            self._stop_work(run)
            return last_leg([run.entry])[0].events
        return run.entry.events

    def _rejected(self, run: LiveRun) -> None:
        self.starting.pop(run.id, None)
        if run.state.parent:
            self.children.rejected(run)
        run.execution.program.close()
        self._tell_starters(run, created=False)
        for waiter in run.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _tell_starters(self, run: LiveRun, *, created: bool) -> None:
        starters, run.starters = run.starters, None
        for starter in starters or ():
            if not starter.done():
                starter.set_result(created)

    async def _guard(self, serve: Callable[[], Awaitable[None]]) -> None:
        try:
            await serve()
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must stop, and everybody who waits must know
            log.critical("makegood stops: %s", error)
            self.error = self.error or error
            self.changes.end(StoreError(f"this engine has stopped: {error}"))
            for task in self._serving:
                if task is not asyncio.current_task():
                    task.cancel()
            for run in (*self.runs.values(), *self.starting.values()):
                self.drop(run, error)
            self.awaiting.disappoint(error)
            await self.executor.drain(0)

    # ---- what the executor reports -------------------------------------------------------------------------------

    def _returned(self, job: Job, value: Any) -> None:
        if isinstance(job, GatedJob):
            self.gates.ended(job, "answered")
        run, step = job.run, job.step_number
        if run.jobs.get(step) is not job:
            self.late.returned(job, value)
            return
        del run.jobs[step]
        execution = run.execution
        if job.kind == "undo" and value is not PENDING:
            self.tell(run, execution.compensation_completed, step, job.number)
        elif job.kind == "probe" and (isinstance(value, NotDone) or value is NotDone):
            self.tell(run, lambda at: execution.probe_found_nothing(step, at, self.dice()))
        elif value is PENDING and job.kind == "do":
            self._pending(job)
        else:
            try:
                result = job.definition.signature.encode_result(value)
            except PayloadError as unusable:
                self.failed(job, Failure.of(unusable, with_traceback=False), unknown=True, fatal=True)
                return
            if job.kind == "do":
                self.tell(run, execution.step_completed, step, job.number, result)
            else:
                self.tell(run, execution.probe_found, step, result)

    def _pending(self, job: Job) -> None:
        """Somebody outside is going to complete the attempt; its time limit begins anew."""
        execution, dice = job.run.execution, self.dice()
        limit_seconds = job.definition.options_.timeout_seconds

        def pend(at: float) -> None:
            due = at + limit_seconds if limit_seconds else 0.0
            execution.step_pending(job.step_number, job.number, due, at, dice)

        self.tell(job.run, pend)

    def _transacted(self, job: Job, result: msgspec.Raw) -> bool:
        """A transaction is about to be committed: True if its run has recorded it."""
        if isinstance(job, GatedJob):
            self.gates.ended(job, "answered")
        run, step = job.run, job.step_number
        if run.jobs.get(step) is not job:
            return False
        del run.jobs[step]
        if job.kind == "undo":
            self.tell(run, run.execution.compensation_completed, step, job.number)
        else:
            self.tell(run, run.execution.step_completed, step, job.number, result)
        return run.queued and self.runs.get(run.id) is run

    def _raised(self, job: Job, error: BaseException) -> None:
        held_by = self.gates.raised(job, error)
        if job.run.jobs.get(job.step_number) is not job:
            self.late.raised(job, error)
            return
        del job.run.jobs[job.step_number]
        options = job.definition.options_
        interrupted = (
            job.timed_out or job.cancelled
        )  # whatever the step made of it: it was not its own verdict
        unknown = interrupted or isinstance(error, (*options.unknown, asyncio.CancelledError))
        fatal = isinstance(error, options.fatal) and job.kind == "do"
        if job.definition.transacts(
            job.kind
        ):  # it was rolled back; what cannot be stored or is refused stays so
            unknown, fatal = False, fatal or isinstance(error, UsageError)
        self.failed(job, failure_of(job, error), unknown=unknown, fatal=fatal, held_by=held_by)

    def failed(
        self,
        job: Job,
        failure: Failure,
        *,
        unknown: bool,
        fatal: bool,
        running: bool = False,
        held_by: str = "",
    ) -> None:
        """An attempt ended without a result, or (``running``) is no longer waited for. ``held_by``: what holds the next."""
        execution = job.run.execution
        step, number, dice = job.step_number, job.number, self.dice()
        heartbeat = getattr(job, "details", NULL)
        if held_by and job.kind == "probe":
            submit(self, job.run, job.record, "probe")  # which is asked again when there is an answer
        elif job.record.state is PROBING:
            self.tell(job.run, lambda at: execution.probe_found_nothing(step, at, dice, failure))
        else:
            self.tell(
                job.run,
                lambda at: execution.attempt_failed(
                    step,
                    number,
                    failure,
                    at,
                    dice,
                    unknown=unknown,
                    fatal=fatal,
                    running=running,
                    heartbeat=heartbeat,
                    held=held_by,
                ),
            )
