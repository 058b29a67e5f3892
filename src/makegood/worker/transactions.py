"""Transaction steps: attempts that the committer makes itself, each in the store transaction that records it.

    attempt ──▶ store.transact [ function ─▶ execution ─▶ everything that is queued ] ──▶ durable, or it never happened

One at a time, as the store has one writer; whatever other runs want to write by then goes out with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from makegood.definition.attempt import current_attempt
from makegood.definition.payload import NULL
from makegood.definition.transaction import Transaction
from makegood.errors import StoreFull, StoreLocked
from makegood.store.protocol import RolledBack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import msgspec

    from makegood.definition.transaction import Connection
    from makegood.store.protocol import Store, Write
    from makegood.worker.committer import Batch, Committer
    from makegood.worker.executor import Job
    from makegood.worker.live import LiveRun

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5


class Transactions:
    """The attempts that wait for their transaction.

    ``done(job, result)`` tells the run, and says whether it took the result; ``raised(job, error)`` that the attempt
    failed; ``reload(run, write)`` has to take a run in anew, as what it was told can no longer be written.
    """

    def __init__(
        self,
        store: Store,
        epoch: int,
        done: Callable[[Job, msgspec.Raw], bool],
        raised: Callable[[Job, BaseException], None],
        reload: Callable[[LiveRun, Write], Awaitable[None]],
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._done = done
        self._raised = raised
        self._reload = reload
        self._jobs: deque[Job] = deque()
        self._closed = False

    @property
    def waiting(self) -> bool:
        return bool(self._jobs)

    def submit(self, job: Job) -> None:
        """Make this attempt when it is its turn; the committer has to be woken."""
        if not self._closed:
            self._jobs.append(job)

    def cancel(self, job: Job) -> bool:
        """Stop an attempt. True: it is under way and will report; False: it had not begun, and never will."""
        with contextlib.suppress(ValueError):
            self._jobs.remove(job)
            return False
        job.cancelled = True
        return True

    def close(self) -> None:
        """Begin no more."""
        self._closed = True
        self._jobs.clear()

    async def make_next(self, committer: Committer) -> bool:
        """Make one attempt and commit it with everything queued. False: nothing was written."""
        job = self._jobs.popleft()
        batch: Batch = []

        def writes_for(result: msgspec.Raw) -> list[Write]:
            if not self._done(job, result):
                raise RolledBack
            batch.extend(committer.take())
            return [write for _, write in batch]

        try:
            if job.cancelled:
                raise RolledBack from asyncio.CancelledError()
            taken = await self._store.transact(
                self._epoch, lambda connection: made(job, connection), job.timeout_seconds, writes_for
            )
        except RolledBack as rolled_back:
            if rolled_back.__cause__ is not None:
                self._raised(job, rolled_back.__cause__)
            return False
        except (StoreFull, StoreLocked) as refused:
            log.error("%s Transaction %s of run %s waits.", refused, job.step_name, job.run_id)
            await self._refused(job, batch, committer)
            return bool(batch)
        committer.carry_out(batch, taken)
        return True

    async def _refused(self, job: Job, batch: Batch, committer: Committer) -> None:
        """The store is full or locked: write what was not the transaction's, and make the attempt again."""
        await asyncio.sleep(REFUSED_WAIT_SECONDS)
        if not batch:
            self._jobs.appendleft(job)
            return
        await committer.commit([(run, write) for run, write in batch if run is not job.run])
        for run, write in batch:
            if run is job.run:
                await self._reload(run, write)


def made(job: Job, connection: Connection) -> msgspec.Raw:
    """Make the attempt: the result, encoded, so that one that cannot be stored is rolled back as well."""
    definition = job.definition
    assert isinstance(definition, Transaction)
    current_attempt.set(job)
    value: Any = definition.call_on(connection, job.kind, job.record.arguments, job.record.result)
    return definition.signature.encode_result(value) if job.kind == "do" else NULL
