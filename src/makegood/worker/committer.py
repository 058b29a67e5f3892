"""Group commit: whatever all runs want to write while a commit is under way goes out with the next one.

    queue ──▶ seal an entry per run ──▶ store.commit (one fsync) ──▶ carry out, run by run

One run alone does not wait: the queue is taken as soon as the loop has finished what it was doing.
Where a transaction step waits (``worker.transactions``), it is made first, and the queue goes out in its transaction.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeAlias

from makegood.errors import StoreError, StoreFull, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.store.protocol import Store, Write
    from makegood.worker.live import LiveRun
    from makegood.worker.transactions import Transactions

    Batch: TypeAlias = list[tuple[LiveRun, Write]]

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5


class Committer:
    """Writes the entries of all runs of a worker, batch after batch."""

    def __init__(
        self,
        store: Store,
        epoch: int,
        carry_out: Callable[[LiveRun], None],
        reject: Callable[[LiveRun], None],
        transactions: Transactions | None = None,
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._carry_out = carry_out
        self._reject = reject
        self._transactions = transactions
        self._queue: list[LiveRun] = []
        self._wanted: asyncio.Future[None] | None = None
        self._committing = False
        self._commits = 0
        self._stopped: StoreError | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def enqueue(self, run: LiveRun) -> None:
        """Have what the run recorded written with the next commit."""
        if not run.queued and run.execution.events:
            run.queued = True
            self._queue.append(run)
            if self._wanted is not None:
                self.wake()

    def wake(self) -> None:
        """There is something to commit."""
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    async def flushed(self) -> None:
        """Wait until everything enqueued so far is durable.

        Raises:
            StoreError: it will not be: the committer has stopped.
        """
        if self._stopped is not None:
            raise self._stopped
        ahead = self._committing + bool(self._queue)
        if ahead:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((self._commits + ahead, waiter))
            await waiter

    async def serve(self) -> None:
        """Commit until cancelled.

        Raises:
            StoreError: the store failed in a way that waiting does not mend: the worker must stop.
        """
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not (self._queue or (self._transactions is not None and self._transactions.waiting)):
                    self._wanted = loop.create_future()
                    await self._wanted
                await self._write()
        except BaseException as error:
            self._stopped = StoreError(f"this engine has stopped: {error}")
            self._release()
            raise

    async def _write(self) -> None:
        self._committing = True
        transactions = self._transactions
        if transactions is None or not transactions.waiting or not await transactions.make_next(self):
            await self.commit(self.take())
        self._committing = False
        self._commits += 1
        if self._waiters:
            self._release()

    def take(self) -> Batch:
        """Everything that is queued, sealed."""
        queue, self._queue = self._queue, []
        return [(run, run.seal(self._epoch)) for run in queue]

    async def commit(self, batch: Batch) -> None:
        """Write a batch, however long the store refuses, and carry it out."""
        if batch:
            self.carry_out(batch, await self._commit([write for _, write in batch]))

    def carry_out(self, batch: Batch, taken: list[Write]) -> None:
        """A batch is durable, but for the runs whose id was taken."""
        for run, write in batch:
            if taken and write.key is None:
                self._reject(run)
            else:
                run.key = write.key
                self._carry_out(run)

    def _release(self) -> None:
        waiting, self._waiters = self._waiters, []
        for number, waiter in waiting:
            if waiter.done():
                continue
            if self._stopped is not None:
                waiter.set_exception(self._stopped)
            elif number <= self._commits:
                waiter.set_result(None)
            else:
                self._waiters.append((number, waiter))

    async def _commit(self, writes: list[Write]) -> list[Write]:
        while True:
            try:
                return await self._store.commit(self._epoch, writes)
            except (StoreFull, StoreLocked) as refused:
                log.error("%s %d run(s) wait.", refused, len(writes))
                await asyncio.sleep(REFUSED_WAIT_SECONDS)
