"""The floor under the engine: the commits of a real run, recorded and written again by the bare store."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measurement
    from makegood.store.protocol import Store, Write


class RecordingStore:
    """A store that remembers what was committed through it. Everything else goes straight to the store beneath."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits: list[list[Write]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        """Commit, and keep a copy of what was asked for."""
        self.commits.append([copy.copy(write) for write in writes])
        return await self._store.commit(epoch, writes)


async def write_again(store: Store, commits: list[list[Write]], measurement: Measurement) -> None:
    """Write recorded commits to an empty store, each as one transaction with its fsync."""
    await store.open()
    try:
        epoch = await store.take_over("limit")
        assert epoch is not None
        keys: dict[str, int | None] = {}
        with measurement:
            for writes in commits:
                for write in writes:
                    write.key = keys.get(write.id)
                await store.commit(epoch, writes)
                for write in writes:
                    keys[write.id] = write.key
    finally:
        await store.close()
