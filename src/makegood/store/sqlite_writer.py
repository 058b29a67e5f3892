"""The SQLite connection that writes: one transaction at a time, waiting without blocking the event loop.

Rows are bound on the event loop's thread (they are memory copies, and a second thread would only fight for
the interpreter lock); waiting for the disk moves to a thread as soon as the disk turns out to be slow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from makegood.store.sqlite_checkpoint import Checkpointer
from makegood.store.sqlite_errors import explain, explained

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

log = logging.getLogger("makegood")

SLOW_DISK_SECONDS = 0.002
LOCKED_WAIT_SECONDS = 30.0


class Writer:
    """``async with writer:`` is BEGIN IMMEDIATE … COMMIT, or ROLLBACK if the body raises."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self.connection = connection
        self._path = path
        self._free = asyncio.Lock()
        self._checkpointer = Checkpointer(path, self._free)
        self._disk_seconds = 0.0

    async def close(self) -> None:
        await self._checkpointer.close()
        async with self._free:
            try:
                self.connection.close()
            except apsw.Error as error:  # of tidying up; what was committed is durable without it
                log.warning("%s", explain(error, self._path))

    async def data_version(self) -> int:
        """Changes with every commit of another connection, and with none of this one."""
        async with self._free:
            with explained(self._path):
                return int(self.connection.pragma("data_version"))

    async def __aenter__(self) -> None:
        await self._free.acquire()
        try:
            with explained(self._path):
                await self._begin()
        except BaseException:
            self._free.release()
            raise

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        try:
            with explained(self._path):
                if error is None:
                    await self._commit()
                else:
                    self._roll_back()
                    raise error
        finally:
            self._free.release()

    async def _begin(self) -> None:
        wait_seconds, waited_seconds = 0.001, 0.0
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except apsw.BusyError:
                if waited_seconds > LOCKED_WAIT_SECONDS:
                    raise
            await asyncio.sleep(wait_seconds)
            waited_seconds += wait_seconds
            wait_seconds = min(wait_seconds * 2, 0.05)

    async def _commit(self) -> None:
        try:
            if self._disk_seconds < SLOW_DISK_SECONDS:
                seconds = self._timed_commit()
            else:
                seconds = await to_the_end(asyncio.to_thread(self._timed_commit))
        except apsw.Error:
            self._roll_back()
            raise
        self._disk_seconds += (seconds - self._disk_seconds) / 8
        self._checkpointer.wrote(self.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, reset=True)[0])

    def _timed_commit(self) -> float:
        """The seconds that the disk took; getting to a thread and back is not its fault."""
        started = time.perf_counter()
        self.connection.execute("COMMIT")
        return time.perf_counter() - started

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not be left half done: a cancellation waits until it is over."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
