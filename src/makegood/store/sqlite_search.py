"""Searching runs on SQLite: the tallies say which blocks of keys can hold some; those are looked through, newest first.

Between two bites of a few blocks the event loop has its turn, so that a search among a million runs holds up none of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from makegood.store.sqlite_rows import COLUMNS, run_row
from makegood.store.sqlite_tallies import BLOCK_BITS, BLOCK_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from makegood.store.protocol import RunRow, Where

    Read = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]

BITE_BLOCKS = 16
TALLIED_BLOCKS = 256
FEW_RUNS = 5_000
LAST_KEY = 1 << 62
AFTER_ANY_ID = "\U0010ffff"  # cannot be printed, so no id holds it

MATCHES = "(?1 IS NULL OR status = ?1) AND (?2 IS NULL OR workflow = ?2)"
HOLDS = (
    f"sum(runs) FILTER (WHERE {MATCHES}) > 0 AND (?3 IS NULL OR max(started_last) >= ?3) AND "
    "(?4 IS NULL OR min(started_first) < ?4) AND (?5 IS NULL OR max(ended_last) >= ?5) AND "
    "(?6 IS NULL OR min(ended_first) < ?6)"
)
ALL_MEET = (
    "(?3 IS NULL OR min(started_first) >= ?3) AND (?4 IS NULL OR max(started_last) < ?4) AND "
    "(?5 IS NULL OR min(ended_first) >= ?5) AND (?6 IS NULL OR max(ended_last) < ?6) AND "
    f"(coalesce(?5, ?6) IS NULL OR total(runs) FILTER (WHERE ended_last IS NULL AND {MATCHES}) = 0)"
)
SELECT_BLOCKS = (
    f"SELECT block, sum(runs) FILTER (WHERE {MATCHES}), {ALL_MEET} FROM tallies WHERE block <= ?7 "
    f"GROUP BY block HAVING {HOLDS} ORDER BY block DESC LIMIT {TALLIED_BLOCKS}"
)


class Search:
    """One search, ready as SQL; ``read`` carries out a statement."""

    def __init__(self, read: Read, where: Where) -> None:
        self._read = read
        self._where = where
        self._source, self._key = "runs", "key"
        self._terms = ["pruned_at IS NULL"]
        self._values: list[Any] = []
        for number, tag in enumerate(where.tags.items()):
            if number == 0:
                self._source, self._key = "tags AS tag CROSS JOIN runs ON runs.key = tag.run", "tag.run"
                self._add("tag.name = ? AND tag.value = ?", *tag)
            else:
                self._add("EXISTS (SELECT 1 FROM tags WHERE name = ? AND value = ? AND run = runs.key)", *tag)
        if where.parent is not None:
            self._add(*(("parent = ?", where.parent) if where.parent else ("parent IS NULL",)))
        if where.id_prefix:
            self._add("id >= ? AND id < ?", where.id_prefix, where.id_prefix + AFTER_ANY_ID)
        for term, value in (
            ("status = ?", where.status),
            ("workflow = ?", where.workflow),
            ("started_at >= ?", where.started_after),
            ("started_at < ?", where.started_before),
            ("ended_at >= ?", where.ended_after),
            ("ended_at < ?", where.ended_before),
        ):
            if value is not None:
                self._add(term, value)

    async def runs(self, limit: int, before_key: int | None) -> list[RunRow]:
        """The newest, at most ``limit``."""
        newest = LAST_KEY if before_key is None else before_key - 1
        found: list[RunRow] = []
        if limit < 1:
            return found
        for first, last in self._few() or self._bites(newest):
            rows = self._select(COLUMNS, first, min(last, newest), limit - len(found))
            found += map(run_row, rows)
            if len(found) == limit:
                break
            await asyncio.sleep(0)
        return found

    async def count(self) -> int:
        """How many there are."""
        if self._few():
            return self._count(0, LAST_KEY)
        where = self._where
        tallied = not (where.tags or where.parent is not None or where.id_prefix)
        total = 0
        edges: list[int] = []
        for block, runs, all_meet in self._blocks(LAST_KEY):
            if tallied and all_meet:
                total += runs
            else:
                edges.append(block)
        for first, last in _joined(edges):
            total += self._count(first, last)
            await asyncio.sleep(0)
        return total

    # ---- inside ----------------------------------------------------------------------------------------

    def _add(self, term: str, *values: Any) -> None:
        self._terms.append(term)
        self._values += values

    def _few(self) -> list[tuple[int, int]]:
        """All keys, if few ids begin as asked for: those are found by the index of ids."""
        prefix = self._where.id_prefix
        if not prefix or self._where.tags:
            return []
        sql = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE id >= ? AND id < ? LIMIT ?)"
        [[ids]] = self._read(sql, (prefix, prefix + AFTER_ANY_ID, FEW_RUNS + 1))
        if ids > FEW_RUNS:
            return []
        self._source, self._key = "runs INDEXED BY sqlite_autoindex_runs_1", "+key"
        return [(0, LAST_KEY)]

    def _select(self, columns: str, first: int, last: int, limit: int) -> Sequence[tuple[Any, ...]]:
        sql = (
            f"SELECT {columns} FROM {self._source} WHERE {' AND '.join(self._terms)} "
            f"AND {self._key} BETWEEN ? AND ? ORDER BY {self._key} DESC LIMIT ?"
        )
        return self._read(sql, (*self._values, first, last, limit))

    def _count(self, first: int, last: int) -> int:
        return int(self._select("count(*)", first, last, 1)[0][0])

    def _bites(self, newest: int) -> Iterator[tuple[int, int]]:
        return _joined(block for block, _, _ in self._blocks(newest))

    def _blocks(self, newest: int) -> Iterator[tuple[int, int, int]]:
        """The blocks that can hold some, the newest first: how many by workflow and status, and if they meet all times."""
        where, block = self._where, newest >> BLOCK_BITS
        times = (where.started_after, where.started_before, where.ended_after, where.ended_before)
        while block >= 0:
            found = self._read(SELECT_BLOCKS, (where.status, where.workflow, *times, block))
            yield from found
            block = found[-1][0] - 1 if len(found) == TALLIED_BLOCKS else -1


def _joined(blocks: Iterator[int] | Sequence[int]) -> Iterator[tuple[int, int]]:
    """Blocks in descending order as ranges of keys, neighbours joined up to a bite."""
    last = first = None
    for block in blocks:
        if first is not None and last is not None:
            if block == first - 1 and last - block < BITE_BLOCKS:
                first = block
                continue
            yield first << BLOCK_BITS, (last << BLOCK_BITS) + BLOCK_RUNS - 1
        first = last = block
    if first is not None and last is not None:
        yield first << BLOCK_BITS, (last << BLOCK_BITS) + BLOCK_RUNS - 1
