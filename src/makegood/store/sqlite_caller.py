"""Starting a run inside a transaction of the caller's own, on an apsw connection of the caller's own to the same file.

Python's ``sqlite3`` brings an SQLite of its own. Two SQLite libraries in one process do not see each other's locks on a
file (POSIX locks belong to the process), and closing a connection of one drops the locks of the other: both would write
at once, and damage it (sqlite.org/howtocorrupt.html, 2.2.1). So such a connection is refused.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from makegood.errors import StoreLocked, UsageError
from makegood.store import sqlite_tallies as tallies
from makegood.store.protocol import RunRow, SealedEntry
from makegood.store.sqlite_rows import SELECT_RUN, rows_of, run_row

if TYPE_CHECKING:
    from makegood.store.protocol import Write


def checked(connection: object, path: str) -> Any:
    """A cursor of the connection, if runs of the store at this path can be started on it.

    Raises:
        UsageError: it is another kind of connection, to another file, or has no transaction open.
    """
    if isinstance(connection, sqlite3.Connection):
        raise UsageError(
            "the connection is one of Python's sqlite3, which brings an SQLite library of its own. Two of them in one "
            f"process do not see each other's locks, and can damage the file: use apsw.Connection({path!r})."
        )
    if not isinstance(connection, apsw.Connection):
        raise UsageError(f"connection={connection!r}: give an apsw connection, apsw.Connection({path!r}).")
    cursor: Any = connection.cursor()
    cursor.row_trace = _as_it_is
    [file] = [row[2] for row in cursor.execute("PRAGMA database_list").fetchall() if row[1] == "main"]
    if not file or not Path(file).samefile(path):
        raise UsageError(
            f"the connection is to {file or 'a database in memory'}, and this engine's runs are in {path}. "
            "One transaction cannot span two databases: connect to the engine's file."
        )
    if not connection.in_transaction:
        raise UsageError(
            "the connection has no transaction open, so there is nothing that the start could be a part of. "
            'Begin one first: connection.execute("BEGIN IMMEDIATE"). To start a run by itself, leave connection out.'
        )
    return cursor


def _as_it_is(_cursor: apsw.Cursor, row: Any) -> Any:
    return row


def insert(
    cursor: Any, insert_run: str, insert_entry: str, insert_tag: str, write: Write
) -> SealedEntry | RunRow | None:
    """Write a run's row and its first entry; or, if its id exists, nothing: then that run's first entry, or its tombstone.

    Raises:
        StoreLocked: another connection is writing.
    """
    try:
        found = cursor.execute(
            "SELECT number, data, hash FROM journal WHERE number = 1 AND run = (SELECT key FROM runs WHERE id = ?)",
            (write.id,),
        ).fetchall()
        if found:
            return SealedEntry(*found[0])
        pruned = cursor.execute(f"{SELECT_RUN} WHERE id = ?", (write.id,)).fetchall()
        if pruned:
            return run_row(pruned[0])
        cursor.execute("SAVEPOINT makegood_start")
        try:
            cursor.execute(insert_run, rows_of([(None, write)], 0)[0])
            [[key]] = cursor.execute("SELECT key FROM runs WHERE id = ?", (write.id,)).fetchall()
            cursor.execute(insert_entry, (key, write.entry.number, write.entry.data, write.entry.hash))
            tallies.created(cursor, [msgspec.structs.replace(write, key=key)])
            cursor.executemany(insert_tag, [(*tag, key) for tag in write.tags.items()])
        except BaseException:
            cursor.execute("ROLLBACK TO makegood_start")
            raise
        finally:
            cursor.execute("RELEASE makegood_start")
    except apsw.BusyError as error:
        raise StoreLocked(
            f"run {write.id} was not started: another connection is writing, and this transaction began by reading "
            '("BEGIN"). Roll it back and begin it as one that writes: "BEGIN IMMEDIATE".'
        ) from error
    return None
