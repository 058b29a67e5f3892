"""Pruning on SQLite: of runs that ended long ago only their rows stay, as tombstones. One call is one short transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.store import sqlite_tallies as tallies
from makegood.store.protocol import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import apsw

    from makegood.store.protocol import Pin

    Read = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]

ROOTS_AT_ONCE = 100
KEYS_AT_ONCE = 2_000

NEXT_BLOCK = (
    "SELECT block FROM tallies WHERE block >= ? AND runs > 0 AND ended_first < ? ORDER BY block LIMIT 1"
)
SELECT_ROOTS = """
    SELECT key, id, EXISTS (SELECT 1 FROM runs AS child WHERE child.parent = runs.id) FROM runs
    WHERE key > ?1 AND key <= ?2 AND ended_at < ?3 AND pruned_at IS NULL AND pin IS NULL AND (parent IS NULL
        OR NOT EXISTS (SELECT 1 FROM runs AS above WHERE above.id = runs.parent AND above.pruned_at IS NULL))
    ORDER BY key LIMIT ?4
"""
SELECT_FAMILY = """
    WITH RECURSIVE family (key, id) AS (
        SELECT key, id FROM runs WHERE key = ?1
        UNION SELECT runs.key, runs.id FROM family JOIN runs ON runs.parent = family.id
    )
    SELECT key, ifnull(ended_at < ?2, 0) AND pin IS NULL FROM family JOIN runs USING (key)
"""
AMONG = "IN (SELECT value FROM json_each(?))"
DELETE_TAGS = (
    "DELETE FROM tags WHERE (name, value, run) IN "
    f"(SELECT tag.key, tag.value, runs.key FROM runs, json_each(runs.tags) AS tag WHERE runs.key {AMONG})"
)
BURY = "UPDATE runs SET pruned_at = ?, input_hash = ?, parent = NULL, tags = NULL, pin = NULL WHERE key = ?"


def set_pin(connection: apsw.Connection, run_id: str, pin: Pin | None) -> bool:
    data = None if pin is None else msgspec.json.encode(pin).decode()
    connection.execute("UPDATE runs SET pin = ? WHERE id = ? AND pruned_at IS NULL", (data, run_id))
    return bool(connection.changes())


def next_block(read: Read, before: float, after_key: int) -> int | None:
    """The first block that can hold runs to be pruned."""
    rows = read(NEXT_BLOCK, ((after_key + 1) >> tallies.BLOCK_BITS, before))
    return rows[0][0] if rows else None


def prune(
    connection: apsw.Connection,
    before: float,
    at: float,
    digest: Callable[[bytes], bytes],
    after_key: int,
) -> Batch:
    """Prune some runs of the block in which the key after ``after_key`` lies."""
    last = after_key + 1 | tallies.BLOCK_RUNS - 1
    roots = list(connection.execute(SELECT_ROOTS, (after_key, last, before, ROOTS_AT_ONCE)))
    keys: list[int] = []
    for key, _, has_children in roots:
        keys += _family(connection, key, before) if has_children else (key,)
    if keys:
        _bury(connection, keys, at, digest)
    return Batch(len(keys), roots[-1][0] if len(roots) == ROOTS_AT_ONCE else last)


def _family(connection: apsw.Connection, root: int, before: float) -> Iterable[int]:
    """The run and all that it called; nobody, if one of them has to stay."""
    members = list(connection.execute(SELECT_FAMILY, (root, before)))
    return [key for key, _ in members] if all(may_go for _, may_go in members) else ()


def _bury(
    connection: apsw.Connection, keys: Sequence[int], at: float, digest: Callable[[bytes], bytes]
) -> None:
    among = (json.dumps(keys),)
    inputs = connection.execute(f"SELECT run, data FROM journal WHERE number = 1 AND run {AMONG}", among)
    hashes = {run: digest(data) for run, data in inputs}
    gone = list(connection.execute(f"SELECT key, workflow, status FROM runs WHERE key {AMONG}", among))
    connection.execute(f"DELETE FROM journal WHERE run {AMONG}", among)
    connection.execute(f"DELETE FROM inbox WHERE run_id IN (SELECT id FROM runs WHERE key {AMONG})", among)
    connection.execute(DELETE_TAGS, among)
    connection.executemany(BURY, [(at, hashes.get(key, b"?"), key) for key in keys])
    tallies.taken(connection, gone)


def forget(connection: apsw.Connection, before: float, after_key: int) -> Batch:
    """Remove the tombstones of runs pruned before a time, among the keys that follow."""
    last = after_key + KEYS_AT_ONCE
    connection.execute(
        "DELETE FROM runs WHERE key > ? AND key <= ? AND pruned_at < ?", (after_key, last, before)
    )
    newest = connection.execute("SELECT coalesce(max(key), 0) FROM runs").get
    return Batch(connection.changes(), last if last < newest else None)
