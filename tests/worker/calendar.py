"""Engines that live for days of virtual time, one after the other or at the same time, on stores that last."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import makegood as mg
from makegood.backend import local
from makegood.store import sqlite
from makegood.store.protocol import Store
from makegood.testing import VirtualTimeLoop

QUIET_SECONDS = 600.0  # nobody else writes to these stores: looking more often would only take real time
HOUR = 3600.0
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


class Days:
    """A store, and the time that passes on it, with and without a worker."""

    def __init__(self, store: Store, begin: datetime = MONDAY, *, pace: float = 1.0) -> None:
        self.store = store
        self.begin = begin.timestamp()
        self.elapsed = 0.0
        self.set_by_seconds = 0.0
        self.pace = pace
        self.loop: VirtualTimeLoop | None = None

    def now(self) -> float:
        """The wall clock."""
        running = self.loop.elapsed if self.loop is not None else 0.0
        return self.begin + (self.elapsed + running) * self.pace + self.set_by_seconds

    def engine(self, *workflows: mg.Workflow[..., Any], **options: Any) -> mg.Engine:
        engine = mg.Engine("memory://", workflows, now=self.now, **options)
        engine._store = self.store
        return engine

    def down(self, seconds: float) -> None:
        """No worker is alive."""
        self.elapsed += seconds

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run this in a process of its own."""
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        try:
            with (
                mock.patch.object(sqlite, "LOOK_SECONDS", QUIET_SECONDS),
                mock.patch.object(local, "TAKE_OVER_SECONDS", QUIET_SECONDS),
            ):
                return self.loop.run_until_complete(_awaited(main))
        finally:
            asyncio.set_event_loop(None)
            self.elapsed += self.loop.elapsed
            self.loop.close()
            self.loop = None

    def live(self, seconds: float, *workflows: mg.Workflow[..., Any]) -> list[Any]:
        """A worker lives so long; the schedules at its end."""

        async def main() -> list[Any]:
            async with self.engine(*workflows) as engine:
                await asyncio.sleep(seconds)
                return await engine.schedules()

        return self.run(main)  # type: ignore[no-any-return]

    def ask(self, question: Callable[[mg.Engine], Awaitable[Any]]) -> Any:
        """What a client that is no worker learns or does."""

        async def main() -> Any:
            async with self.engine(work=False) as engine:
                return await question(engine)

        return self.run(main)

    def runs(self) -> list[str]:
        """All runs' ids, in the order in which they were created."""

        async def ids(engine: mg.Engine) -> list[str]:
            return [run.id for run in reversed(await engine.list(limit=10_000))]

        return self.ask(ids)  # type: ignore[no-any-return]


async def _awaited(main: Callable[[], Awaitable[Any]]) -> Any:
    return await main()


def times(ids: list[str]) -> list[str]:
    """The ticks that these runs are of, as the schedule's clock showed them."""
    return [run_id.partition("@")[2][11:16] for run_id in ids]


def hours(begin: datetime, first: int, last: int) -> list[datetime]:
    """Full hours, counted from a beginning."""
    return [begin + timedelta(hours=hour) for hour in range(first, last + 1)]


def only_once(ticks: list[Any]) -> None:
    twice = [tick for tick, count in Counter(ticks).items() if count > 1]
    assert not twice
