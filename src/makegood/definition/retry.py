"""Retry policies: how long to wait before each attempt. Pure arithmetic; the engine asks, the worker waits."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from makegood.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_WAIT_SECONDS = 366 * 24 * 3600.0


class Retry:
    """When to try a step again.

    ``Retry(delays=[0, 1, 5, 30])`` is literal: one entry per attempt, the wait in seconds before it (four attempts).
    Otherwise the waits grow: ``initial`` seconds before the second attempt, ``factor`` times more before each
    further one, never more than ``maximum`` seconds, each lengthened or shortened at random by up to the fraction
    ``jitter``. ``max_attempts=None`` (or ``Retry.forever()``) never gives up: forward recovery.
    """

    __slots__ = ("delays", "factor", "initial", "jitter", "max_attempts", "maximum")

    def __init__(
        self,
        *,
        delays: Sequence[float | timedelta] | None = None,
        max_attempts: int | None = 3,
        initial: float | timedelta = 0.5,
        factor: float = 2.0,
        maximum: float | timedelta = 60.0,
        jitter: float = 0.0,
    ) -> None:
        self.delays = None if delays is None else _delays(delays)
        self.max_attempts = max_attempts if self.delays is None else len(self.delays)
        self.initial = seconds(initial, "Retry(initial=…)")
        self.factor = _number(factor, "factor")
        self.maximum = seconds(maximum, "Retry(maximum=…)")
        self.jitter = _number(jitter, "jitter")
        if self.max_attempts is not None and not isinstance(self.max_attempts, int):
            raise DefinitionError(
                f"Retry(max_attempts={max_attempts!r}): a whole number, or None for no limit."
            )
        if self.max_attempts is not None and self.max_attempts < 1:
            raise DefinitionError("Retry needs at least one attempt: use retry=None for exactly one.")
        if not 1 <= self.factor < math.inf:
            raise DefinitionError(
                f"Retry(factor={factor!r}): waits must not shrink; use a factor of 1 or more."
            )
        if not 0 <= self.jitter < 1:
            raise DefinitionError(f"Retry(jitter={jitter!r}): a fraction from 0 up to, but not, 1.")

    @classmethod
    def forever(
        cls,
        *,
        initial: float | timedelta = 0.5,
        factor: float = 2.0,
        maximum: float | timedelta = 60.0,
        jitter: float = 0.1,
    ) -> Retry:
        """Never give up (forward recovery), with capped, jittered back-off."""
        return cls(max_attempts=None, initial=initial, factor=factor, maximum=maximum, jitter=jitter)

    def wait_seconds(self, attempt: int, dice: float) -> float | None:
        """The wait before this attempt (the first is 1), or None when there is no such attempt.

        Args:
            attempt: number of the coming attempt.
            dice: a uniform random number in [0, 1), for the jitter.
        """
        if self.max_attempts is not None and attempt > self.max_attempts:
            return None
        if self.delays is not None:
            return self.delays[attempt - 1]
        if attempt == 1:
            return 0.0
        exponent = min(attempt - 2, 1000)
        try:
            wait = min(self.initial * self.factor**exponent, self.maximum)
        except OverflowError:
            wait = self.maximum
        return wait * (1 + self.jitter * (2 * dice - 1))

    def __repr__(self) -> str:
        if self.delays is not None:
            return f"Retry(delays={list(self.delays)})"
        return (
            f"Retry(max_attempts={self.max_attempts}, initial={self.initial}, factor={self.factor}, "
            f"maximum={self.maximum}, jitter={self.jitter})"
        )


def wait_before(retry: Retry | None, attempt: int, dice: float) -> float | None:
    """The wait in seconds before this attempt under a step's or a compensation's ``retry``: None there is one attempt."""
    if retry is None:
        return 0.0 if attempt == 1 else None
    return retry.wait_seconds(attempt, dice)


def seconds(duration: float | timedelta, where: str) -> float:
    """A duration as seconds, checked: a number that is not negative, not NaN and at most a year."""
    value = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_WAIT_SECONDS:
        raise DefinitionError(
            f"{where}: {duration!r} is not a duration between 0 and 366 days (in seconds, or a timedelta)."
        )
    return float(value)


def _delays(delays: Sequence[float | timedelta]) -> tuple[float, ...]:
    if not isinstance(delays, (list, tuple)):
        raise DefinitionError(
            f"Retry(delays={delays!r}): give a list of waits in seconds, one for each attempt."
        )
    return tuple(seconds(delay, "Retry(delays=…)") for delay in delays)


def _number(value: float, option: str) -> float:
    if not isinstance(value, (int, float)):
        raise DefinitionError(f"Retry({option}={value!r}): it has to be a number.")
    return float(value)
