"""A service's ledger: one SQLite file with what the service did and what it answered.

An effect and the answer that reports it are written in one transaction, so a service may be killed at any
instant: afterwards either both are there or neither is. Rows are only ever added.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import apsw
import msgspec

SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (
    sequence  INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL UNIQUE,    -- the Idempotency-Key of the request
    original  TEXT UNIQUE,             -- an undo only: the key of what it undoes, at most once
    order_id  TEXT NOT NULL,
    item      TEXT NOT NULL,           -- what it concerns: a card, a SKU, an address
    amount    INTEGER NOT NULL CHECK (amount >= 0),  -- cents or pieces
    time      REAL NOT NULL            -- seconds since 1970
) STRICT;
CREATE TRIGGER IF NOT EXISTS effects_never_change BEFORE UPDATE ON effects
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS effects_never_vanish BEFORE DELETE ON effects
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE IF NOT EXISTS answers (
    key     TEXT PRIMARY KEY,
    path    TEXT NOT NULL,
    request TEXT NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

SELECT_EFFECTS = "SELECT sequence, kind, key, original, order_id, item, amount, time FROM effects "


class Effect(msgspec.Struct, frozen=True):
    """Something a service did: a charge, a refund, a label."""

    sequence: int
    kind: str
    key: str
    original: str | None
    order_id: str
    item: str
    amount: int
    time: float


class StoredAnswer(msgspec.Struct, frozen=True):
    """What was answered to the first request with a key, and which request that was."""

    path: str
    request: str
    status: int
    body: str


class Ledger:
    """The ledger in the file at ``path``, which is made if it is missing. One process writes it."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))
        self.connection.set_busy_timeout(5_000)
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "full")
        self.connection.execute(SCHEMA)
        self._now = now

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing; durable on leaving the outermost one."""
        return self.connection

    def record(
        self, kind: str, key: str, order_id: str, amount: int, *, item: str = "", original: str | None = None
    ) -> Effect:
        """Append an effect. Raises `apsw.ConstraintError` for a second one with its key or its original."""
        effect = (kind, key, original, order_id, item, amount, self._now())
        self.connection.execute(
            "INSERT INTO effects (kind, key, original, order_id, item, amount, time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            effect,
        )
        return Effect(self.connection.last_insert_rowid(), *effect)

    def find(self, key: str) -> Effect | None:
        """The effect of the request with this key."""
        row = self.connection.execute(SELECT_EFFECTS + "WHERE key = ?", (key,)).fetchone()
        return Effect(*row) if row else None

    def undo_of(self, original: str) -> Effect | None:
        """The effect that undid (or forestalled) the request with the key ``original``."""
        row = self.connection.execute(SELECT_EFFECTS + "WHERE original = ?", (original,)).fetchone()
        return Effect(*row) if row else None

    def answer(self, key: str) -> StoredAnswer | None:
        row = self.connection.execute(
            "SELECT path, request, status, body FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return StoredAnswer(*row) if row else None

    def keep_answer(self, key: str, answer: StoredAnswer) -> None:
        self.connection.execute(
            "INSERT INTO answers (key, path, request, status, body) VALUES (?, ?, ?, ?, ?)",
            (key, answer.path, answer.request, answer.status, answer.body),
        )

    def close(self) -> None:
        self.connection.close()


def read_effects(path: Path) -> list[Effect]:
    """All effects in the ledger at ``path``, oldest first. The service may be running."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [Effect(*row) for row in connection.execute(SELECT_EFFECTS + "ORDER BY sequence")]
    finally:
        connection.close()
