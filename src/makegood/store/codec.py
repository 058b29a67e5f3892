"""What is stored, as bytes: journal entries, chained by hashes so that an alteration is found; schedules' states."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.engine.journal import Entry, RunContinued, RunStarted
from makegood.engine.legs import last_leg
from makegood.engine.schedule_state import ScheduleState
from makegood.errors import JournalCorrupt, StoreError
from makegood.store.protocol import ScheduleRow, SealedEntry, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from makegood.definition.workflow import Workflow
    from makegood.engine.journal import AnyEvent

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)
_schedule_decoder = msgspec.json.Decoder(ScheduleState)

FIRST_HASH = b""
HASH_BYTES = 32


def seal(entry: Entry, number: int, previous_hash: bytes) -> SealedEntry:
    """Encode an entry and chain it to the one before it (``FIRST_HASH`` for the first)."""
    data = _encoder.encode(entry)
    return SealedEntry(number, data, chained(previous_hash, data))


def chained(previous_hash: bytes, data: bytes) -> bytes:
    """The hash of an entry: BLAKE2b (RFC 7693) over the previous entry's hash and this one's bytes."""
    return blake2b(previous_hash + data, digest_size=HASH_BYTES).digest()


def submission(
    workflow: Workflow[..., Any],
    run_id: str,
    arguments: msgspec.Raw,
    at: float,
    tags: dict[str, str] | None = None,
) -> Write:
    """What creates a run that a worker is to adopt."""
    name, version, tags = workflow.name, workflow.version, tags or {}
    started = RunStarted(run_id, name, arguments, version=version, deadline=workflow.deadline(at), tags=tags)
    entry = Entry(at, 0, [started])
    sealed = seal(entry, 1, FIRST_HASH)
    return Write(None, run_id, name, "RUNNING", at, None, True, sealed, version=version, tags=tags)


def input_hash(data: bytes) -> bytes:
    """The hash of the input in a run's first entry, whatever the order of its keys; of anything else: b"?"."""
    try:
        started = _decoder.decode(data).events[0]
    except (msgspec.MsgspecError, IndexError):
        return b"?"
    return hashed_input(started.input) if isinstance(started, RunStarted) else b"?"


def hashed_input(arguments: msgspec.Raw) -> bytes:
    """As ``input_hash``, of arguments."""
    ordered = msgspec.json.encode(msgspec.json.decode(arguments), order="deterministic")
    return blake2b(ordered, digest_size=HASH_BYTES).digest()


def fork_submission(events: list[AnyEvent], started: RunStarted, at: float) -> Write:
    """What creates a run that begins with what another one had recorded."""
    sealed = seal(Entry(at, 0, events), 1, FIRST_HASH)
    return Write(
        None,
        started.id,
        started.workflow,
        "RUNNING",
        at,
        None,
        True,
        sealed,
        version=started.version,
        tags=started.tags,
    )


def unseal(run_id: str, sealed: Iterable[SealedEntry]) -> list[Entry]:
    """A run's entries, checked: its own, no gap, every hash right, every event known.

    Raises:
        JournalCorrupt: with the number of the first entry that is wrong.
    """
    entries = list(unsealed_on(run_id, sealed))
    if not entries:
        raise JournalCorrupt(f"journal of run {run_id} is empty: its entries are missing.")
    _check_beginning(run_id, entries)
    return entries


def unseal_leg(run_id: str, sealed: Sequence[SealedEntry], leg_entry: int) -> list[Entry]:
    """The entries of a run's last leg, which begins with the entry of that number (0: of all of the run), checked.

    ``sealed`` begins with the entry before it, whose hash is what the others are chained to.

    Raises:
        JournalCorrupt: as ``unseal``; what is recorded before that is not looked at.
    """
    if not leg_entry:
        return unseal(run_id, sealed)
    number, previous_hash, rest = 0, FIRST_HASH, sealed
    if leg_entry > 1 and sealed:
        number, previous_hash, rest = leg_entry - 1, sealed[0].hash, sealed[1:]
    entries = list(last_leg(list(unsealed_on(run_id, rest, number, previous_hash))))
    _check_beginning(run_id, entries)
    return entries


def legible(run_id: str, sealed: Iterable[SealedEntry]) -> list[Entry]:
    """A run's entries up to the first one that is wrong."""
    entries: list[Entry] = []
    with suppress(JournalCorrupt):
        entries.extend(unsealed_on(run_id, sealed))
    try:
        _check_beginning(run_id, entries)
    except JournalCorrupt:
        return []
    return entries


def unsealed_on(
    run_id: str, sealed: Iterable[SealedEntry], number: int = 0, previous_hash: bytes = FIRST_HASH
) -> Iterator[Entry]:
    """The entries that follow the one of this number and hash, each checked as by ``unseal``.

    Raises:
        JournalCorrupt: as ``unseal``, at the entry that is wrong.
    """
    for expected, one in enumerate(sealed, start=number + 1):
        if one.number != expected:
            raise JournalCorrupt(
                f"journal of run {run_id}: entry {expected} is missing (found {one.number})."
            )
        if not isinstance(one.data, bytes) or chained(previous_hash, one.data) != one.hash:
            raise JournalCorrupt(
                f"journal of run {run_id}: entry {expected} was altered: it does not match its hash."
            )
        previous_hash = one.hash
        try:
            entry = _decoder.decode(one.data)
        except msgspec.MsgspecError as error:
            raise JournalCorrupt(
                f"journal of run {run_id}: entry {expected} cannot be read: {error}."
            ) from error
        yield entry


def _check_beginning(run_id: str, entries: list[Entry]) -> None:
    first = entries[0].events[0] if entries and entries[0].events else None
    started = first.started if isinstance(first, RunContinued) else first
    if not isinstance(started, RunStarted) or started.id != run_id:
        raise JournalCorrupt(
            f"journal of run {run_id}: these are not its entries; they begin with {first!r:.200}."
        )


def schedule_row(workflow: str, before: ScheduleRow | None, state: ScheduleState) -> ScheduleRow:
    """The row that follows the one that was read, if there was one."""
    return ScheduleRow(workflow, 0 if before is None else before.revision, _encoder.encode(state))


def schedule_state(row: ScheduleRow) -> ScheduleState:
    """The state that a row holds.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return _schedule_decoder.decode(row.data)
    except (msgspec.MsgspecError, TypeError) as error:
        raise StoreError(
            f"schedule {row.workflow}: its state in the store cannot be read: {error}. It starts nothing; "
            "restore the database from a backup."
        ) from error
