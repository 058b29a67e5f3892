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
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.definition.step import Step
    from makegood.engine.run import StepRecord
    from makegood.worker.live import LiveRun

    StandIn: TypeAlias = Callable[[Step[..., Any], Literal["do", "undo", "probe"]], Step[..., Any]]
    """What is called in a step's place, for this kind of attempt."""

LANES_LIMIT = 2_000
THREADS_LIMIT = 64
ATTEMPTS_PER_TURN = 250
CLEAN_CONTEXT_LENGTH = 1  # a lane's context holds the current attempt, and nothing of the user's


class Job(Attempt):
    """One attempt to be made: of a step (``do``), its compensation (``undo``) or its probe."""

    __slots__ = (
        "cancelled",
        "definition",
        "is_async",
        "is_plain",
        "kind",
        "lane",
        "record",
        "run",
        "timed_out",
        "timeout_seconds",
    )

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
        self.revision = record.revision
        self.run = run
        self.record = record
        self.definition = definition
        self.kind = kind
        if kind == "do":
            self.is_async, self.timeout_seconds = definition.is_async, definition.options_.timeout_seconds
        else:
            self.is_async, self.timeout_seconds = definition.manner(kind)
        self.is_plain = self.is_async and self.timeout_seconds is None
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
        return self.definition.call(self.kind, self.record.arguments, self.record.result)


class Executor:
    """Makes attempts and reports each as ``returned(job, value)`` or ``raised(job, error)``."""

    def __init__(
        self,
        returned: Callable[[Job, Any], None],
        raised: Callable[[Job, BaseException], None],
    ) -> None:
        self._returned = returned
        self._raised = raised
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
        job.lane.cancel()
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
        lanes = list(self._lanes)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
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
        if job.timeout_seconds is None:
            return await self._in_thread(job)
        try:
            async with asyncio.timeout(job.timeout_seconds) as scope:
                return await (job.call() if job.is_async else self._in_thread(job))
        finally:
            job.timed_out = scope.expired()

    async def _in_thread(self, job: Job) -> Any:
        return await self._loop.run_in_executor(self._threads, contextvars.copy_context().run, _called, job)


def _called(job: Job) -> Any:
    try:
        return job.call()
    except StopIteration as error:  # which no future can hold
        raise RuntimeError(f"the step raised StopIteration: {error}") from error


def failure_of(job: Job, error: BaseException) -> Failure:
    """What to record of a failed attempt."""
    if job.timed_out:
        return Failure("TimeoutError", f"no answer within {job.timeout_seconds:g} s")
    if job.cancelled:
        return Failure("Cancelled", "the workflow no longer waited for it")
    return Failure.of(error)
