"""``mg.Breaker``: a circuit breaker for something that steps depend on. ``worker.breaker`` says how it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.definition.rate import checked_rate
from makegood.definition.retry import seconds
from makegood.definition.validation import checked_exceptions, checked_name
from makegood.errors import DefinitionError

if TYPE_CHECKING:
    from datetime import timedelta

FAILURES_LIMIT = 1_000


class Breaker:
    """A circuit breaker, shared by all steps and compensations that name it: ``@mg.step(breaker=PAYMENTS)``.

    While it is open none of their attempts begins; their runs wait, and nothing is counted or rolled back because of it.
    ``breaker="payments"`` names one that is declared elsewhere, or else one with the defaults.

    Args:
        name: of what the steps depend on.
        failures: so many failed attempts in a row, with no answer in between, open it.
        within: seconds (or a timedelta) in which these have to fall.
        cool_down: seconds (or a timedelta) until one attempt is let through, to see whether there is an answer again.
        drain: the rate at which what was held goes on once it closes, such as ``"50/s"``; None for no limit.
        counts: the exceptions that count as failures; exceeding a step's time limit always does. Any other exception, and
            a step's ``fatal`` ones, say that there was an answer.
    """

    __slots__ = ("cool_down_seconds", "counts", "drain", "failures", "name", "within_seconds")

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        within: float | timedelta = 10,
        cool_down: float | timedelta = 30,
        drain: str | None = "50/s",
        counts: tuple[type[BaseException], ...] = (Exception,),
    ) -> None:
        self.name = checked_name(name)
        if isinstance(failures, bool) or not isinstance(failures, int) or not 1 <= failures <= FAILURES_LIMIT:
            raise DefinitionError(
                f"Breaker({name!r}, failures={failures!r}): give a whole number from 1 to {FAILURES_LIMIT:,}."
            )
        self.failures = failures
        self.within_seconds = _above_zero(within, f"Breaker({name!r}, within=…)")
        self.cool_down_seconds = _above_zero(cool_down, f"Breaker({name!r}, cool_down=…)")
        self.drain = checked_rate(drain, f"Breaker({name!r}, drain=…): drain")
        self.counts = checked_exceptions(counts, "counts")
        if not counts:
            raise DefinitionError(f"Breaker({name!r}, counts=()): then nothing would ever open it.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Breaker) and self._options == other._options

    def __hash__(self) -> int:
        return hash(self._options)

    @property
    def _options(self) -> tuple[object, ...]:
        return tuple(getattr(self, option) for option in self.__slots__)

    def __repr__(self) -> str:
        return (
            f"Breaker({self.name!r}, failures={self.failures}, within={self.within_seconds:g}, "
            f"cool_down={self.cool_down_seconds:g}, drain={None if self.drain is None else str(self.drain)!r})"
        )


def checked_breaker(breaker: Breaker | str | None) -> Breaker | None:
    """The breaker, also if it is only named."""
    if breaker is None or isinstance(breaker, Breaker):
        return breaker
    if not isinstance(breaker, str):
        raise DefinitionError(
            f"breaker={breaker!r}: give the name of what the step depends on, such as breaker='payments', or an mg.Breaker."
        )
    return Breaker(breaker)


def agreed(known: Breaker | None, named: Breaker) -> Breaker:
    """What the breaker is that is declared, or only named, once more. One with all defaults is only named.

    Raises:
        DefinitionError: it is declared otherwise.
    """
    named_only = Breaker(named.name)
    if known is None or known in (named, named_only):
        return named
    if named == named_only:
        return known
    raise DefinitionError(
        f"breaker {named.name} is declared twice, as {known!r} and as {named!r}. Declare it once, and give that to each "
        f"step, or name it: breaker={named.name!r}."
    )


def _above_zero(duration: float | timedelta, where: str) -> float:
    value = seconds(duration, where)
    if value == 0:
        raise DefinitionError(f"{where}: give seconds above 0.")
    return value
