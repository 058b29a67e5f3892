"""A run's row in the table ``runs``, to and fro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from makegood.store.protocol import NO_TAGS, Pin, RunRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from makegood.store.protocol import Write

COLUMNS = (
    "key, id, workflow, status, started_at, ended_at, wake_at, version, leg_entry, "
    "parent, tags, pin, pruned_at, input_hash"
)
COLUMNS_OF_R = "r." + COLUMNS.replace(", ", ", r.")
ROW_COLUMNS = COLUMNS.count(",") + 1
SELECT_RUN = f"SELECT {COLUMNS} FROM runs"
SELECT_STORED = (
    f"SELECT {COLUMNS_OF_R}, "
    "j.number, j.data, j.hash FROM json_each(?) AS asked CROSS JOIN runs AS r ON r.id = asked.value "
    "LEFT JOIN journal AS j ON j.run = r.key AND j.number > r.leg_entry - 2 AND r.ended_at IS NULL"
)

_tags = msgspec.json.Decoder(dict[str, str])
_pin = msgspec.json.Decoder(Pin)


def run_row(row: tuple[Any, ...]) -> RunRow:
    """The row, as it was selected by ``COLUMNS``."""
    parent, tags, pin, pruned_at, input_hash = row[9:]
    return RunRow(
        *row[:9],  # type: ignore[call-arg] # mypy takes it for any number
        parent or "",
        NO_TAGS if tags is None else _tags.decode(tags),
        None if pin is None else _pin.decode(pin),
        pruned_at,
        input_hash or b"",
    )


def rows_of(writes: Iterable[tuple[int | None, Write]], owner: int) -> list[tuple[Any, ...]]:
    """What is inserted for new runs, under these keys."""
    return [
        (
            key,
            w.id,
            w.workflow,
            w.status,
            w.started_at,
            w.ended_at,
            owner,
            w.version,
            w.leg_entry,
            w.parent or None,
            msgspec.json.encode(dict(w.tags)).decode() if w.tags else None,
        )
        for key, w in writes
    ]


def tags_of(writes: Iterable[Write]) -> Iterator[tuple[str, str, int | None]]:
    """The tags of runs that have a key."""
    for write in writes:
        for name, value in write.tags.items():
            yield name, value, write.key
