"""Moving what the write-ahead log holds into the database file: beside the commits, in a thread.

SQLite would do it within a commit, and everybody who waits for that one would wait for it. Here most is copied while
commits go on; only the little that they add meanwhile is copied between two of them, so that the log can begin anew.
"""

from __future__ import annotations

import asyncio
import logging

import apsw

from makegood.store.sqlite_errors import explain

log = logging.getLogger("makegood")

CHECKPOINT_PAGES = 4_000
REST_PAGES = 200
MORE_ROUNDS = 4


class Checkpointer:
    """Keeps the write-ahead log of one database short. ``free`` is held by whoever writes."""

    def __init__(self, path: str, free: asyncio.Lock) -> None:
        self._path = path
        self._free = free
        self._pages = 0
        self._copying: asyncio.Task[None] | None = None
        self._connection = apsw.Connection(path)
        self._connection.pragma("synchronous", "FULL")

    def wrote(self, pages: int) -> None:
        """A commit has added so many pages to the log."""
        self._pages += pages
        if self._pages >= CHECKPOINT_PAGES and self._copying is None:
            self._copying = asyncio.create_task(self._copy(), name="makegood-checkpoint")

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._copying is not None:
            await asyncio.wait([self._copying])
        self._connection.close()

    async def _copy(self) -> None:
        try:
            rest_pages = await self._checkpoint()
            for _ in range(MORE_ROUNDS):
                if rest_pages <= REST_PAGES:
                    break
                rest_pages = await self._checkpoint()
            if rest_pages:
                async with self._free:
                    await self._checkpoint()
        except apsw.BusyError:  # another process is doing it
            log.debug("%s: another process makes the checkpoint.", self._path)
        except apsw.Error as error:  # nothing is lost: the log keeps it all
            log.warning("%s The write-ahead log grows until then.", explain(error, self._path))
        finally:
            self._copying = None

    async def _checkpoint(self) -> int:
        """Copy what there is; how many pages of the log are left, those of commits made meanwhile included."""
        self._pages = 0
        in_log, copied = await asyncio.to_thread(self._connection.wal_checkpoint)
        return in_log - copied + self._pages
