"""Engines on one memory store, one after the other, as restarts of a process; a store that can be watched."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store, Write


def engine_on(store: Store, *workflows: mg.Workflow[..., Any], **options: Any) -> mg.Engine:
    engine = mg.Engine("memory://", workflows, **options)
    engine._store = store
    return engine


class WatchedStore(MemoryStore):
    """Tells each commit before and after it happens; either may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.before: Callable[[Sequence[Write]], None] = lambda _writes: None
        self.gate: Callable[[], Any] | None = None

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        if self.gate is not None:
            await self.gate()
        self.before(writes)
        taken = await super().commit(epoch, writes)
        self.batches.append([write.id for write in writes])
        return taken

    def fence(self) -> None:
        """Another worker takes over, as after this one was declared dead."""
        self._workers.append("another worker")


class Clock:
    """The wall clock of an engine: stands still until it is set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def names(events: Iterable[Any]) -> list[str]:
    return [event.event for event in events]
