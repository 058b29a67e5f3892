"""What follows a failed attempt: another one, and when; or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from makegood.definition.retry import wait_before
from makegood.engine.run import OPEN, PENDING, PROBING, UNDO_EXHAUSTED, UNDOING

if TYPE_CHECKING:
    from makegood.definition.step import Compensation, Step, StepOptions
    from makegood.engine.run import StepRecord


LOST_WAITS_SECONDS = (0.0, 0.0, 2.0, 8.0)
"""The waits after attempts that were lost with their process, in a row; none after the last: the run is parked.

The longer ones are spread at random, so that whatever takes the process down in the end takes no other down with it.
"""


def after_failure(
    definition: Step[..., object],
    record: StepRecord,
    at: float,
    dice: float,
    *,
    fatal: bool,
    lost: bool,
    counted: bool = False,
    held: bool = False,
) -> tuple[Literal["retry", "give up"], float]:
    """Whether to try again, and not before which time. ``counted``: the failure is among ``record.failures`` already.

    ``held``: it is due at once, and something holds it.
    """
    if record.cancelled and record.state in (OPEN, PENDING, PROBING):
        return "give up", 0.0
    if held:
        return "retry", at
    if lost:
        lost_before = record.lost - counted
        if lost_before >= len(LOST_WAITS_SECONDS):
            return "give up", 0.0
        return "retry", at + LOST_WAITS_SECONDS[lost_before] * (0.5 + dice)
    failures = record.failures + (not counted)
    wait = None if fatal else wait_before(_policy(definition, record).retry, failures + 1, dice)
    return ("give up", 0.0) if wait is None else ("retry", at + wait)


def _policy(definition: Step[..., object], record: StepRecord) -> StepOptions | Compensation:
    if record.state in (UNDOING, UNDO_EXHAUSTED):
        assert definition.undo is not None
        return definition.undo
    return definition.options_
