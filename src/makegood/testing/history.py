"""What the crash matrix plans and sees: places, faults, and the outcome of one history of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.description import Description
    from makegood.testing.calls import Call, Kind

FaultKind: TypeAlias = Literal[
    "lost before",
    "lost after",
    "error",
    "timed out",
    "timed out, done",
    "cancelled before",
    "cancelled after",
]

IN_WORDS: dict[FaultKind, str] = {
    "lost before": "the process is lost before {}",
    "lost after": "the process is lost after {}, before that is recorded",
    "error": "{} raises an error, without any effect",
    "timed out": "{} times out, without any effect",
    "timed out, done": "{} times out, but takes effect",
    "cancelled before": "the run is cancelled during {}, before that takes effect",
    "cancelled after": "the run is cancelled during {}, after that took effect",
}
WRITES_IN_WORDS: dict[FaultKind, str] = {
    "lost before": "the process is lost before store write {}",
    "lost after": "the process is lost after store write {}, before it hears of it",
    "cancelled after": "the run is cancelled after store write {}",
}


@dataclass(frozen=True)
class Place:
    """A step of a run, its compensation or its probe; ``run`` is "" or what tells a child run's id from its parent's."""

    kind: Kind
    step: str
    number: int
    run: str = ""

    def __str__(self) -> str:
        what = {"do": "", "undo": "the compensation of ", "probe": "the probe of "}[self.kind]
        return f"{what}{self.step}"


@dataclass(frozen=True)
class Fault:
    """Something goes wrong at a place, or at the store write of this number; at so many calls there, or (infinity) each."""

    kind: FaultKind
    at: Place | int
    times: float = 1

    def __str__(self) -> str:
        if isinstance(self.at, int):
            return WRITES_IN_WORDS[self.kind].format(self.at)
        often = (
            "" if self.times == 1 else ", each time" if math.isinf(self.times) else f", {self.times:g} times"
        )
        return IN_WORDS[self.kind].format(self.at) + often


@dataclass(eq=False)
class Noted:
    """A call as the matrix saw it, by which process. ``injected`` says what went wrong there, "" if nothing did."""

    call: Call
    place: Place
    process: int
    before: Any
    after: Any = None
    injected: str = ""

    @property
    def took_effect(self) -> bool:
        """Whether the user's function has returned, whatever became of the attempt."""
        return self.call.outcome == "returned"

    @property
    def changed(self) -> bool:
        """Whether the state was another one afterwards."""
        return self.took_effect and bool(self.before != self.after)


@dataclass(frozen=True)
class Recorded:
    """A store write has recorded that this is done."""

    place: Place


@dataclass(eq=False)
class Outcome:
    """One history, as it came about. ``log`` holds calls, what was recorded, and remarks, in order.

    ``fired``: the places where something did go wrong. ``lost``: variables whose new values were lost with a process.
    ``parked`` and ``stuck`` say why it did not end. ``cancelled``: a cancellation was accepted; ``swallowed``: the
    workflow returned all the same. ``transaction`` is one that was called, "" if none was.
    """

    faults: tuple[Fault, ...]
    began: Any = None
    ended: Any = None
    log: list[Noted | Recorded | str] = field(default_factory=list)
    fired: set[Place | int] = field(default_factory=set)
    writes: int = 0
    description: Description | None = None
    parked: str = ""
    stuck: str = ""
    cancelled: bool = False
    swallowed: bool = False
    transaction: str = ""
    lost: tuple[str, ...] = ()

    @property
    def calls(self) -> Iterator[Noted]:
        return (entry for entry in self.log if isinstance(entry, Noted))

    @property
    def status(self) -> str:
        return "" if self.description is None else self.description.status

    @property
    def result(self) -> Any:
        return None if self.description is None else self.description.result

    def __str__(self) -> str:
        return ", and ".join(map(str, self.faults)) or "nothing goes wrong"
