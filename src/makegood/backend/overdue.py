"""Overdue runs: those that have not ended although runs of their workflow usually have by then. Found, and told of.

What is usual: what the workflow declares; else three times what 95 % of its recently completed runs stayed within; else
what the engine was given. A run is told of when its age has reached that, and again whenever its age has doubled. As
keys rise with the times of the starts, a cursor for each doubling is all that has to be remembered; it is in memory, so
that a new worker tells of the overdue once more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from makegood.errors import StoreError
from makegood.worker.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from makegood.definition.registry import Registry
    from makegood.store.protocol import RunRow, Store

log = logging.getLogger("makegood")

RECENT_RUNS = 5_000
ENOUGH_RUNS = 20
USUAL_SHARE = 0.95
LEARNED_FACTOR = 3.0
LEAST_LEARNED_SECONDS = 60.0
PAGE_RUNS = 100
LOOK_SECONDS = 600.0
"""When to look again if nothing tells when: nobody knows yet what is usual, or this process is not the worker."""


def learned(durations: Sequence[tuple[str, float]]) -> dict[str, float]:
    """What is usual for each workflow of which enough runs completed; all in seconds."""
    by_workflow: dict[str, list[float]] = {}
    for workflow, seconds in durations:
        by_workflow.setdefault(workflow, []).append(seconds)
    return {
        workflow: max(LEARNED_FACTOR * sorted(told)[int(len(told) * USUAL_SHARE)], LEAST_LEARNED_SECONDS)
        for workflow, told in by_workflow.items()
        if len(told) >= ENOUGH_RUNS
    }


class Overdue:
    """Finds overdue runs. ``works``: whether this process is the worker; ``otherwise``: what is usual, by default."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        now: Callable[[], float],
        works: Callable[[], bool],
    ) -> None:
        self.otherwise: float | None = None
        self._store = store
        self._registry = registry
        self._now = now
        self._works = works
        self._cursors: dict[str, dict[int, int]] = {}  # workflow → doublings → the last run told of
        self._wanted = asyncio.Event()
        self._rung = asyncio.Event()  # the time has come
        self._task: asyncio.Task[None] | None = None

    def watch(self, tell: Callable[[RunRow, float], Awaitable[None]]) -> None:
        """Tell of every run that gets overdue, and what is usual, until closed."""
        self._task = asyncio.create_task(self._serve(tell), name="makegood-overdue")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def begins(self) -> None:
        """A run begins: look when it might be overdue."""
        self._wanted.set()

    async def found(self, workflow: str | None = None) -> AsyncIterator[tuple[RunRow, float]]:
        """All runs that are overdue now, the oldest of each workflow first, and what is usual."""
        usual = await self._usual()
        for name in await self._store.unfinished_workflows():
            if name not in usual or workflow not in (None, name):
                continue
            key = 0
            while rows := await self._store.unfinished(name, key, PAGE_RUNS):
                for row in rows:
                    if row.started_at + usual[name] > self._now():
                        break
                    yield row, usual[name]
                else:
                    key = rows[-1].key
                    continue
                break

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _usual(self) -> dict[str, float]:
        usual = learned(await self._store.durations(RECENT_RUNS))
        if self.otherwise is not None:
            unknown = (name for name in await self._store.unfinished_workflows() if name not in usual)
            usual |= dict.fromkeys(unknown, self.otherwise)
        declared: dict[str, float] = {}
        for name, version in self._registry.known:
            seconds = self._registry.get(name, version).usual_seconds
            if seconds is not None:
                declared[name] = max(seconds, declared.get(name, 0.0))
        return usual | declared

    async def _serve(self, tell: Callable[[RunRow, float], Awaitable[None]]) -> None:
        while True:
            self._wanted.clear()
            try:
                due = await self._look(tell) if self._works() else self._now() + LOOK_SECONDS
            except StoreError as error:
                log.error("overdue runs are not looked for: %s", error)
                due = self._now() + LOOK_SECONDS
            await self._until(due)

    async def _until(self, due: float) -> None:
        """Wait for this time (infinity: for ever); or, once a run begins, until that might be overdue."""
        loop = asyncio.get_running_loop()
        self._rung.clear()
        alarm = None if math.isinf(due) else Alarm(loop, self._now, due, self._ring)
        try:
            await self._wanted.wait()
            if not self._rung.is_set():
                soonest = self._now() + min((await self._usual()).values(), default=LOOK_SECONDS)
                if alarm is not None:
                    alarm.cancel()
                alarm = Alarm(loop, self._now, min(due, soonest), self._ring)
                await self._rung.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    def _ring(self) -> None:
        self._rung.set()
        self._wanted.set()

    async def _look(self, tell: Callable[[RunRow, float], Awaitable[None]]) -> float:
        """Tell of the overdue; when to look next, infinity if there is nothing to look for."""
        usual, due = await self._usual(), math.inf
        for workflow in await self._store.unfinished_workflows():
            if workflow in usual:
                due = min(due, await self._look_at(workflow, usual[workflow], tell))
            else:
                due = min(due, self._now() + LOOK_SECONDS)
        return due

    async def _look_at(
        self, workflow: str, usual: float, tell: Callable[[RunRow, float], Awaitable[None]]
    ) -> float:
        """Tell of a workflow's overdue runs, the longest overdue first; when the next one is."""
        oldest = await self._store.unfinished(workflow, 0, 1)
        if not oldest:
            return math.inf
        now, started_at = self._now(), oldest[0].started_at
        doublings = 0
        while started_at + usual * 2**doublings <= now:
            doublings += 1
        due: float = started_at + usual * 2**doublings
        cursors = self._cursors.setdefault(workflow, {})
        key = 0
        for doubling in reversed(range(doublings)):
            limit = usual * 2**doubling
            key = max(key, cursors.get(doubling, 0))
            while rows := await self._store.unfinished(workflow, key, PAGE_RUNS):
                ripe = [row for row in rows if row.started_at + limit <= now]
                for row in ripe:
                    await tell(row, usual)
                    key = row.key
                if len(ripe) < len(rows):
                    due = min(due, rows[len(ripe)].started_at + limit)
                    break
            cursors[doubling] = key
        return due
