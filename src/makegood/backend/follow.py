"""Following runs: their durable states, entry by entry, whoever drives them.

In the worker's process a run's commits wake its followers (``worker.changes``); in any other process one task for
all of them waits for the store to change.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from makegood.engine.folds import apply
from makegood.engine.journal import UpdateAccepted, UpdateAnswered
from makegood.engine.legs import last_leg
from makegood.engine.operator import check_same
from makegood.engine.run import ENDINGS, RunState
from makegood.errors import StoreError
from makegood.store.codec import FIRST_HASH, unseal, unsealed_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from makegood.engine.journal import Entry
    from makegood.engine.operator import Request
    from makegood.store.protocol import RunRow, Store
    from makegood.worker.changes import Changes

LOOK_SECONDS = 0.02
LOOK_AGAIN_SECONDS = 0.5
"""Looking at least this often, whatever a store says of changes."""


class Reader:
    """Reads a run's journal on from where it was; ``number`` and ``hash`` are the last entry's that it has read."""

    def __init__(self, store: Store, row: RunRow) -> None:
        self._store = store
        self._row = row
        self.number = 0
        self.hash = FIRST_HASH

    async def skip(self, number: int) -> None:
        """Go on after the entry of this number."""
        if number > 0:
            last = (await self._store.journal(self._row.key, after=number - 1, limit=1))[0]
            self.number, self.hash = last.number, last.hash

    async def read(self) -> list[Entry]:
        """The entries that are new.

        Raises:
            JournalCorrupt: they were altered.
        """
        sealed = await self._store.journal(self._row.key, after=self.number)
        if self.number:
            entries = list(unsealed_on(self._row.id, sealed, self.number, self.hash))
        else:
            entries = unseal(self._row.id, sealed)
        if sealed:
            self.number, self.hash = sealed[-1].number, sealed[-1].hash
        return entries


class Follower:
    """The followers of one backend. ``works``: whether the worker is in this process, and tells of each change."""

    def __init__(self, store: Store, changes: Changes, works: Callable[[], bool]) -> None:
        self._store = store
        self._changes = changes
        self._works = works
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        self._changes.end(StoreError("the engine was closed."))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def states(self, row: RunRow) -> AsyncIterator[RunState]:
        """The run's state as it is, then after each further entry, until it has ended. It is one object, going on.

        Raises:
            StoreError: this engine has stopped.
        """
        reader, state = Reader(self._store, row), RunState()
        await reader.skip(row.leg_entry - 1)
        is_first = True
        while state.status_ is None:
            changed = self._changes.of(row.id)
            entries: Sequence[Entry] = await reader.read()
            if is_first and row.leg_entry:
                entries = last_leg(entries)
            for entry in entries:
                take_in(state, entry)
                if not is_first:
                    yield state
            if is_first:
                yield state
            elif not entries:
                await self.wait(changed)
            is_first = False

    async def answer(self, row: RunRow, request: Request, after: int) -> UpdateAnswered | None:
        """The durable answer to an update, which is beyond this entry; None if the run has ended without one.

        Raises:
            NotPossible: something else was asked under the update's id before.
            StoreError: this engine has stopped.
        """
        reader = Reader(self._store, row)
        await reader.skip(after)
        while True:
            changed = self._changes.of(row.id)
            entries = await reader.read()
            for event in (event for entry in entries for event in entry.events):
                if isinstance(event, UpdateAccepted) and event.update == request.id:
                    check_same(row.id, event, request.name, request.result)
                elif isinstance(event, UpdateAnswered) and event.update == request.id:
                    return event
                elif type(event) in ENDINGS:
                    return None
            if not entries:
                await self.wait(changed)

    async def wait(self, changed: asyncio.Event) -> None:
        """Wait for a change that was asked for before."""
        if not self._works() and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="makegood-follow")
        await changed.wait()

    async def _look(self) -> None:
        """Tell of what other processes commit, until nobody waits, or this process is the worker."""
        version = -1
        while self._changes.events and not self._works():
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    version = await self._store.next_change(version)
            except TimeoutError:
                pass
            except StoreError:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            self._changes.tell_all()  # they look for themselves, and find what is wrong
            await asyncio.sleep(LOOK_SECONDS)
        self._changes.tell_all()


def take_in(state: RunState, entry: Entry) -> None:
    """Apply an entry to a state."""
    state.clock = entry.at
    for event in entry.events:
        apply(state, event)
