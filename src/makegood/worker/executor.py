"""Runs attempts: async functions on the worker's loop, plain functions in threads, each with its time limit.

A new asyncio task for every attempt would cost more than most of the engine, so attempts run on *lanes*: long-lived
tasks that take one attempt after the other. A lane that is stuck in an attempt is simply not idle, and the next one
is woken. A lane whose attempt was cancelled, or left something in its context variables, is retired.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from makegood.definition.attempt import Attempt, current_attempt
from makegood.definition.keys import step_key
from makegood.engine.late import known_result
from makegood.failure import Failure
from makegood.worker.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from makegood.definition.step import Step
    from makegood.engine.run import StepRecord
    from makegood.worker.live import LiveRun

    StandIn: TypeAlias = Callable[[Step[..., Any], Literal["do", "undo", "probe"]], Step[..., Any]]
    """What is called in a step's place, for this kind of attempt."""

LANES_LIMIT = 2_000
THREADS_LIMIT = 64
ATTEMPTS_PER_TURN = 250
OBEY_SECONDS = 0.1  # a coroutine that is stopped may clean up for so long before it is given up on
CLEAN_CONTEXT_LENGTH = 1  # a lane's context holds the current attempt, and nothing of the user's


class Job(Attempt):
    """One attempt to be made: of a step (``do``), its compensation (``undo``) or its probe."""

    __slots__ = (
        "cancelled",
        "clock",
        "definition",
        "details",
        "is_async",
        "is_plain",
        "kind",
        "lane",
        "overdue",
        "record",
        "run",
        "seen_at",
        "timed_out",
        "timeout_seconds",
    )

    clock: Callable[[], float]  # set where silence matters, as is ``seen_at``
    details: msgspec.Raw  # of its last heartbeat, if it gave any
    overdue: str  # why its time is over, once it is
    seen_at: float

    def __init__(
        self,
        run: LiveRun,
        record: StepRecord,
        definition: Step[..., Any],
        kind: Literal["do", "undo", "probe"],
    ) -> None:
        self.run_id = run.id
        self.step_number = record.number
        self.step_name = record.name
        self.number = record.attempts + 1
        self.undo = kind == "undo"
        if self.undo and run.state.late is not None:
            self.undo += run.state.late.rounds.get(record.number, 0)
        self.revision = record.revision
        self.run = run
        self.record = record
        self.definition = definition
        self.kind = kind
        if kind == "do":
            self.is_async, self.timeout_seconds = definition.is_async, definition.options_.timeout_seconds
        else:
            self.is_async, self.timeout_seconds = definition.manner(kind)
        self.is_plain = (
            self.is_async
            and self.timeout_seconds is None
            and definition.options_.heartbeat_timeout_seconds is None
        )
        self.cancelled = False
        self.timed_out = False
        self.lane: asyncio.Task[None] | None = None

    @property
    def original_key(self) -> str:
        run_id = self.run.state.author_of(self.step_number)
        return step_key(run_id, self.step_number, self.step_name, self.revision)

    def call(self) -> Any:
        """Call the user's function: a coroutine if ``is_async``, otherwise the value."""
        if self.kind == "do":
            return self.definition.signature.call(self.record.arguments)
        return self.definition.call(
            self.kind, self.record.arguments, known_result(self.run.state, self.record)
        )

    @property
    def heartbeat_seconds(self) -> float | None:
        """How long it may be silent."""
        return self.definition.options_.heartbeat_timeout_seconds if self.kind == "do" else None

    @property
    def last_heartbeat(self) -> msgspec.Raw | None:
        heartbeats = self.run.state.heartbeats
        return None if heartbeats is None else heartbeats.get((self.step_number, self.kind == "undo"))

    def beat(self, details: msgspec.Raw | None) -> None:
        if self.cancelled or self.timed_out:
            raise asyncio.CancelledError(
                f"attempt {self.number} of step {self.step_name} is no longer wanted"
            )
        if details is not None:
            self.details = details
        clock = getattr(self, "clock", None)
        if clock is not None:
            self.seen_at = clock()


class NeverBegan(Exception):
    """The attempt was given up on before a thread was free for it."""


class Executor:
    """Makes attempts and reports each as ``returned(job, value)`` or ``raised(job, error)``.

    One that was stopped and goes on all the same is ``given_up(job)`` before that: whoever waits for it need not.
    """

    def __init__(
        self,
        returned: Callable[[Job, Any], None],
        raised: Callable[[Job, BaseException], None],
        given_up: Callable[[Job], None],
    ) -> None:
        self._returned = returned
        self._raised = raised
        self._given_up = given_up
        self._in_threads: set[Job] = set()
        self._jobs: deque[Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS_LIMIT, thread_name_prefix="makegood-step")
        self._waking = False
        self._closing = False
        self._cut_off = False
        self._quiet = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def submit(self, job: Job) -> None:
        """Make this attempt as soon as a lane is free."""
        self._jobs.append(job)
        if not self._waking:
            self._waking = True
            self._wake()

    def cancel(self, job: Job) -> bool:
        """Stop an attempt. True: it was under way and will report; False: it had not begun, and never will."""
        if job.lane is None:
            with contextlib.suppress(ValueError):  # a drain has dropped it already
                self._jobs.remove(job)
            return False
        job.cancelled = True
        self._stop(job)
        return True

    async def drain(self, grace_seconds: float) -> None:
        """Begin no more attempts, give those under way some time, then cut them off: their outcome stays unknown."""
        self._closing = True
        self._jobs.clear()
        if len(self._lanes) > len(self._idle):
            self._quiet.clear()
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._quiet.wait()
            except TimeoutError:
                pass
        self._cut_off = True
        for job in self._in_threads:
            job.timed_out, job.overdue = True, "its engine was closed"
        lanes = list(self._lanes)
        for lane in lanes:
            lane.cancel()
        if lanes:
            await asyncio.wait(lanes, timeout=OBEY_SECONDS)  # an attempt that does not obey is left behind
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _wake(self) -> None:
        """Wake one lane, and come back behind it: if it got stuck in its first attempt, the next lane goes on."""
        if self._jobs and not self._closing:
            if self._idle:
                self._idle.pop().set_result(None)
            elif len(self._lanes) < LANES_LIMIT:
                lane = self._loop.create_task(self._lane(), context=contextvars.Context())
                self._lanes.add(lane)
                lane.add_done_callback(self._retired)
            else:
                self._waking = False
                return
            self._loop.call_soon(self._wake)
        else:
            self._waking = False

    async def _lane(self) -> None:
        this = asyncio.current_task()
        jobs = self._jobs
        turns = 0
        while not self._closing:
            while jobs:
                job = jobs.popleft()
                job.lane = this
                current_attempt.set(job)
                try:
                    value = await (job.call() if job.is_plain else self._apart(job))
                except BaseException as error:  # noqa: BLE001 - whatever a user's step raises ends this attempt and nothing else
                    if not self._reusable_after(job, error):
                        return
                else:
                    self._returned(job, value)
                    if job.cancelled or self._closing:
                        return
                if len(contextvars.copy_context()) != CLEAN_CONTEXT_LENGTH:
                    return
                turns += 1
                if turns % ATTEMPTS_PER_TURN == 0:
                    await asyncio.sleep(0)
            current_attempt.set(None)
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def _reusable_after(self, job: Job, error: BaseException) -> bool:
        """Report an attempt that raised; whether its lane can go on."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        cut_off = self._closing if isinstance(error, asyncio.CancelledError) else self._cut_off
        if not cut_off or job.cancelled:
            self._raised(job, error)
        return not (self._closing or isinstance(error, (asyncio.CancelledError, SystemExit)))

    def _retired(self, lane: asyncio.Task[None]) -> None:
        """A lane has ended: another one takes over what is left to do."""
        self._lanes.discard(lane)
        if self._closing:
            if len(self._lanes) == len(self._idle):
                self._quiet.set()
        elif self._jobs and not self._waking:
            self._waking = True
            self._loop.call_soon(self._wake)

    async def _apart(self, job: Job) -> Any:
        """An attempt with a time limit, or in a thread, or both."""
        watch = Watch(self._loop, job, self._stop)
        try:
            return await (job.call() if job.is_async else self._in_thread(job))
        except asyncio.CancelledError:
            if job.timed_out and not job.cancelled:
                raise TimeoutError from None
            raise
        finally:
            watch.stop()
            if job.timed_out and job.is_async and job.lane is not None:
                job.lane.uncancel()

    async def _in_thread(self, job: Job) -> Any:
        self._in_threads.add(job)
        try:
            return await self._loop.run_in_executor(
                self._threads, contextvars.copy_context().run, _called, job
            )
        finally:
            self._in_threads.discard(job)

    def _stop(self, job: Job) -> None:
        """Have an attempt end. A thread cannot be told; a coroutine is, and given up on if it does not obey."""
        if not job.is_async:
            self._loop.call_soon(self._given_up, job)
        elif job.lane is not None:
            job.lane.cancel()
            self._loop.call_later(OBEY_SECONDS, self._given_up, job)


def _called(job: Job) -> Any:
    if job.cancelled or job.timed_out:
        raise NeverBegan("no thread was free for it in time")
    try:
        return job.call()
    except StopIteration as error:  # which no future can hold
        raise RuntimeError(f"the step raised StopIteration: {error}") from error


def failure_of(job: Job, error: BaseException) -> Failure:
    """What to record of a failed attempt."""
    if job.timed_out:
        return Failure("TimeoutError", job.overdue)
    if job.cancelled:
        return Failure("Cancelled", "the workflow no longer waited for it")
    return Failure.of(error)
