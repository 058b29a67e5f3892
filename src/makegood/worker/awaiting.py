"""Who waits for the end of runs that are not in memory: asleep, or to be taken in by and by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makegood.engine.run import RunState
    from makegood.worker.live import LiveRun

    Waiter = asyncio.Future[RunState | None]


class Awaiting:
    """Waiters by run; each is told the final state, or None: look into the store."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: dict[str, list[Waiter]] = {}

    def leave(self, run: LiveRun) -> None:
        """A run leaves memory; those who wait for its end go on waiting."""
        if run.waiters:
            self._waiters.setdefault(run.id, []).extend(run.waiters)

    def come(self, run: LiveRun) -> None:
        """A run has come into memory, and tells them itself."""
        run.waiters.extend(self._waiters.pop(run.id, ()))

    async def within(self, run_id: str, seconds: float) -> RunState | None:
        """The final state, should the run end here and in time."""
        waiter: Waiter = self._loop.create_future()
        self._waiters.setdefault(run_id, []).append(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
            return waiter.result() if waiter.done() else None
        finally:
            waiters = self._waiters.get(run_id, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[run_id]
            waiter.cancel()

    def wake(self, run_id: str) -> None:
        """Have those who wait for this run look into the store."""
        for waiter in self._waiters.pop(run_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def disappoint(self, error: BaseException) -> None:
        """Nobody waits any longer."""
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # whoever waits gets it; nobody has to
        self._waiters.clear()
