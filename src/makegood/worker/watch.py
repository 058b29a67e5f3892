"""Time limits of attempts, in seconds of the event loop: for all of it, and for its silence between two heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from makegood.worker.executor import Job


class Watch:
    """Sees to it that an attempt keeps within its time, and is not silent for too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job, stop: Callable[[Job], None]) -> None:
        self._loop = loop
        self._job = job
        self._stop = stop
        self._handles: list[asyncio.TimerHandle] = []
        limit_seconds, silence_seconds = job.timeout_seconds, job.heartbeat_seconds
        if limit_seconds is not None:
            self._handles.append(
                loop.call_later(limit_seconds, self._expire, f"no answer within {limit_seconds:g} s")
            )
        if silence_seconds is not None:
            job.clock, job.seen_at = loop.time, loop.time()
            self._handles.append(loop.call_later(silence_seconds, self._listen, silence_seconds))

    def stop(self) -> None:
        for handle in self._handles:
            handle.cancel()

    def _listen(self, limit_seconds: float) -> None:
        left_seconds = self._job.seen_at + limit_seconds - self._loop.time()
        if left_seconds <= 0:
            self._expire(f"no heartbeat within {limit_seconds:g} s")
        else:
            self._handles[-1] = self._loop.call_later(left_seconds, self._listen, limit_seconds)

    def _expire(self, why: str) -> None:
        self.stop()
        if not self._job.cancelled:
            self._job.timed_out, self._job.overdue = True, why
            self._stop(self._job)
