"""A cancelled workflow may clean up with steps, but waits for nothing else: user code cannot swallow it for good.

Whenever it waits only for timers, signals or what it has shielded, ``CancelledError`` is raised in it again; in the end
it is stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.errors import NotDurable

if TYPE_CHECKING:
    from collections.abc import Iterable

DELIVERIES_LIMIT = 100
STEPS_LIMIT = 100
IGNORED = "workflow {} was stopped: it went on after its cancellation, for {} steps and {} further waits."


class Cancellation:
    """That a workflow was cancelled, and what it did since. ``steps_before``: how many it had called by then."""

    __slots__ = ("deliveries", "reason", "steps_before")

    def __init__(self, reason: str, steps_before: int) -> None:
        self.reason = reason
        self.steps_before = steps_before
        self.deliveries = 0

    def check(self, workflow: str, steps: int) -> None:
        """Stop it if it has gone on for too long.

        Raises:
            NotDurable
        """
        further = steps - self.steps_before
        if further > STEPS_LIMIT or self.deliveries >= DELIVERIES_LIMIT:
            raise NotDurable(IGNORED.format(workflow, further, self.deliveries))

    def admits(self, open_calls: Iterable[int]) -> bool:
        """Whether it waits for something that it may wait for: a step called since."""
        return any(number > self.steps_before for number in open_calls)
