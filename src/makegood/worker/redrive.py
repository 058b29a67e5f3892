"""Missed steps, tried again: one attempt each, under the step's old idempotency key, in runs that have completed.

    request in the inbox, durable ─▶ attempt ─▶ MissedStepRetried and the answer, in one commit

Until that commit the request stays in the inbox, so that a later worker finds it, should this one die on the way.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from makegood.definition.completion import PENDING
from makegood.definition.payload import NULL
from makegood.definition.registry import steps_in_reach
from makegood.engine import journal
from makegood.engine.abandoned import AbandonedProgram
from makegood.engine.execution import Execution
from makegood.engine.folds import folded
from makegood.engine.missed import missed_step, missed_steps, retried
from makegood.errors import (
    NotPossible,
    PayloadError,
    StillMissed,
    StoreError,
    StoreFull,
    StoreLocked,
    not_found,
)
from makegood.failure import Failure
from makegood.store.codec import seal, unseal_leg
from makegood.store.protocol import InboxAnswer, Write
from makegood.worker.executor import Executor, Job, NeverBegan, failure_of
from makegood.worker.live import LiveRun

if TYPE_CHECKING:
    import msgspec

    from makegood.engine.operator import Request
    from makegood.engine.run import RunState, StepRecord
    from makegood.store.protocol import RunRow, SealedEntry
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5
UNENDING = Failure("Pending", "it returned PENDING, which nobody can complete once the run has ended")
AGAIN = "run {}: step {} failed again, and is still missed: {}"


class Redrive:
    """The part of a worker that tries missed steps again."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._executor: Executor | None = None
        self._runs: dict[str, asyncio.Task[None]] = {}  # one attempt at a time in each run
        self._ended: dict[Job, asyncio.Future[tuple[msgspec.Raw, Failure | None, bool]]] = {}

    async def take(self, run_id: str, request: Request, answer: InboxAnswer) -> None:
        """Begin to carry a request out, unless something in its run is being tried again already.

        Raises:
            NotPossible, RunNotFound: it cannot be.
        """
        if run_id in self._runs:
            return
        row, _, state = await self._told(run_id)
        record = missed_step(state, request)
        job = self._job(row, state, record)
        task = asyncio.create_task(self._carry_out(job, request, answer), name="makegood-redrive")
        self._runs[run_id] = task

    async def drain(self, grace_seconds: float) -> None:
        """Give attempts under way some time; the others are left in the inbox."""
        if self._executor is not None:
            await self._executor.drain(grace_seconds)
        for task in list(self._runs.values()):
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _told(self, run_id: str) -> tuple[RunRow, SealedEntry, RunState]:
        """The run's row, its last entry, and what its last leg tells."""
        store = self._worker.store
        row = await store.find(run_id)
        if row is None or row.pruned_at is not None:
            raise not_found(run_id)
        sealed = await store.journal(row.key, after=row.leg_entry - 2)
        return row, sealed[-1], folded(unseal_leg(run_id, sealed, row.leg_entry))

    def _job(self, row: RunRow, state: RunState, record: StepRecord) -> Job:
        worker = self._worker
        if not worker.registry.knows(row.workflow, row.version):
            raise NotPossible(f"run {row.id}: {worker.recovery.why_not(row)}")
        workflow = worker.registry.get(row.workflow, row.version)
        definition = steps_in_reach(workflow).get(record.name)
        if definition is None or definition.transactional:
            problem = (
                "is not in reach of"
                if definition is None
                else "is a transaction, which is made only in a run of"
            )
            raise NotPossible(f"run {row.id}: step {record.name} {problem} workflow {row.workflow}.")
        if worker.stand_in is not None:
            definition = worker.stand_in(definition, "do")
        run = LiveRun(
            row.id, Execution(workflow, AbandonedProgram(state, {record.number: definition}), state)
        )
        return Job(run, record, definition, "do")

    async def _carry_out(self, job: Job, request: Request, answer: InboxAnswer) -> None:
        try:
            result, failure, unknown = await self._attempt(job)
            fact = retried(job.record, request, failure, result=result, unknown=unknown)
            if failure is not None:
                message = AGAIN.format(job.run_id, job.step_name, failure)
                answer = InboxAnswer(answer.number, message, StillMissed.__name__)
            await self._record(job, fact, answer)
        except StoreError as error:  # the worker stops
            log.info("a missed step is left to the next worker: %s", error)
        finally:
            del self._runs[job.run_id]
            self._worker.recovery.look()

    async def _attempt(self, job: Job) -> tuple[msgspec.Raw, Failure | None, bool]:
        """Make one attempt: its result; or how it failed, and whether it may have taken effect all the same."""
        if self._executor is None:
            self._executor = Executor(self._returned, self._raised, self._given_up)
        ended = self._ended[job] = asyncio.get_running_loop().create_future()
        self._executor.submit(job)
        try:
            result, failure, unknown = await ended
            return result, failure, unknown
        finally:
            del self._ended[job]

    def _returned(self, job: Job, value: Any) -> None:
        if value is PENDING:
            self._end(job, NULL, UNENDING, unknown=True)
            return
        try:
            self._end(job, job.definition.signature.encode_result(value), None, unknown=False)
        except PayloadError as unusable:
            self._end(job, NULL, Failure.of(unusable, with_traceback=False), unknown=True)

    def _raised(self, job: Job, error: BaseException) -> None:
        doubtful = (*job.definition.options_.unknown, asyncio.CancelledError)
        unknown = (job.timed_out or isinstance(error, doubtful)) and not isinstance(error, NeverBegan)
        self._end(job, NULL, failure_of(job, error), unknown=unknown)

    def _given_up(self, job: Job) -> None:
        self._end(job, NULL, failure_of(job, TimeoutError()), unknown=True)

    def _end(self, job: Job, result: msgspec.Raw, failure: Failure | None, *, unknown: bool) -> None:
        ended = self._ended.get(job)
        if ended is not None and not ended.done():
            ended.set_result((result, failure, unknown))

    async def _record(self, job: Job, fact: journal.MissedStepRetried, answer: InboxAnswer) -> None:
        while True:
            try:
                await self._write(job, fact, answer)
                return
            except (StoreFull, StoreLocked) as refused:
                log.error("%s What came of step %s of run %s waits.", refused, job.step_name, job.run_id)
                await asyncio.sleep(REFUSED_WAIT_SECONDS)

    async def _write(self, job: Job, fact: journal.MissedStepRetried, answer: InboxAnswer) -> None:
        """Record the outcome, and answer the request with it; unless the run was reopened meanwhile."""
        worker = self._worker
        async with worker.recovery.alone(job.run_id):
            row, last, state = await self._told(job.run_id)
            if state.status_ is None:
                late = f"run {row.id} is being undone: step {job.step_name} was tried again too late."
                await worker.store.answer(
                    worker.epoch, [InboxAnswer(answer.number, late, NotPossible.__name__)]
                )
                return
            entry = journal.Entry(max(worker.now(), state.clock), worker.epoch, [fact])
            left = len(missed_steps(state)) - (fact.failure is None)
            await worker.store.commit(
                worker.epoch,
                [
                    Write(
                        row.key,
                        row.id,
                        row.workflow,
                        row.status,
                        row.started_at,
                        row.ended_at,
                        False,
                        seal(entry, last.number + 1, last.hash),
                        [answer],
                        before=row.status,
                        missed=left,
                    )
                ],
            )
        worker.changes.tell(row.id)
