"""The SQLite store: one file, one worker process at a time, any number of other processes as clients.

Two connections: one writes (``store.sqlite_writer``); one reads, and sees only what is durable, also while a
commit is under way.
Ownership: the worker holds a lock on ``FILE-worker``, which the kernel releases when the process dies,
however it dies; the epoch in every commit is the second fence.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
import msgspec

from makegood.errors import StoreError, StoreFenced, StoreFull, StoreReadOnly
from makegood.store import sqlite_caller
from makegood.store import sqlite_pruning as pruning
from makegood.store import sqlite_standing as standing
from makegood.store import sqlite_tallies as tallies
from makegood.store.filelock import FileLock
from makegood.store.migrations import check, migrate
from makegood.store.protocol import (
    ANSWERS_KEPT,
    EVERY_RUN,
    Batch,
    InboxAnswer,
    InboxRequest,
    Pin,
    RunRow,
    ScheduleRow,
    SealedEntry,
    Stored,
    Where,
    Write,
)
from makegood.store.sqlite_errors import explain, explained
from makegood.store.sqlite_rows import ROW_COLUMNS, SELECT_RUN, SELECT_STORED, rows_of, run_row, tags_of
from makegood.store.sqlite_search import Search
from makegood.store.sqlite_transaction import make_apart
from makegood.store.sqlite_writer import LOCKED_WAIT_SECONDS, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.definition.transaction import Connection

T = TypeVar("T")

READ_WAIT_SECONDS = 1.0
LOOK_SECONDS = 0.05
CACHE_KIBIBYTES = 65_536
READ_CACHE_KIBIBYTES = 16_384

INSERT_RUN = (
    "INSERT INTO runs (key, id, workflow, status, started_at, ended_at, owner, version, leg_entry, parent, tags) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
INSERT_TAG = "INSERT INTO tags (name, value, run) VALUES (?, ?, ?)"
UPDATE_RUN = (
    "UPDATE runs SET status = ?, ended_at = ?, wake_at = NULL, leg_entry = max(leg_entry, ?) WHERE key = ?"
)
INSERT_ENTRY = "INSERT INTO journal (run, number, data, hash) VALUES (?, ?, ?, ?)"
IS_KNOWN = "(workflow, version) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
SELECT_AWAKE = f"{SELECT_RUN} WHERE ended_at IS NULL AND wake_at IS NULL AND owner <> ? AND {IS_KNOWN} ORDER BY key LIMIT ?"
SELECT_DUE = f"{SELECT_RUN} WHERE wake_at <= ? AND {IS_KNOWN} ORDER BY wake_at, key LIMIT ?"
WAKE = "UPDATE runs SET wake_at = 0 WHERE id = ? AND wake_at IS NOT NULL"
SET_WAKE = "UPDATE runs SET wake_at = ? WHERE key = ? AND ended_at IS NULL"
INSERT_SCHEDULE = "INSERT INTO schedules (workflow, revision, data) VALUES (?1, 1, ?3) ON CONFLICT DO NOTHING"
UPDATE_SCHEDULE = (
    "UPDATE schedules SET revision = revision + 1, data = ?3 WHERE workflow = ?1 AND revision = ?2"
)
ANSWER = (
    "UPDATE inbox SET error = ?, kind = ?, data = x'', "
    "answered = (SELECT coalesce(max(answered), 0) + 1 FROM inbox WHERE answered IS NOT NULL) WHERE number = ?"
)
FORGET_ANSWERS = (
    "DELETE FROM inbox WHERE answered <= (SELECT max(answered) FROM inbox WHERE answered IS NOT NULL) - ?"
)
SELECT_JOURNAL = "SELECT number, data, hash FROM journal WHERE run = ? AND number > ? ORDER BY number LIMIT ?"


class SqliteStore:
    """A store in one SQLite file (WAL, synchronous=FULL). Implements ``store.protocol.Store``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = FileLock(f"{path}-worker")
        self._writer_: Writer | None = None
        self._reader: apsw.Connection | None = None

    async def open(self) -> None:
        with explained(self.path):
            connection = apsw.Connection(self.path, statementcachesize=64)
            try:
                self._prepare(connection)
                self._reader = apsw.Connection(self.path)
            except BaseException:
                connection.close()
                raise
            self._reader.pragma("cache_size", -READ_CACHE_KIBIBYTES)
            self._reader.set_busy_timeout(int(READ_WAIT_SECONDS * 1000))
            self._writer_ = Writer(connection, self.path)

    def _prepare(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(int(LOCKED_WAIT_SECONDS * 1000))
        check(connection, self.path)
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", 0)  # store.sqlite_checkpoint makes them
        connection.pragma("cache_size", -CACHE_KIBIBYTES)
        migrate(connection, self.path)
        if connection.readonly("main"):
            raise apsw.ReadOnlyError
        connection.set_busy_timeout(0)

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        writer, self._writer_ = self._writer_, None
        if reader is not None:
            reader.close()
        if writer is not None:
            await writer.close()
        self._lock.release()

    async def take_over(self, worker: str) -> int | None:
        if self._lock.held or not self._locked():
            return None
        try:
            async with self._writer:
                self._writer.connection.execute("INSERT INTO incarnations (worker) VALUES (?)", (worker,))
                return self._writer.connection.last_insert_rowid()
        except BaseException:
            self._lock.release()
            raise

    def _locked(self) -> bool:
        try:
            return self._lock.acquire()
        except OSError as error:
            refusal = StoreFull if error.errno == errno.ENOSPC else StoreReadOnly
            raise refusal(f"{self.path}-worker cannot be created: {error.strerror}.") from error

    async def is_worked(self) -> bool:
        return self._lock.is_taken()

    async def owner(self) -> str:
        rows = self._read("SELECT worker FROM incarnations ORDER BY epoch DESC LIMIT 1")
        return rows[0][0] if rows else ""

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        new = [write for write in writes if write.key is None]
        try:
            async with self._writer:
                self._check(epoch)
                return self._write(epoch, writes, new)
        except BaseException:
            _without_keys(new)
            raise

    async def transact(
        self,
        epoch: int,
        work: Callable[[Connection], T],
        timeout_seconds: float | None,
        writes_for: Callable[[T], Sequence[Write]],
    ) -> list[Write]:
        new: list[Write] = []
        try:
            async with self._writer:
                self._check(epoch)
                result = await make_apart(self._writer.connection, work, timeout_seconds)
                writes = writes_for(result)
                new += (write for write in writes if write.key is None)
                return self._write(epoch, writes, new)
        except BaseException:
            _without_keys(new)
            raise

    def _write(self, epoch: int, writes: Sequence[Write], new: Sequence[Write]) -> list[Write]:
        taken = self._create(epoch, new) if new else []
        self._append([write for write in writes if write.key is not None] if taken else writes)
        return taken

    def _append(self, writes: Sequence[Write]) -> None:
        many = self._writer.connection.executemany
        many(INSERT_ENTRY, [(w.key, w.entry.number, w.entry.data, w.entry.hash) for w in writes])
        changed = [w for w in writes if w.row_changed and w.entry.number > 1]
        if changed:
            many(UPDATE_RUN, [(w.status, w.ended_at, w.leg_entry, w.key) for w in changed])
            tallies.changed(self._writer.connection, changed)
        answers = [answer for write in writes if write.answered for answer in write.answered]
        if answers:
            self._answer(answers)
        missed = [(w.key, w.missed) for w in writes if w.missed is not None]
        if missed:
            many(standing.SET_MISSED, missed)
        woken = [(write.wakes,) for write in writes if write.wakes]
        if woken:
            many(WAKE, woken)

    def _create(self, owner: int, new: Sequence[Write]) -> list[Write]:
        """Create the runs whose ids are free, and give them their keys; the others."""
        connection = self._writer.connection
        first = connection.execute("SELECT coalesce(max(key), 0) FROM runs").get + 1
        before = connection.total_changes()
        connection.executemany(INSERT_RUN, rows_of(enumerate(new, first), owner))
        if connection.total_changes() - before == len(new):
            for key, write in enumerate(new, first):
                write.key = key
            self._note(new)
            return []
        ids = [(write.id,) for write in new]
        keys = dict(connection.executemany("SELECT id, key FROM runs WHERE id = ?", ids))
        for key, write in enumerate(new, first):
            if keys[write.id] == key:
                write.key = key
        self._note([write for write in new if write.key is not None])
        return [write for write in new if write.key is None]

    def _note(self, created: Sequence[Write]) -> None:
        """What is kept of new runs beside their rows."""
        if created:
            tallies.created(self._writer.connection, created)
            if any(write.tags for write in created):
                self._writer.connection.executemany(INSERT_TAG, tags_of(created))

    async def adopt(
        self, epoch: int, workflows: Sequence[tuple[str, int]], limit: int, now: float = 0.0
    ) -> list[RunRow]:
        known = msgspec.json.encode(list(workflows)).decode()
        async with self._writer:
            self._check(epoch)
            connection = self._writer.connection
            rows = list(connection.execute(SELECT_AWAKE, (epoch, known, limit)))
            rows += connection.execute(SELECT_DUE, (now, known, limit - len(rows)))
            connection.executemany(
                "UPDATE runs SET owner = ?, wake_at = NULL WHERE key = ?", [(epoch, row[0]) for row in rows]
            )
        return [run_row(row) for row in rows]

    async def set_wake(self, epoch: int, times: Sequence[tuple[int, float | None]]) -> None:
        async with self._writer:
            self._check(epoch)
            self._writer.connection.executemany(SET_WAKE, [(wake_at, key) for key, wake_at in times])

    async def next_wake(self, after: float) -> float:
        rows = self._read("SELECT min(wake_at) FROM runs WHERE wake_at > ?", (after,))
        return math.inf if rows[0][0] is None else float(rows[0][0])

    async def unadopted(self, epoch: int) -> list[RunRow]:
        rows = self._read(f"{SELECT_RUN} WHERE ended_at IS NULL AND owner <> ? ORDER BY key", (epoch,))
        return [run_row(row) for row in rows]

    async def submit(self, write: Write) -> bool:
        async with self._writer:
            if self._create(0, [write]):
                return False
            self._append([write])
        return True

    def submit_on(self, connection: Any, write: Write) -> SealedEntry | RunRow | None:
        cursor = sqlite_caller.checked(connection, self.path)
        return sqlite_caller.insert(cursor, INSERT_RUN, INSERT_ENTRY, INSERT_TAG, write)

    async def find(self, run_id: str) -> RunRow | None:
        rows = self._read(f"{SELECT_RUN} WHERE id = ?", (run_id,))
        return run_row(rows[0]) if rows else None

    async def list(
        self, where: Where = EVERY_RUN, *, limit: int = 100, before_key: int | None = None
    ) -> Sequence[RunRow]:
        return await Search(self._read, where).runs(limit, before_key)

    async def unfinished_workflows(self) -> Sequence[str]:
        return standing.unfinished_workflows(self._read)

    async def unfinished(self, workflow: str, after_key: int, limit: int) -> Sequence[RunRow]:
        return standing.unfinished(self._read, workflow, after_key, limit)

    async def durations(self, limit: int) -> Sequence[tuple[str, float]]:
        return standing.durations(self._read, limit)

    async def missed(
        self, workflow: str | None, limit: int, before_key: int | None = None
    ) -> Sequence[RunRow]:
        return standing.missed(self._read, workflow, limit, before_key)

    async def count(self, where: Where = EVERY_RUN) -> int:
        return await Search(self._read, where).count()

    async def set_pin(self, run_id: str, pin: Pin | None) -> bool:
        async with self._writer:
            return pruning.set_pin(self._writer.connection, run_id, pin)

    async def prune(
        self, before: float, at: float, digest: Callable[[bytes], bytes], *, after_key: int = 0
    ) -> Batch:
        block = pruning.next_block(self._read, before, after_key)
        if block is None:
            return Batch(0, None)
        async with self._writer:
            return pruning.prune(
                self._writer.connection, before, at, digest, max(after_key, block * tallies.BLOCK_RUNS - 1)
            )

    async def forget(self, before: float, *, after_key: int = 0) -> Batch:
        async with self._writer:
            return pruning.forget(self._writer.connection, before, after_key)

    async def journal(self, key: int, *, after: int = 0, limit: int = -1) -> Sequence[SealedEntry]:
        rows = self._read(SELECT_JOURNAL, (key, max(after, 0), limit))
        return [SealedEntry(*row) for row in rows]

    async def stored(self, run_ids: Sequence[str]) -> Sequence[Stored]:
        found: dict[str, tuple[RunRow, list[SealedEntry]]] = {}
        for values in self._read(SELECT_STORED, (msgspec.json.encode(run_ids).decode(),)):
            _, leg = found.get(values[1]) or found.setdefault(values[1], (run_row(values[:ROW_COLUMNS]), []))
            if values[ROW_COLUMNS] is not None:
                leg.append(SealedEntry(*values[ROW_COLUMNS:]))
        for _, leg in found.values():
            leg.sort(key=attrgetter("number"))
        return [Stored(row, leg) for row, leg in found.values()]

    async def length(self, key: int) -> int:
        rows = self._read("SELECT coalesce(max(number), 0) FROM journal WHERE run = ?", (key,))
        return int(rows[0][0])

    async def post(self, run_id: str, data: bytes) -> int:
        async with self._writer:
            self._writer.connection.execute("INSERT INTO inbox (run_id, data) VALUES (?, ?)", (run_id, data))
            return self._writer.connection.last_insert_rowid()

    async def inbox(self) -> Sequence[InboxRequest]:
        rows = self._read("SELECT number, run_id, data FROM inbox WHERE error IS NULL ORDER BY number")
        return [InboxRequest(*row) for row in rows]

    async def answer(self, epoch: int, answers: Sequence[InboxAnswer]) -> None:
        async with self._writer:
            self._check(epoch)
            self._answer(answers)

    async def take_answer(self, number: int) -> InboxAnswer | None:
        rows = self._read(
            "SELECT number, error, kind FROM inbox WHERE number = ? AND error IS NOT NULL", (number,)
        )
        if not rows:
            return None
        async with self._writer:
            self._writer.connection.execute("DELETE FROM inbox WHERE number = ?", (number,))
        return InboxAnswer(*rows[0])

    async def next_change(self, since: int) -> int:
        while (version := await self._writer.data_version()) == since:  # noqa: ASYNC110 - another process announces nothing
            await asyncio.sleep(LOOK_SECONDS)
        return version

    async def schedules(self) -> Sequence[ScheduleRow]:
        rows = self._read("SELECT workflow, revision, data FROM schedules ORDER BY workflow")
        return [ScheduleRow(*row) for row in rows]

    async def change_schedule(self, row: ScheduleRow) -> bool:
        async with self._writer:
            return self._put_schedule(row)

    async def remove_schedule(self, row: ScheduleRow) -> bool:
        async with self._writer:
            connection = self._writer.connection
            connection.execute(
                "DELETE FROM schedules WHERE workflow = ? AND revision = ?", (row.workflow, row.revision)
            )
            return bool(connection.changes())

    async def advance_schedule(self, epoch: int, row: ScheduleRow, starts: Sequence[Write]) -> bool:
        try:
            async with self._writer:
                self._check(epoch)
                if not self._put_schedule(row):
                    return False
                self._create(0, starts)
                self._append([write for write in starts if write.key is not None])
        except BaseException:
            for write in starts:
                write.key = None
            raise
        return True

    def _put_schedule(self, row: ScheduleRow) -> bool:
        connection = self._writer.connection
        connection.execute(
            UPDATE_SCHEDULE if row.revision else INSERT_SCHEDULE, (row.workflow, row.revision, row.data)
        )
        return bool(connection.changes())

    # ---- inside ----------------------------------------------------------------------------------------

    @property
    def _writer(self) -> Writer:
        if self._writer_ is None:
            raise self._not_open()
        return self._writer_

    def _not_open(self) -> StoreError:
        return StoreError(f"the store {self.path} is not open.")

    def _check(self, epoch: int) -> None:
        newest = self._writer.connection.execute("SELECT max(epoch) FROM incarnations").get
        if newest != epoch:
            raise StoreFenced(
                f"{self.path}: worker incarnation {newest} has taken over from {epoch}; "
                "this one stops writing."
            )

    def _answer(self, answers: Sequence[InboxAnswer]) -> None:
        connection = self._writer.connection
        connection.executemany(ANSWER, [(answer.error, answer.kind, answer.number) for answer in answers])
        connection.execute(FORGET_ANSWERS, (ANSWERS_KEPT,))

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        if self._reader is None:
            raise self._not_open()
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except apsw.Error as error:
            raise explain(error, self.path) from error


def _without_keys(new: Sequence[Write]) -> None:
    """Nothing was written: forget the keys that these were given."""
    for write in new:
        write.key = None
