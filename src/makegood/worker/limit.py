"""A step's own limits: so many attempts in any window of time, so many at once. Pure, like ``worker.breaker``."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makegood.definition.rate import Rate
    from makegood.worker.breaker import Verdict


class LimitState:
    """How often a step has begun of late, and how many of its attempts are under way.

    An attempt that was let through may begin a little later. It counts from the first, as if it began at that moment.
    """

    __slots__ = ("_begun", "_concurrency", "_count", "_let_through", "_period_seconds", "_under_way")

    def __init__(self, rate: Rate | None, concurrency: int | None) -> None:
        self._concurrency = math.inf if concurrency is None else concurrency
        self._count = 0 if rate is None else rate.count
        self._period_seconds = 0.0 if rate is None else rate.period_seconds
        self._begun: deque[float] = deque(maxlen=self._count)  # when the last ones began
        self._let_through = 0  # that have not begun yet
        self._under_way = 0  # those, and those that have not ended

    def may_begin_at(self, at: float) -> float:
        """When the next attempt may begin: not after ``at`` if now; infinity if that is up to the others."""
        if self._under_way >= self._concurrency:
            return math.inf
        if self._count == 0:
            return at
        left = self._count - self._let_through
        if left <= 0:
            return math.inf
        return self._begun[-left] + self._period_seconds if len(self._begun) >= left else at

    def let_through(self, at: float) -> int:
        """An attempt may begin."""
        self._under_way += 1
        self._let_through += 1
        return 0

    def begun(self, at: float) -> None:
        """It has begun."""
        self._let_through -= 1
        self._begun.append(at)

    def withdrawn(self, _period: int) -> None:
        """It never will begin."""
        self._let_through -= 1
        self._under_way -= 1

    def ended(self, _period: int, _verdict: Verdict, _at: float) -> None:
        """An attempt has ended."""
        self._under_way -= 1

    def emptied(self) -> None:
        """Nothing is held any more."""
