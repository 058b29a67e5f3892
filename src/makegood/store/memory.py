"""A store in this process's memory, for experiments and tests: a true store, until the process ends."""

from __future__ import annotations

import asyncio
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from makegood.errors import StoreError, StoreFenced, UsageError
from makegood.store.protocol import (
    ANSWERS_KEPT,
    EVERY_RUN,
    NO_TAGS,
    Batch,
    InboxAnswer,
    InboxRequest,
    Pin,
    RolledBack,
    RunRow,
    ScheduleRow,
    SealedEntry,
    Stored,
    Where,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from makegood.definition.transaction import Connection

T = TypeVar("T")

PRUNED_AT_ONCE = 40


class MemoryStore:
    """Implements ``store.protocol.Store`` with dictionaries. It can be closed and opened again."""

    def __init__(self) -> None:
        self._rows: dict[str, RunRow] = {}
        self._keys = 0
        self._owners: dict[str, int] = {}
        self._missed: dict[str, int] = {}
        self._journals: dict[int, list[SealedEntry]] = {}
        self._inbox: dict[int, InboxRequest] = {}
        self._answers: dict[int, InboxAnswer] = {}
        self._schedules: dict[str, ScheduleRow] = {}
        self._posted = 0
        self._workers: list[str] = []
        self._taken = False
        self._open = False
        self._version = 0
        self._watchers: list[asyncio.Future[None]] = []

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = self._taken = False

    async def take_over(self, worker: str) -> int | None:
        if self._taken:
            return None
        self._taken = True
        self._workers.append(worker)
        return len(self._workers)

    async def is_worked(self) -> bool:
        return self._taken

    async def owner(self) -> str:
        return self._workers[-1] if self._workers else ""

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        self._check(epoch)
        for write in writes:
            written = len(self._journals[write.key]) if write.key is not None else 0
            if write.entry.number != written + 1:
                raise StoreError(
                    f"run {write.id}: entry {write.entry.number} does not follow entry {written}."
                )
        taken = []
        for write in writes:
            if write.key is not None:
                self._append(write.key, write)
            elif not self._create(write, epoch):
                taken.append(write)
        return taken

    async def transact(
        self,
        epoch: int,
        work: Callable[[Connection], T],
        timeout_seconds: float | None,
        writes_for: Callable[[T], Sequence[Write]],
    ) -> list[Write]:
        raise RolledBack from UsageError(
            "memory:// has no SQL, and so no transactions: use a database, such as sqlite:///orders.db."
        )

    def _create(self, write: Write, owner: int) -> bool:
        if write.id in self._rows:
            return False
        self._keys += 1
        key = write.key = self._keys
        self._rows[write.id] = RunRow(
            key,
            write.id,
            write.workflow,
            write.status,
            write.started_at,
            write.ended_at,
            version=write.version,
            leg_entry=write.leg_entry,
            parent=write.parent,
            tags=dict(write.tags) if write.tags else NO_TAGS,
        )
        self._owners[write.id] = owner
        self._journals[key] = []
        self._append(key, write)
        return True

    def _append(self, key: int, write: Write) -> None:
        self._journals[key].append(write.entry)
        if write.row_changed:
            row = self._rows[write.id]
            self._rows[write.id] = msgspec.structs.replace(
                row,
                status=write.status,
                ended_at=write.ended_at,
                wake_at=None,
                leg_entry=max(row.leg_entry, write.leg_entry),
            )
        if write.missed is not None:
            self._missed[write.id] = write.missed
        self._settle(write.answered)
        woken = self._rows.get(write.wakes)
        if woken is not None and woken.wake_at is not None:
            self._rows[woken.id] = msgspec.structs.replace(woken, wake_at=0.0)

    def _settle(self, answers: Sequence[InboxAnswer]) -> None:
        self._answers.update((answer.number, answer) for answer in answers if answer.number in self._inbox)
        while len(self._answers) > ANSWERS_KEPT:
            forgotten = next(iter(self._answers))
            del self._answers[forgotten], self._inbox[forgotten]

    async def adopt(
        self, epoch: int, workflows: Sequence[tuple[str, int]], limit: int, now: float = 0.0
    ) -> list[RunRow]:
        self._check(epoch)
        awake = [row for row in await self.unadopted(epoch) if row.wake_at is None]
        due = [row for row in self._rows.values() if row.wake_at is not None and row.wake_at <= now]
        due.sort(key=lambda row: (row.wake_at, row.key))
        rows = [row for row in (*awake, *due) if (row.workflow, row.version) in workflows][:limit]
        self._owners.update((row.id, epoch) for row in rows)
        await self.set_wake(epoch, [(row.key, None) for row in rows])
        return rows

    async def set_wake(self, epoch: int, times: Sequence[tuple[int, float | None]]) -> None:
        self._check(epoch)
        rows = {row.key: row for row in self._rows.values()}
        for key, wake_at in times:
            row = rows[key]
            if row.ended_at is None:
                self._rows[row.id] = msgspec.structs.replace(row, wake_at=wake_at)

    async def next_wake(self, after: float) -> float:
        times = [row.wake_at for row in self._rows.values() if row.wake_at is not None]
        return min((at for at in times if at > after), default=math.inf)

    async def unadopted(self, epoch: int) -> list[RunRow]:
        return [row for row in self._rows.values() if row.ended_at is None and self._owners[row.id] != epoch]

    async def submit(self, write: Write) -> bool:
        if not self._create(write, 0):
            return False
        self._tell_watchers()
        return True

    def submit_on(self, connection: Any, write: Write) -> SealedEntry | RunRow | None:
        raise UsageError(
            "memory:// has no transactions that a start could be a part of: use a database, such as sqlite:///orders.db."
        )

    async def find(self, run_id: str) -> RunRow | None:
        return self._rows.get(run_id)

    async def list(
        self, where: Where = EVERY_RUN, *, limit: int = 100, before_key: int | None = None
    ) -> Sequence[RunRow]:
        rows = reversed(self._rows.values())
        found = (row for row in rows if (before_key is None or row.key < before_key) and _meets(row, where))
        return [*islice(found, max(limit, 0))]

    async def unfinished_workflows(self) -> Sequence[str]:
        return sorted({row.workflow for row in self._rows.values() if row.ended_at is None})

    async def unfinished(self, workflow: str, after_key: int, limit: int) -> Sequence[RunRow]:
        rows = (
            row
            for row in self._rows.values()
            if row.ended_at is None and row.workflow == workflow and row.key > after_key
        )
        return list(islice(rows, limit))

    async def durations(self, limit: int) -> Sequence[tuple[str, float]]:
        return [
            (row.workflow, row.ended_at - row.started_at)
            for row in islice(reversed(self._rows.values()), limit)
            if row.status == "COMPLETED" and row.ended_at is not None
        ]

    async def missed(
        self, workflow: str | None, limit: int, before_key: int | None = None
    ) -> Sequence[RunRow]:
        rows = (
            self._rows[run_id] for run_id, steps in self._missed.items() if steps and run_id in self._rows
        )
        found = [
            row
            for row in rows
            if row.status == "COMPLETED"
            and row.pruned_at is None
            and workflow in (None, row.workflow)
            and (before_key is None or row.key < before_key)
        ]
        return sorted(found, key=lambda row: row.key, reverse=True)[:limit]

    async def count(self, where: Where = EVERY_RUN) -> int:
        return sum(_meets(row, where) for row in self._rows.values())

    async def set_pin(self, run_id: str, pin: Pin | None) -> bool:
        row = self._rows.get(run_id)
        if row is None or row.pruned_at is not None:
            return False
        self._rows[run_id] = msgspec.structs.replace(row, pin=pin)
        return True

    async def prune(
        self, before: float, at: float, digest: Callable[[bytes], bytes], *, after_key: int = 0
    ) -> Batch:
        following = islice((row for row in self._rows.values() if row.key > after_key), PRUNED_AT_ONCE)
        looked_at, pruned = list(following), 0
        for root in (self._rows[row.id] for row in looked_at):
            above = self._rows.get(root.parent)
            if above is not None and above.pruned_at is None:
                continue
            family = self._family(root)
            if all(_may_go(row, before) for row in family):
                pruned += len(family)
                for row in family:
                    self._bury(row, at, digest)
        return Batch(pruned, looked_at[-1].key if len(looked_at) == PRUNED_AT_ONCE else None)

    def _family(self, root: RunRow) -> Sequence[RunRow]:
        """The run and all that it called."""
        family = [root]
        for member in family:
            family += (row for row in self._rows.values() if row.parent == member.id)
        return family

    def _bury(self, row: RunRow, at: float, digest: Callable[[bytes], bytes]) -> None:
        hashed = digest(self._journals.pop(row.key)[0].data)
        self._inbox = {number: one for number, one in self._inbox.items() if one.run_id != row.id}
        self._answers = {number: one for number, one in self._answers.items() if number in self._inbox}
        self._rows[row.id] = msgspec.structs.replace(
            row, pruned_at=at, input_hash=hashed, parent="", tags=NO_TAGS, pin=None
        )

    async def forget(self, before: float, *, after_key: int = 0) -> Batch:
        buried = [row for row in self._rows.values() if row.pruned_at is not None and row.pruned_at < before]
        for row in buried:
            del self._rows[row.id], self._owners[row.id]
        return Batch(len(buried), None)

    async def journal(self, key: int, *, after: int = 0, limit: int = -1) -> Sequence[SealedEntry]:
        first = max(after, 0)
        return self._journals.get(key, [])[first : None if limit < 0 else first + limit]

    async def stored(self, run_ids: Sequence[str]) -> Sequence[Stored]:
        rows = [self._rows[run_id] for run_id in run_ids if run_id in self._rows]
        return [
            Stored(row, await self.journal(row.key, after=row.leg_entry - 2) if row.ended_at is None else ())
            for row in rows
        ]

    async def length(self, key: int) -> int:
        return len(self._journals.get(key, ()))

    async def post(self, run_id: str, data: bytes) -> int:
        self._posted += 1
        self._inbox[self._posted] = InboxRequest(self._posted, run_id, data)
        self._tell_watchers()
        return self._posted

    async def inbox(self) -> Sequence[InboxRequest]:
        return [request for number, request in self._inbox.items() if number not in self._answers]

    async def answer(self, epoch: int, answers: Sequence[InboxAnswer]) -> None:
        self._check(epoch)
        self._settle(answers)

    async def take_answer(self, number: int) -> InboxAnswer | None:
        if number in self._answers:
            del self._inbox[number]
            return self._answers.pop(number)
        return None

    async def next_change(self, since: int) -> int:
        while self._version == since:
            watcher = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher
        return self._version

    def _tell_watchers(self) -> None:
        self._version += 1
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def schedules(self) -> Sequence[ScheduleRow]:
        return [self._schedules[name] for name in sorted(self._schedules)]

    async def change_schedule(self, row: ScheduleRow) -> bool:
        if not self._put_schedule(row):
            return False
        self._tell_watchers()
        return True

    async def remove_schedule(self, row: ScheduleRow) -> bool:
        known = self._schedules.get(row.workflow)
        if known is None or known.revision != row.revision:
            return False
        del self._schedules[row.workflow]
        self._tell_watchers()
        return True

    async def advance_schedule(self, epoch: int, row: ScheduleRow, starts: Sequence[Write]) -> bool:
        self._check(epoch)
        if not self._put_schedule(row):
            return False
        for write in starts:
            self._create(write, 0)
        return True

    def _put_schedule(self, row: ScheduleRow) -> bool:
        known = self._schedules.get(row.workflow)
        if row.revision != (0 if known is None else known.revision):
            return False
        self._schedules[row.workflow] = msgspec.structs.replace(row, revision=row.revision + 1)
        return True

    def _check(self, epoch: int) -> None:
        if not self._open:
            raise StoreError("the store is not open.")
        if epoch != len(self._workers):
            raise StoreFenced(f"worker incarnation {len(self._workers)} has taken over from {epoch}.")


def _may_go(row: RunRow, before: float) -> bool:
    ended = row.ended_at is not None and row.ended_at < before
    return ended and row.pin is None and row.pruned_at is None


def _meets(row: RunRow, where: Where) -> bool:
    ended_at = row.ended_at
    return (
        row.pruned_at is None
        and where.status in (None, row.status)
        and where.workflow in (None, row.workflow)
        and where.parent in (None, row.parent)
        and row.id.startswith(where.id_prefix)
        and (where.started_after is None or row.started_at >= where.started_after)
        and (where.started_before is None or row.started_at < where.started_before)
        and (where.ended_after is None or (ended_at is not None and ended_at >= where.ended_after))
        and (where.ended_before is None or (ended_at is not None and ended_at < where.ended_before))
        and all(row.tags.get(name) == value for name, value in where.tags.items())
    )
