"""The circuit breaker as a state machine: pure, its times in seconds of whatever clock the caller has.

    UNTRIED ──answered──▶ CLOSED, or DRAINING if an earlier worker has held attempts
    UNTRIED | CLOSED | DRAINING ──failed: the ``failures``-th in a row, within ``within``──▶ OPEN
    OPEN ──the first attempt after ``cool_down``──▶ HALF_OPEN          one attempt at a time
    HALF_OPEN ─┬─answered──▶ DRAINING        at the rate ``drain``
               ├─failed────▶ OPEN
               └─nothing─▶ HALF_OPEN     another attempt may begin
    DRAINING ──nothing is held any more──▶ CLOSED

A worker begins with UNTRIED breakers: until an answer, at most ``failures`` attempts at a time.
An attempt may hang for hours. So where the others wait for how it ends, another one may begin after each ``cool_down``.
Each opening begins a new *period*: what attempts of an earlier one have to tell comes too late, and changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from makegood.definition.breaker import Breaker

Verdict: TypeAlias = Literal["answered", "failed", "nothing"]
"""What an attempt tells of what it depends on; ``nothing``: also one that was let through and never began."""


class State(StrEnum):
    UNTRIED = "untried"
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"
    DRAINING = "draining"


class BreakerState:
    """One breaker: what it has heard, and when the next attempt may begin."""

    __slots__ = (
        "_begun_at",
        "_period",
        "_row",
        "_under_way",
        "changed_at",
        "declared",
        "failures",
        "has_inherited",
        "opened_at",
        "state",
    )

    def __init__(self, declared: Breaker) -> None:
        self.declared = declared
        self.state = State.UNTRIED
        self.opened_at = 0.0
        """Since when there has been no answer, while it is open."""
        self.changed_at = 0.0
        """When it last opened, be it again."""
        self.failures = 0
        """Attempts that have failed since the last answer."""
        self.has_inherited = False
        """Whether it holds what an earlier worker had held."""
        self._row: deque[float] = deque()  # when they failed, as far as that lies within ``within_seconds``
        self._period = 0
        self._under_way = 0  # attempts of this period
        self._begun_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether attempts are held until there is an answer."""
        return self.state in (State.OPEN, State.HALF_OPEN)

    @property
    def is_being_tried(self) -> bool:
        """Whether an attempt is under way that tells whether there is an answer again."""
        return self.state is State.HALF_OPEN and self._under_way > 0

    @property
    def is_untried(self) -> bool:
        """Whether nobody has answered since the worker began."""
        return self.state is State.UNTRIED

    @property
    def next_try_at(self) -> float:
        """When it is tried again, while it is open."""
        return self.changed_at + self.declared.cool_down_seconds

    def may_begin_at(self, at: float) -> float:
        """When the next attempt may begin, as far as can be told by now: not after ``at`` if at once."""
        match self.state:
            case State.CLOSED:
                return at
            case State.OPEN:
                return self.next_try_at
            case State.UNTRIED:
                return self._unless_waiting(at, self.declared.failures)
            case State.HALF_OPEN:
                return self._unless_waiting(at, 1)
            case State.DRAINING:
                drain = self.declared.drain
                return at if drain is None else self._begun_at + drain.period_seconds / drain.count

    def _unless_waiting(self, at: float, limit: int) -> float:
        return at if self._under_way < limit else self._begun_at + self.declared.cool_down_seconds

    def let_through(self, at: float) -> int:
        """An attempt may begin. Returns its period, to be given back with what it tells."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
        self._under_way += 1
        self._begun_at = at
        return self._period

    def begun(self, at: float) -> None:
        """It has begun."""

    def withdrawn(self, period: int) -> None:
        """It never will begin."""
        self.ended(period, "nothing", 0.0)

    def ended(self, period: int, verdict: Verdict, at: float) -> None:
        """An attempt has ended."""
        if period != self._period:
            return
        self._under_way -= 1
        if verdict == "answered":
            self._answered()
        elif verdict == "failed":
            self._failed(at)

    def emptied(self) -> None:
        """Nothing is held any more."""
        if self.state is State.DRAINING:
            self.state = State.CLOSED

    def _answered(self) -> None:
        self._row.clear()
        self.failures = 0
        if self.state is State.UNTRIED:
            self.state = State.DRAINING if self.has_inherited else State.CLOSED
        elif self.state is State.HALF_OPEN:
            self.state = State.DRAINING

    def _failed(self, at: float) -> None:
        self.failures += 1
        if self.state is State.HALF_OPEN:
            self._open(at)
            return
        row = self._row
        row.append(at)
        while row[0] < at - self.declared.within_seconds:
            row.popleft()
        if len(row) >= self.declared.failures:
            self.opened_at = at
            self._open(at)

    def _open(self, at: float) -> None:
        self.state, self.changed_at = State.OPEN, at
        self._row.clear()
        self._period += 1
        self._under_way = 0
