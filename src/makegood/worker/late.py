"""Late results: attempts that are given up on while they go on, and what is recorded when they end after all.

    time is over ─▶ posted to the inbox, durably ─▶ AttemptFailed(running) ─▶ … ─▶ AttemptEndedLate, and the post is answered

The post is what a later worker finds if this process ends first: then nobody can tell any more how the attempt ended.
It also reaches runs that have ended by then, or left memory; those are reopened, or loaded.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.definition.completion import PENDING
from makegood.definition.payload import NULL
from makegood.engine.execution import LOST
from makegood.engine.operator import Request
from makegood.errors import NotPossible, PayloadError, RunNotFound, StoreError, StoreFull, StoreLocked
from makegood.failure import Failure
from makegood.store.protocol import InboxAnswer
from makegood.worker.executor import NeverBegan, failure_of
from makegood.worker.inbox import NotYet

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from makegood.worker.executor import Job
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5
ASKED_OUTSIDE = Failure("Pending", "it has asked somebody outside, who may still complete it")


class LateResults:
    """The attempts of a worker that were given up on and go on."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._expected: dict[Job, int] = {}
        """And the number of the post that stands for each; 0: nothing hangs on how it ends."""
        self._tasks: set[asyncio.Task[None]] = set()

    def give_up(self, job: Job) -> None:
        """The attempt was to end and goes on: its run does not wait for it any longer."""
        if job.run.jobs.get(job.step_number) is job:
            self._begin(self._give_up(job))

    def returned(self, job: Job, value: Any) -> None:
        """An attempt that nobody waits for has returned."""
        if job in self._expected:
            self._begin(self._tell(job, _request(job, *_told(job, value))))

    def raised(self, job: Job, error: BaseException) -> None:
        """An attempt that nobody waits for has raised."""
        if job in self._expected:
            doubtful = (*job.definition.options_.unknown, asyncio.CancelledError)
            interrupted = job.is_async or isinstance(error, doubtful)  # it was not its own verdict
            unknown = interrupted and not isinstance(error, NeverBegan)
            self._begin(self._tell(job, _request(job, NULL, Failure.of(error), unknown=unknown)))

    async def settled(self) -> None:
        """Wait until everything that has ended so far is on its way into the store."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Whatever still goes on is left to the next worker."""
        self._expected.clear()
        for task in self._tasks:
            task.cancel()

    # ---- inside --------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except StoreError as error:  # the worker stops
                log.info("a late attempt is left to the next worker: %s", error)

        task = asyncio.create_task(guarded(), name="makegood-late")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_up(self, job: Job) -> None:
        run, step = job.run, job.step_number
        failure = failure_of(job, TimeoutError())
        held_by = self._worker.gates.given_up(job)
        if job.kind == "probe":
            del run.jobs[step]
            self._worker.failed(job, failure, unknown=True, fatal=False, held_by=held_by)
            return
        number = 0
        if job.kind == "do" and job.record.undoable:
            number = await self._post(job)
        if run.jobs.get(step) is not job:  # it has ended in the meantime, or the run has
            await self._forget(number)
            return
        del run.jobs[step]
        self._expected[job] = number
        self._worker.failed(job, failure, unknown=True, fatal=False, running=True, held_by=held_by)

    async def _post(self, job: Job) -> int:
        """Have the next worker find it, should this one not live to see its end."""
        request = _request(job, NULL, LOST, unknown=True, id=str(self._worker.epoch))
        while True:
            try:
                return await self._worker.store.post(job.run_id, msgspec.json.encode(request))
            except (StoreFull, StoreLocked) as refused:
                log.error("%s Step %s of run %s is not given up on yet.", refused, job.step_name, job.run_id)
                await asyncio.sleep(REFUSED_WAIT_SECONDS)

    async def _tell(self, job: Job, request: Request) -> None:
        number = self._expected.pop(job)
        answers = [InboxAnswer(number)] if number else []
        while True:
            try:
                await self._record(job.run_id, request, answers)
                return
            except (StoreFull, StoreLocked) as refused:
                log.error("%s What run %s did late waits.", refused, job.run_id)
                await asyncio.sleep(REFUSED_WAIT_SECONDS)
            except (NotPossible, RunNotFound) as unheard:
                log.warning("step %s of run %s has ended late: %s", job.step_name, job.run_id, unheard)
                await self._forget(number)
                return

    async def _record(self, run_id: str, request: Request, answers: list[InboxAnswer]) -> None:
        worker = self._worker
        try:
            recorded = await worker.recovery.request(run_id, request, answers)
        except NotYet:  # like a signal, it waits in the inbox for code that fits
            await worker.store.post(run_id, msgspec.json.encode(request))
            recorded = False
        if answers:
            if recorded:
                await worker.committer.flushed()
                await worker.store.take_answer(answers[0].number)
            else:
                await self._forget(answers[0].number)

    async def _forget(self, number: int) -> None:
        if number:
            await self._worker.store.answer(self._worker.epoch, [InboxAnswer(number)])
            await self._worker.store.take_answer(number)


def _told(job: Job, value: Any) -> tuple[msgspec.Raw, Failure | None]:
    """What an attempt that returned this tells: a result, or why it tells nothing."""
    if job.kind == "undo":
        return NULL, None
    if value is PENDING:
        return NULL, ASKED_OUTSIDE
    try:
        return job.definition.signature.encode_result(value), None
    except PayloadError as unusable:
        return NULL, Failure.of(unusable, with_traceback=False)


def _request(
    job: Job, result: msgspec.Raw, failure: Failure | None, *, unknown: bool = True, id: str = ""
) -> Request:
    return Request(
        "late",
        "worker",
        step=str(job.step_number),
        result=result,
        compensate=job.kind == "undo",
        id=id,
        attempt=job.number,
        failure=failure,
        unknown=unknown and failure is not None,
    )
