"""A whole run as plain data, to be kept or read elsewhere: described, event by event, and as it is stored.

``journal`` holds each entry's bytes as they are, so that whoever has the file can check the chain of hashes: the BLAKE2b
(32 bytes) of the previous entry's hash (nothing for the first) followed by this entry's ``data`` in UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from makegood.description import Description, HistoryItem, describe, flatten
from makegood.engine.legs import last_leg
from makegood.errors import JournalCorrupt
from makegood.store.codec import unseal
from makegood.store.protocol import SealedEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 1
ALTERED = "export of run {}: what it tells is not what its journal tells: it was altered."


class ExportedEntry(msgspec.Struct, frozen=True):
    """An entry as stored: its number, its JSON, and its hash (hexadecimal)."""

    number: int
    data: str
    hash: str


class Export(msgspec.Struct, frozen=True):
    """A run. ``format`` is raised when the meaning of a field changes; ``events`` are those of all legs.

    ``children``: the runs that it called, if they were asked for.
    """

    format: int
    run: Description
    events: list[HistoryItem]
    journal: list[ExportedEntry]
    children: list[Export] = []


def export(run_id: str, sealed: Sequence[SealedEntry], children: list[Export]) -> Export:
    """A run's export from its whole journal.

    Raises:
        JournalCorrupt: the journal was altered.
    """
    entries = unseal(run_id, sealed)
    return Export(
        FORMAT,
        describe(last_leg(entries)),
        flatten(entries),
        [ExportedEntry(one.number, one.data.decode(), one.hash.hex()) for one in sealed],
        children,
    )


def check(exported: Export) -> int:
    """Check an export's journal against its hashes, and its events against its journal; the number of entries.

    Raises:
        JournalCorrupt: it was altered; the message says where.
    """
    sealed = [SealedEntry(one.number, one.data.encode(), bytes.fromhex(one.hash)) for one in exported.journal]
    again = export(exported.run.id, sealed, exported.children)
    if _comparable(again) != _comparable(exported):
        raise JournalCorrupt(ALTERED.format(exported.run.id))
    return len(sealed) + sum(map(check, exported.children))


def _comparable(exported: Export) -> object:
    """What it tells; times in words are in the zone of whoever wrote it."""
    run = msgspec.structs.replace(exported.run, waiting_for="")
    return msgspec.to_builtins((exported.format, run, exported.events))
