"""What a fault run leaves behind for the checker: written by clients, participants and the store's wrapper.

One ticket counter orders everything: a commit with a smaller ticket was durable before an effect with a larger one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Called:
    """A call of a participant. ``direction``: do, undo or probe."""

    ticket: int
    at: float
    process: int
    run_id: str
    step: str
    direction: str
    key: str
    result_given: Any = None  # to an undo: what the engine says the step's result was
    effect: str = "none"  # first | repeat (of the same key) | none
    effect_ticket: int = 0
    answer: Any = None
    heartbeat_given: Any = None  # what the engine says that an earlier attempt reported last


@dataclass(slots=True)
class Committed:
    """An entry that the store has made durable; ``acknowledged`` once the engine was told so."""

    ticket: int
    at: float
    process: int
    epoch: int
    run_id: str
    number: int
    data: bytes
    acknowledged: bool = False


@dataclass(slots=True)
class Said:
    """What a client asked or was told: start, started, cancel, cancelled, refused, ended."""

    ticket: int
    run_id: str
    what: str
    detail: Any = None


@dataclass(slots=True)
class Dumped:
    """A run as it lies in the store in the end: its row, and its journal as (number, data, hash)."""

    run_id: str
    status: str
    ended_at: float | None
    entries: list[tuple[int, bytes, bytes]]


@dataclass(slots=True)
class Booked:
    """A row that a transaction step (``direction``: do or undo) left in the store's own database."""

    run_id: str
    step: str
    direction: str


@dataclass(slots=True)
class Evidence:
    """Everything that is known of one fault run."""

    calls: list[Called] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    dump: list[Dumped] = field(default_factory=list)
    ledger: list[Booked] = field(default_factory=list)
    _tickets: Any = field(default_factory=lambda: itertools.count(1))

    def ticket(self) -> int:
        return next(self._tickets)

    def say(self, run_id: str, what: str, detail: Any = None) -> None:
        self.said.append(Said(self.ticket(), run_id, what, detail))
