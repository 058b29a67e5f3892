"""The SQLite store: one file, one worker process at a time, any number of other processes as clients.

Writing: rows are bound on the event loop's thread (they are memory copies, and a second thread would only fight for
the interpreter lock); waiting for the disk moves to a thread as soon as the disk turns out to be slow.
Ownership: the worker holds a lock on ``FILE-worker``, which the kernel releases when the process dies, however it
dies; the epoch in every commit is the second fence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from makegood.errors import StoreError, StoreFenced, StoreFull, StoreLocked, StoreReadOnly
from makegood.store.filelock import FileLock
from makegood.store.migrations import migrate
from makegood.store.protocol import InboxAnswer, InboxRequest, RunRow, SealedEntry, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_DISK_SECONDS = 0.002
LOCKED_WAIT_SECONDS = 30.0
CHECKPOINT_PAGES = 4000

INSERT_RUN = (
    "INSERT INTO runs (key, id, workflow, status, started_at, ended_at, owner) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_RUN = "UPDATE runs SET status = ?, ended_at = ? WHERE key = ?"
INSERT_ENTRY = "INSERT INTO journal (run, number, data, hash) VALUES (?, ?, ?, ?)"
SELECT_RUN = "SELECT key, id, workflow, status, started_at, ended_at FROM runs"


class SqliteStore:
    """A store in one SQLite file (WAL, synchronous=FULL). Implements ``store.protocol.Store``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = FileLock(f"{path}-worker")
        self._connection: apsw.Connection | None = None
        self._writing = asyncio.Lock()
        self._disk_seconds = 0.0
        self._data_version = -1

    @property
    def connection(self) -> apsw.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.path} is not open.")
        return self._connection

    async def open(self) -> None:
        with _explained(self.path):
            connection = apsw.Connection(self.path, statementcachesize=64)
            connection.set_busy_timeout(int(LOCKED_WAIT_SECONDS * 1000))
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
                connection.execute("PRAGMA cache_size = -65536")
                migrate(connection, self.path)
                if connection.readonly("main"):
                    raise StoreReadOnly(
                        f"{self.path} cannot be written: check the permissions of the file and its folder."
                    )
            except BaseException:
                connection.close()
                raise
            connection.set_busy_timeout(0)
            self._connection = connection

    async def close(self) -> None:
        if self._connection is not None:
            async with self._writing:
                self._connection.close()
                self._connection = None
        self._lock.release()

    async def take_over(self, worker: str) -> int | None:
        if not self._lock.acquire():
            return None
        async with self._transaction():
            self._run("INSERT INTO incarnations (worker) VALUES (?)", (worker,))
            return self.connection.last_insert_rowid()

    async def owner(self) -> str:
        row = self._one("SELECT worker FROM incarnations ORDER BY epoch DESC LIMIT 1")
        return row[0] if row else ""

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        async with self._transaction():
            self._check(epoch)
            taken = self._create(epoch, [write for write in writes if write.key is None])
            written = [write for write in writes if write not in taken] if taken else writes
            many = self.connection.executemany
            many(INSERT_ENTRY, [(w.key, w.entry.number, w.entry.data, w.entry.hash) for w in written])
            changed = [(w.status, w.ended_at, w.key) for w in written if w.row_changed and w.entry.number > 1]
            if changed:
                many(UPDATE_RUN, changed)
            answers = [answer for write in written if write.answered for answer in write.answered]
            if answers:
                self._answer(answers)
        return taken

    def _create(self, owner: int, new: list[Write]) -> list[Write]:
        if not new:
            return []
        ids = tuple(write.id for write in new)
        rows = self._run("SELECT id FROM runs WHERE id IN carray(?)", (apsw.carray(ids),))
        existing = {row[0] for row in rows}
        taken = [write for write in new if write.id in existing] if existing else []
        key = self._one("SELECT coalesce(max(key), 0) FROM runs")[0]
        fresh = []
        for write in new:
            if write.id not in existing:
                key += 1
                write.key = key
                fresh.append(
                    (key, write.id, write.workflow, write.status, write.started_at, write.ended_at, owner)
                )
        self.connection.executemany(INSERT_RUN, fresh)
        return taken

    async def adopt(self, epoch: int, workflows: Sequence[str], limit: int) -> list[RunRow]:
        async with self._transaction():
            self._check(epoch)
            rows = self._run(
                f"{SELECT_RUN} WHERE ended_at IS NULL AND owner <> ? AND workflow IN (SELECT value FROM json_each(?)) "
                "ORDER BY key LIMIT ?",
                (epoch, msgspec.json.encode(list(workflows)).decode(), limit),
            ).fetchall()
            self.connection.executemany(
                "UPDATE runs SET owner = ? WHERE key = ?", [(epoch, row[0]) for row in rows]
            )
        return [RunRow(*row) for row in rows]

    async def unadopted(self, epoch: int) -> list[RunRow]:
        return self._rows(f"{SELECT_RUN} WHERE ended_at IS NULL AND owner <> ? ORDER BY key", (epoch,))

    async def submit(self, write: Write) -> bool:
        async with self._transaction():
            if self._create(0, [write]):
                return False
            self._run(INSERT_ENTRY, (write.key, write.entry.number, write.entry.data, write.entry.hash))
        return True

    async def find(self, run_id: str) -> RunRow | None:
        rows = self._rows(f"{SELECT_RUN} WHERE id = ?", (run_id,))
        return rows[0] if rows else None

    async def list(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        limit: int = 100,
        before_key: int | None = None,
    ) -> Sequence[RunRow]:
        return self._rows(
            f"{SELECT_RUN} WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR workflow = ?2) "
            "AND (?3 IS NULL OR key < ?3) ORDER BY key DESC LIMIT ?4",
            (status, workflow, before_key, limit),
        )

    async def journal(self, key: int) -> Sequence[SealedEntry]:
        rows = self._run("SELECT number, data, hash FROM journal WHERE run = ? ORDER BY number", (key,))
        return [SealedEntry(*row) for row in rows]

    async def post(self, run_id: str, data: bytes) -> int:
        async with self._transaction():
            self._run("INSERT INTO inbox (run_id, data) VALUES (?, ?)", (run_id, data))
            return self.connection.last_insert_rowid()

    async def inbox(self) -> Sequence[InboxRequest]:
        rows = self._run("SELECT number, run_id, data FROM inbox WHERE error IS NULL ORDER BY number")
        return [InboxRequest(*row) for row in rows]

    async def answer(self, epoch: int, answers: Sequence[InboxAnswer]) -> None:
        async with self._transaction():
            self._check(epoch)
            self._answer(answers)

    async def take_answer(self, number: int) -> InboxAnswer | None:
        row = self._one("SELECT number, error FROM inbox WHERE number = ? AND error IS NOT NULL", (number,))
        if row is None:
            return None
        async with self._transaction():
            self._run("DELETE FROM inbox WHERE number = ?", (number,))
        return InboxAnswer(*row)

    async def changed(self) -> bool:
        version = self._one("PRAGMA data_version")[0]
        before, self._data_version = self._data_version, version
        return bool(version != before)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _transaction(self) -> _Transaction:
        return _Transaction(self)

    def _check(self, epoch: int) -> None:
        newest = self._one("SELECT max(epoch) FROM incarnations")[0]
        if newest != epoch:
            raise StoreFenced(
                f"{self.path}: worker incarnation {newest} has taken over from {epoch}; this one stops writing."
            )

    def _answer(self, answers: Sequence[InboxAnswer]) -> None:
        self.connection.executemany(
            "UPDATE inbox SET error = ? WHERE number = ?",
            [(answer.error, answer.number) for answer in answers],
        )

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> apsw.Cursor:
        with _explained(self.path):
            return self.connection.execute(sql, parameters)

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self._run(sql, parameters).fetchone()

    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[RunRow]:  # type: ignore[valid-type] # `list` is a verb here
        return [RunRow(*row) for row in self._run(sql, parameters)]


class _Transaction:
    """``async with``: BEGIN IMMEDIATE (waiting for other processes without blocking the loop) … COMMIT or ROLLBACK."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def __aenter__(self) -> None:
        store = self._store
        await store._writing.acquire()
        try:
            wait, waited = 0.001, 0.0
            while True:
                try:
                    store.connection.execute("BEGIN IMMEDIATE")
                    return
                except apsw.BusyError:
                    if waited > LOCKED_WAIT_SECONDS:
                        raise
                await asyncio.sleep(wait)
                waited += wait
                wait = min(wait * 2, 0.05)
        except BaseException as error:
            store._writing.release()
            raise explain(error, store.path) from error

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        store = self._store
        try:
            if error is None:
                await self._commit()
            else:
                self._roll_back()
                raise explain(error, store.path) from error
        finally:
            store._writing.release()

    async def _commit(self) -> None:
        store = self._store
        started = time.perf_counter()
        try:
            if store._disk_seconds < SLOW_DISK_SECONDS:
                store.connection.execute("COMMIT")
            else:
                await asyncio.shield(asyncio.to_thread(store.connection.execute, "COMMIT"))
        except apsw.Error as error:
            self._roll_back()
            raise explain(error, store.path) from error
        store._disk_seconds += (time.perf_counter() - started - store._disk_seconds) / 8

    def _roll_back(self) -> None:
        if self._store.connection.in_transaction:
            self._store.connection.execute("ROLLBACK")


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise explain(error, path) from error


def explain(error: BaseException, path: str) -> BaseException:
    """The error of our own tree that says what an error of SQLite means for the user; other errors as they are."""
    match error:
        case apsw.FullError():
            return StoreFull(f"{path}: the disk is full. Free some space; work goes on by itself.")
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return StoreReadOnly(
                f"{path} cannot be written: check the permissions of the file and its folder."
            )
        case apsw.BusyError() | apsw.LockedError():
            return StoreLocked(
                f"{path}: another process holds the write lock for more than {LOCKED_WAIT_SECONDS:g} s."
            )
        case apsw.CantOpenError():
            folder = Path(path).absolute().parent
            why = (
                f"the folder {folder} does not exist"
                if not folder.is_dir()
                else "check that it is a file and may be opened"
            )
            return StoreError(f"{path} cannot be opened: {why}.")
        case apsw.NotADBError() | apsw.CorruptError():
            return StoreError(
                f"{path} is damaged or no SQLite database ({error}). Restore it from a backup; nothing was changed."
            )
        case apsw.Error():
            return StoreError(f"{path}: {type(error).__name__}: {error}")
    return error
