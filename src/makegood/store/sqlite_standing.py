"""How runs stand: which have not ended, how long the recent ones took, and which have missed steps (``store.sqlite``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from makegood.store.sqlite_rows import SELECT_RUN, run_row
from makegood.store.sqlite_tallies import BLOCK_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from makegood.store.protocol import RunRow

    Read: TypeAlias = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]

UNFINISHED_WORKFLOWS = (
    "SELECT DISTINCT workflow FROM tallies "
    "WHERE runs > 0 AND status IN ('RUNNING', 'COMPENSATING', 'PARKED', 'PAUSED') ORDER BY workflow"
)
UNFINISHED_BLOCKS = (
    "SELECT DISTINCT block FROM tallies WHERE workflow = ? AND block >= ? AND runs > 0 "
    "AND status IN ('RUNNING', 'COMPENSATING', 'PARKED', 'PAUSED') ORDER BY block"
)
IN_BLOCK = "WHERE key BETWEEN ? AND ? AND workflow = ? AND ended_at IS NULL ORDER BY key"
UNFINISHED_IN_BLOCK = f"{SELECT_RUN} {IN_BLOCK}"
DURATIONS = (
    "SELECT workflow, ended_at - started_at FROM (SELECT * FROM runs ORDER BY key DESC LIMIT ?) "
    "WHERE status = 'COMPLETED' AND ended_at IS NOT NULL"
)
SET_MISSED = "INSERT OR REPLACE INTO missed (run, steps) VALUES (?, ?)"
IS_MISSED = "key IN (SELECT run FROM missed WHERE steps > 0 AND run < ?1) AND status = 'COMPLETED'"
SELECT_MISSED = f"{SELECT_RUN} WHERE {IS_MISSED} AND (?2 IS NULL OR workflow = ?2) ORDER BY key DESC LIMIT ?3"
LARGEST_KEY = 2**63 - 1


def unfinished_workflows(read: Read) -> list[str]:
    return [name for (name,) in read(UNFINISHED_WORKFLOWS, ())]


def unfinished(read: Read, workflow: str, after_key: int, limit: int) -> list[RunRow]:
    """Block by block: the tallies tell which of them hold any."""
    found: list[RunRow] = []
    for (block,) in read(UNFINISHED_BLOCKS, (workflow, after_key >> BLOCK_BITS)):
        first = max(after_key + 1, block << BLOCK_BITS)
        last = ((block + 1) << BLOCK_BITS) - 1
        found += map(run_row, read(UNFINISHED_IN_BLOCK, (first, last, workflow)))
        if len(found) >= limit:
            break
    return found[:limit]


def durations(read: Read, limit: int) -> list[tuple[str, float]]:
    return [(workflow, seconds) for workflow, seconds in read(DURATIONS, (limit,))]


def missed(read: Read, workflow: str | None, limit: int, before_key: int | None) -> list[RunRow]:
    first = LARGEST_KEY if before_key is None else before_key
    return [run_row(row) for row in read(SELECT_MISSED, (first, workflow, limit))]
