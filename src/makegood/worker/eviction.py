"""Eviction: a run that only waits need not be in memory. Its row says when to wake it; a request wakes it as well.

awake, in memory ──nothing under way──▶ waiting, in memory ──too many wait──▶ asleep, in the store only
       ▲                                       │                                   │
       └────────── its time, a request ────────┴──────── recovery loads it ────────┘

A row is marked as asleep after its run has left memory and before anything may load it again, so that a sleeping
row always means: no attempt is under way. A run outstays its children: so a child that ends finds its parent in memory,
or wakes the parent's row, which is marked already.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from makegood.errors import StoreFull, StoreLocked

if TYPE_CHECKING:
    from makegood.worker.live import LiveRun
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

EVICT_AT_ONCE = 5_000
SOON_SECONDS = 2.0
REFUSED_WAIT_SECONDS = 0.5


class Eviction:
    """Keeps the number of waiting runs in a worker's memory within ``limit``."""

    def __init__(self, worker: Worker, limit: int) -> None:
        self._worker = worker
        self._limit = limit
        self._waiting: dict[str, LiveRun] = {}  # the longest waiting first; some have gone on since
        self._wanted = asyncio.Event()
        self.under_way = asyncio.Lock()
        """Held while rows are being marked: whoever loads a run takes it first."""

    def waits(self, run: LiveRun) -> None:
        """Nothing of this run is under way."""
        waiting = self._waiting
        waiting.pop(run.id, None)
        waiting[run.id] = run
        if len(waiting) > self._limit:
            self._wanted.set()

    def forget(self, run: LiveRun) -> None:
        """The run has left."""
        self._waiting.pop(run.id, None)

    async def serve(self) -> None:
        """Evict until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._waiting) > self._limit and await self._evict():
                pass

    async def _evict(self) -> bool:
        async with self.under_way:
            chosen = self._chosen()
            for run, _ in chosen:
                self._worker.let_sleep(run)
            times = [(run.key, wake_at) for run, wake_at in chosen if run.key is not None]
            while times:
                try:
                    await self._worker.store.set_wake(self._worker.epoch, times)
                    break
                except (StoreFull, StoreLocked) as refused:
                    log.error("%s %d waiting run(s) are not marked as asleep yet.", refused, len(times))
                    await asyncio.sleep(REFUSED_WAIT_SECONDS)
        if times:
            self._worker.recovery.wake_by(min(at for _, at in times))
        return bool(times)

    def _chosen(self) -> list[tuple[LiveRun, float]]:
        """The runs that have waited longest, and when each is to be woken."""
        soon = self._worker.now() + SOON_SECONDS
        chosen: list[tuple[LiveRun, float]] = []
        for run in list(self._waiting.values())[: len(self._waiting) - self._limit]:
            if len(chosen) == EVICT_AT_ONCE:
                break
            del self._waiting[run.id]
            if not run.is_waiting or self._worker.runs.get(run.id) is not run:
                continue  # it comes back with its next wait, or has left
            wake_at = min(
                (alarm.due for alarm in (*run.timers.values(), *run.waits.values())), default=math.inf
            )
            if run.state.paused is not None:
                wake_at = math.inf
            if wake_at < soon or self._worker.children.awake(run):
                self._waiting[run.id] = run
            else:
                chosen.append((run, wake_at))
        return chosen
