"""Rates such as ``"10/s"`` and ``"100/min"``: so many in any window of so long."""

from __future__ import annotations

import re

import msgspec

from makegood.errors import DefinitionError

COUNT_LIMIT = 10_000
UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86_400.0}
PATTERN = re.compile(r"\s*(\d{1,9})\s*/\s*(\w+)\s*")


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` in any ``period_seconds``."""

    count: int
    unit: str

    @property
    def period_seconds(self) -> float:
        return UNIT_SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def checked_rate(rate: str | None, option: str) -> Rate | None:
    """The rate that a text means, if it means one."""
    if rate is None:
        return None
    found = PATTERN.fullmatch(rate) if isinstance(rate, str) else None
    if found is None or found[2] not in UNIT_SECONDS:
        raise DefinitionError(
            f"{option}={rate!r}: write how many and in what time, such as '10/s', '100/min', '5/h' or '1000/day'."
        )
    count = int(found[1])
    if not 1 <= count <= COUNT_LIMIT:
        raise DefinitionError(
            f"{option}={rate!r}: from 1 to {COUNT_LIMIT:,}; take a shorter time for more, a longer one for less."
        )
    return Rate(count, found[2])
