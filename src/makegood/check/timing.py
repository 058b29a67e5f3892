"""How long a step may take, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.definition.retry import wait_before

if TYPE_CHECKING:
    from makegood.definition.step import StepOptions

COUNTED_ATTEMPTS = 10_000


def needed_seconds(options: StepOptions) -> float:
    """The time that all attempts and the waits between them may take, if each runs into its timeout.

    Without a step timeout only the waits are known; of a step that is retried for ever, only one attempt counts.
    """
    attempt_seconds = options.timeout_seconds or 0.0
    attempts = 1 if options.retry is None else options.retry.max_attempts
    if attempts is None:
        return attempt_seconds
    counted = range(1, min(attempts, COUNTED_ATTEMPTS) + 1)
    return sum((wait_before(options.retry, one, 1.0) or 0.0) + attempt_seconds for one in counted)


def in_words(seconds: float) -> str:
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}s"
    return f"{seconds:,.3g} s"
