"""How long runs are kept: pruning those that ended long ago, pins that keep a run, and tombstones. From any process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from makegood.errors import RunConflict, RunPruned, not_found
from makegood.store.codec import hashed_input, input_hash
from makegood.store.protocol import Pin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import msgspec

    from makegood.definition.workflow import Workflow
    from makegood.store.protocol import RunRow, Store

REST = 2.0
"""So many times as long as a transaction took, running sagas then have the store to themselves."""


class Retention:
    """Prunes one store."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def prune(self, older_than_seconds: float) -> AsyncIterator[int]:
        """Prune what ended longer ago than that, in short transactions: how many runs went with each.

        Stopping in the middle, or starting again, does no harm.
        """
        now = self._now()
        async for runs in self._steps(
            lambda after: self._store.prune(now - older_than_seconds, now, input_hash, after_key=after)
        ):
            yield runs

    async def forget(self, older_than_seconds: float) -> AsyncIterator[int]:
        """As ``prune``, of the tombstones of runs that were pruned longer ago than that."""
        before = self._now() - older_than_seconds
        async for runs in self._steps(lambda after: self._store.forget(before, after_key=after)):
            yield runs

    async def pin(self, run_id: str, by: str, why: str) -> None:
        """Keep a run."""
        await self._set_pin(run_id, Pin(by, why, self._now()))

    async def unpin(self, run_id: str) -> None:
        """No longer keep it."""
        await self._set_pin(run_id, None)

    async def _set_pin(self, run_id: str, pin: Pin | None) -> None:
        if not await self._store.set_pin(run_id, pin):
            row = await self._store.find(run_id)
            raise not_found(run_id) if row is None else pruned(row)

    async def _steps(self, step: Callable[[int], Any]) -> AsyncIterator[int]:
        after_key: int | None = 0
        while after_key is not None:
            began = time.perf_counter()
            runs, after_key = await step(after_key)
            yield runs
            await asyncio.sleep((time.perf_counter() - began) * REST)


def pruned(row: RunRow) -> RunPruned:
    """The error for a run of which only the tombstone is left."""
    assert row.ended_at is not None
    assert row.pruned_at is not None
    return RunPruned(row.id, row.status, row.ended_at, row.pruned_at)


def refused(row: RunRow, workflow: Workflow[..., Any], arguments: msgspec.Raw) -> RunPruned | RunConflict:
    """The error for a start under the id of a tombstone."""
    if row.workflow == workflow.name and row.input_hash == hashed_input(arguments):
        return pruned(row)
    return RunConflict(f"{pruned(row)} It was of workflow {row.workflow}, or had another input.")
