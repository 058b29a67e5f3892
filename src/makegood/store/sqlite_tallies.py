"""How many runs of each workflow and status there are, by *block*: 1,024 keys in a row. The index of a search.

Every commit keeps the tallies, a few rows for all of its runs together: an index of all runs would cost each run more. A
search looks into the blocks that hold something for it (``store.sqlite_search``), and counting hardly looks at runs at all.

A tally also bounds the times of its runs. A run that changes its status leaves bounds behind that are wider than need be;
those of its start stay with the status that it was created with, so that a block's are those of all its tallies.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

    from makegood.store.protocol import Write

BLOCK_BITS = 10
BLOCK_RUNS = 1 << BLOCK_BITS
UNBOUNDED = (None, None)

WIDENED = (
    "ended_first = min(ifnull(ended_first, ?{0}), ifnull(?{0}, ended_first)), "
    "ended_last = max(ifnull(ended_last, ?{1}), ifnull(?{1}, ended_last))"
)
ADD_CREATED = (
    "INSERT INTO tallies (block, workflow, status, runs, started_first, started_last, ended_first, ended_last) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET runs = runs + ?4, "
    "started_first = min(ifnull(started_first, ?5), ?5), started_last = max(ifnull(started_last, ?6), ?6), "
    f"{WIDENED.format(7, 8)}"
)
ADD_CHANGED = (
    "INSERT INTO tallies (block, workflow, status, runs, ended_first, ended_last) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET runs = runs + ?4, "
    f"{WIDENED.format(5, 6)}"
)
TAKE = "UPDATE tallies SET runs = runs - ?4 WHERE block = ?1 AND workflow = ?2 AND status = ?3"

_key, _started_at = attrgetter("key"), attrgetter("started_at")
_birth, _move = attrgetter("workflow", "status"), attrgetter("workflow", "before", "status")


def created(connection: apsw.Connection, writes: Sequence[Write]) -> None:
    """Note runs that were created."""
    started = min(map(_started_at, writes)), max(map(_started_at, writes))
    bounds = _bounds(writes)
    connection.executemany(
        ADD_CREATED,
        [
            (block, workflow, status, runs, *started, *bounds.get(status, UNBOUNDED))
            for block, inside in _by_block(writes).items()
            for (workflow, status), runs in Counter(map(_birth, inside)).items()
        ],
    )


def changed(connection: apsw.Connection, writes: Sequence[Write]) -> None:
    """Note runs whose rows were changed: what they were ``before``, and what they are."""
    moves = [
        (block, workflow, before, status, runs)
        for block, inside in _by_block(writes).items()
        for (workflow, before, status), runs in Counter(map(_move, inside)).items()
        if before != status
    ]
    if not moves:
        return
    bounds = _bounds(writes)
    connection.executemany(
        TAKE, [(block, workflow, before, runs) for block, workflow, before, _, runs in moves]
    )
    connection.executemany(
        ADD_CHANGED,
        [
            (block, workflow, status, runs, *bounds.get(status, UNBOUNDED))
            for block, workflow, _, status, runs in moves
        ],
    )


def _by_block(writes: Sequence[Write]) -> dict[int, Sequence[Write]]:
    keys = [*map(_key, writes)]
    first = min(keys) >> BLOCK_BITS
    if first == max(keys) >> BLOCK_BITS:
        return {first: writes}
    blocks: dict[int, list[Write]] = {}
    for key, write in zip(keys, writes, strict=True):
        blocks.setdefault(key >> BLOCK_BITS, []).append(write)
    return dict(blocks)


def _bounds(writes: Sequence[Write]) -> dict[str, tuple[float | None, float | None]]:
    """When the runs ended, by the statuses of those that did: one commit's lie close together."""
    ended = [write.ended_at for write in writes if write.ended_at is not None]
    statuses = {write.status for write in writes if write.ended_at is not None}
    return dict.fromkeys(statuses, (min(ended), max(ended))) if ended else {}


def taken(connection: apsw.Connection, rows: Iterable[tuple[int, str, str]]) -> None:
    """Note runs, by key, workflow and status, that are no longer there."""
    cells = Counter([(key >> BLOCK_BITS, workflow, status) for key, workflow, status in rows])
    connection.executemany(TAKE, [(*cell, runs) for cell, runs in cells.items()])
