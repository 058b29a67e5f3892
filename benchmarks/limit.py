"""The floor under the engine: the commits of real runs, recorded and written again with no engine above the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from makegood.store.codec import FIRST_HASH, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from makegood.engine.journal import Entry
    from makegood.store.protocol import SealedEntry, Store, Write


class RecordingStore:
    """A store that remembers what was committed through it. Everything else goes straight to the store beneath."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._commits: list[Sequence[Write]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        """Commit, and keep what was asked for."""
        self._commits.append(writes)
        return await self._store.commit(epoch, writes)

    def take(self) -> list[Sequence[Write]]:
        """The commits since the last call."""
        commits, self._commits = self._commits, []
        return commits


class BareStore:
    """An empty store to which recorded commits are written again, each as one transaction with its fsync."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._epoch = 0
        self._keys: dict[str, int | None] = {}
        self._hashes: dict[str, bytes] = {}

    async def __aenter__(self) -> BareStore:
        await self._store.open()
        epoch = await self._store.take_over("limit")
        assert epoch is not None
        self._epoch = epoch
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()

    async def write(self, writes: Sequence[Write]) -> None:
        """Commit rows that are ready."""
        for write in writes:
            write.key = self._keys.get(write.id)
        await self._store.commit(self._epoch, writes)
        for write in writes:
            self._keys[write.id] = write.key

    async def seal_and_write(self, writes: Sequence[Write], entries: Sequence[Entry]) -> None:
        """Commit, with the store's own codec at work: every entry is encoded and hashed again."""
        for write, entry in zip(writes, entries, strict=True):
            write.entry = seal(entry, write.entry.number, self._hashes.get(write.id, FIRST_HASH))
            self._hashes[write.id] = write.entry.hash
        await self.write(writes)


def unsealed(commits: Iterable[Sequence[Write]]) -> list[list[Entry]]:
    """The entries of these commits, which hold whole runs, as they were before they were sealed."""
    sealed: dict[str, list[SealedEntry]] = {}
    for writes in commits:
        for write in writes:
            sealed.setdefault(write.id, []).append(write.entry)
    entries = {run_id: iter(unseal(run_id, of_run)) for run_id, of_run in sealed.items()}
    return [[next(entries[write.id]) for write in writes] for writes in commits]
