"""What the worker and the clients ask of a store. ``tests/contract`` says what every store must answer.

A store keeps *runs* (a row each), their *journals* (sealed entries, see ``store.codec``), an *inbox* of
operators' requests, and who is the *owner*: each worker start is an incarnation with an epoch, and only the
newest may commit.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from makegood.definition.transaction import Connection

T = TypeVar("T")


ANSWERS_KEPT = 10_000
NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Pin(msgspec.Struct, frozen=True):
    """Who had a run kept, and why; ``at`` in seconds since 1970."""

    by: str
    why: str
    at: float


class RunRow(msgspec.Struct, frozen=True, gc=False):
    """A run as listed. Times in seconds since 1970; ``key`` is the store's own number for it.

    ``version`` is the workflow's. ``leg_entry``: with the entry of this number it last went on as new (0: it never did).
    ``wake_at``: the run is asleep until then (infinity: until a request
    wakes it); None: it is awake. ``parent``: the id of the run that called it, "" if none did.
    ``pruned_at``: only this row is left of it, its tombstone, and ``input_hash``.
    """

    key: int
    id: str
    workflow: str
    status: str
    started_at: float
    ended_at: float | None
    wake_at: float | None = None
    version: int = 1
    leg_entry: int = 0
    parent: str = ""
    tags: Mapping[str, str] = NO_TAGS
    pin: Pin | None = None
    pruned_at: float | None = None
    input_hash: bytes = b""


class Where(msgspec.Struct, frozen=True):
    """Which runs: those that meet all of this. Times in seconds since 1970: from ``after`` on, earlier than ``before``.

    ``tags``: the run has all of these; ``parent``: the id of the run that called it, "" for
    those that none did; ``id_prefix``: its id begins so.
    """

    status: str | None = None
    workflow: str | None = None
    started_after: float | None = None
    started_before: float | None = None
    ended_after: float | None = None
    ended_before: float | None = None
    tags: Mapping[str, str] = NO_TAGS
    parent: str | None = None
    id_prefix: str = ""


EVERY_RUN = Where()


class Batch(NamedTuple):
    """What one step of a long piece of work did: to so many runs; it goes on after this key (None: it is done)."""

    runs: int
    after_key: int | None


class SealedEntry(msgspec.Struct, frozen=True, gc=False):
    """A journal entry as stored: its number in the run (from 1), its JSON, and the hash that chains it."""

    number: int
    data: bytes
    hash: bytes


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A run as stored: its row, and its entries from the one before its last leg on (none if it has ended)."""

    row: RunRow
    leg: Sequence[SealedEntry]


class Write(msgspec.Struct, gc=False):
    """One run's part of a commit: a new entry and, where it changed, its row.

    ``key`` None creates the run; the store sets it. A changed row is awake. ``answered`` are inbox requests that this
    entry settles; ``wakes`` is a run that, if it is asleep, is due at once: the parent of a child that ends.
    ``parent`` and ``tags`` matter when the run is created. ``before``: the status that its row has ("": it has none).
    ``missed``: so many of its best-effort steps failed and may be tried again (None: nothing has changed there).
    """

    key: int | None
    id: str
    workflow: str
    status: str
    started_at: float
    ended_at: float | None
    row_changed: bool
    entry: SealedEntry
    answered: Sequence[InboxAnswer] = ()
    wakes: str = ""
    version: int = 1
    leg_entry: int = 0
    parent: str = ""
    tags: Mapping[str, str] = NO_TAGS
    before: str = ""
    missed: int | None = None


class InboxRequest(msgspec.Struct, frozen=True):
    """An operator's request for a run, as JSON."""

    number: int
    run_id: str
    data: bytes


class InboxAnswer(msgspec.Struct, frozen=True):
    """How a request ended: ``error`` "" means that it was carried out; ``kind`` names the error's class."""

    number: int
    error: str = ""
    kind: str = ""


class ScheduleRow(msgspec.Struct, frozen=True):
    """A schedule: its workflow's name, how often it was written (0: never yet), and its state as JSON."""

    workflow: str
    revision: int
    data: bytes


class RolledBack(Exception):
    """A transaction was rolled back because of what its function raised, the cause (None: nobody wants it any more)."""


class Store(Protocol):
    """Durable storage. Nothing is acknowledged before it would survive the loss of power."""

    async def open(self) -> None:
        """Create or migrate the schema.

        Raises:
            StoreError: with a subclass that says why the store cannot be used.
        """

    async def close(self) -> None: ...

    async def take_over(self, worker: str) -> int | None:
        """Become this store's worker: the new incarnation's epoch, or None while there is a worker."""

    async def is_worked(self) -> bool:
        """Whether a worker is alive."""

    async def owner(self) -> str:
        """The name of the newest worker incarnation, "" if there never was one."""

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        """Write all of this or nothing, and return once it is durable.

        Returns the writes that create a run whose id exists already: they were left out (their ``key`` stays
        None), the others were written. If it raises, no ``key`` was set.

        Raises:
            StoreFenced: a newer incarnation has taken over; nothing was written.
            StoreFull: the disk is full; nothing was written, and trying again is safe.
            StoreError: the outcome is unknown; the worker must stop, and recovery will look.
        """

    async def transact(
        self,
        epoch: int,
        work: Callable[[Connection], T],
        timeout_seconds: float | None,
        writes_for: Callable[[T], Sequence[Write]],
    ) -> list[Write]:
        """``commit`` what ``writes_for`` makes of the result of ``work``, in one transaction with what that does.

        ``work`` is called in a thread, for at most so long; ``writes_for`` on the event loop.

        Raises:
            RolledBack: by either of the two; nothing was written.
            StoreFenced, StoreFull, StoreError: as ``commit``.
        """

    async def adopt(
        self, epoch: int, workflows: Sequence[tuple[str, int]], limit: int, now: float = 0.0
    ) -> list[RunRow]:
        """Make up to ``limit`` unfinished runs of these workflows (name and version) this incarnation's, and awake.

        Those that no incarnation owns yet, or an older one, the oldest first; then sleeping ones that are due by
        ``now``, in the order of their times. A row's ``wake_at`` is what it was: None for a run that was awake.
        """

    async def set_wake(self, epoch: int, times: Sequence[tuple[int, float | None]]) -> None:
        """Put unfinished runs (by key) to sleep until these times, or (None) wake them."""

    async def next_wake(self, after: float) -> float:
        """When the next sleeping run is due, later than ``after``; infinity if none is."""

    async def unadopted(self, epoch: int) -> list[RunRow]:
        """Unfinished runs that this incarnation does not own: it does not know their workflow."""

    async def submit(self, write: Write) -> bool:
        """Create a run without being its worker; False if the id exists already."""

    def submit_on(self, connection: Any, write: Write) -> SealedEntry | RunRow | None:
        """``submit`` within the transaction open on a connection of the caller's own.

        None: the run exists once that commits. Otherwise the id is taken: the first entry of the run that has
        it, or its tombstone.

        Raises:
            UsageError: this connection cannot be used for that; nothing was written.
            StoreLocked: another connection is writing; nothing was written.
        """

    async def find(self, run_id: str) -> RunRow | None:
        """The run's row, also if it was pruned."""

    async def list(
        self, where: Where = EVERY_RUN, *, limit: int = 100, before_key: int | None = None
    ) -> Sequence[RunRow]:
        """Runs, the newest first; not those that were pruned."""

    async def unfinished_workflows(self) -> Sequence[str]:
        """The workflows that have runs which have not ended, by name."""

    async def unfinished(self, workflow: str, after_key: int, limit: int) -> Sequence[RunRow]:
        """Runs of a workflow that have not ended, the oldest first, those beyond a key."""

    async def durations(self, limit: int) -> Sequence[tuple[str, float]]:
        """Workflow and duration (seconds) of those of the newest runs that completed; so many are looked at."""

    async def missed(
        self, workflow: str | None, limit: int, before_key: int | None = None
    ) -> Sequence[RunRow]:
        """Completed runs with missed steps, the newest first."""

    async def count(self, where: Where = EVERY_RUN) -> int:
        """How many runs ``list`` would give."""

    async def set_pin(self, run_id: str, pin: Pin | None) -> bool:
        """Have a run kept from being pruned, or (None) no longer; False if there is no such run. Any process may."""

    async def prune(
        self, before: float, at: float, digest: Callable[[bytes], bytes], *, after_key: int = 0
    ) -> Batch:
        """Leave of some runs that ended before a time nothing but tombstones, in one short transaction. Any process may.

        A run goes with all that it called, or stays with it: as long as one of them has not ended, did so later, or is
        pinned. A run whose parent is there goes with that one only. ``digest`` makes ``input_hash`` of the first entry.
        """

    async def forget(self, before: float, *, after_key: int = 0) -> Batch:
        """Remove some tombstones of runs that were pruned before a time: their ids are free again."""

    async def journal(self, key: int, *, after: int = 0, limit: int = -1) -> Sequence[SealedEntry]:
        """A run's entries in order, those after the given number; no more than ``limit`` (-1: all)."""

    async def stored(self, run_ids: Sequence[str]) -> Sequence[Stored]:
        """Those of these runs that exist, each with what is needed to go on with it: all of one moment."""

    async def length(self, key: int) -> int:
        """How many entries a run's journal has."""

    async def post(self, run_id: str, data: bytes) -> int:
        """Put an operator's request into the inbox; its number."""

    async def inbox(self) -> Sequence[InboxRequest]:
        """Requests that wait for an answer, the oldest first."""

    async def answer(self, epoch: int, answers: Sequence[InboxAnswer]) -> None:
        """Answer requests that change no journal."""

    async def take_answer(self, number: int) -> InboxAnswer | None:
        """The answer to a request, which it takes away; None while there is none.

        Whoever has asked may be gone: an answer that nobody took is forgotten after ``ANSWERS_KEPT`` later ones.
        """

    async def next_change(self, since: int) -> int:
        """Return once another process may have written since ``since``, an earlier answer (-1: at once). Cheap."""

    async def schedules(self) -> Sequence[ScheduleRow]:
        """All schedules, by name."""

    async def change_schedule(self, row: ScheduleRow) -> bool:
        """Write a schedule that was read at ``row.revision``. False, and nothing written, if it was written since.

        Any process may.
        """

    async def remove_schedule(self, row: ScheduleRow) -> bool:
        """Remove a schedule that was read at ``row.revision``. False, and nothing removed, if it was written since."""

    async def advance_schedule(self, epoch: int, row: ScheduleRow, starts: Sequence[Write]) -> bool:
        """As ``change_schedule``, by the worker, and in the same transaction create the ticks' runs.

        The runs are nobody's yet: they are to be adopted. A run whose id exists is left alone; its ``key`` stays None.

        Raises:
            StoreFenced: a newer incarnation has taken over; nothing was written.
        """
