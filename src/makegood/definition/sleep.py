"""Durable timers: ``mg.sleep`` and ``mg.sleep_until``, for seconds or for months, across restarts."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from makegood.definition.scope import current_scope
from makegood.errors import OutsideWorkflow, UsageError

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
LONGEST = 1000 * 365 * DAY


async def sleep(duration: float | timedelta) -> None:
    """Wait for a time: ``await mg.sleep(30 * mg.DAY)``. Never early, once, and also if the process ends meanwhile.

    Args:
        duration: seconds or a timedelta, from 0 to 1000 years.

    Raises:
        UsageError: no such time can be waited for.
        OutsideWorkflow: called outside a workflow.
    """
    _require_workflow("sleep")
    await asyncio.sleep(checked_seconds(duration, "mg.sleep"))


async def sleep_until(when: datetime) -> None:
    """Wait for a moment: an aware datetime. One that has passed does not wait.

    Raises:
        UsageError: a naive datetime (whose time zone nobody knows), or something else.
        OutsideWorkflow: called outside a workflow.
    """
    _require_workflow("sleep_until")
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise UsageError(
            f"mg.sleep_until({when!r}): give an aware datetime, such as datetime(2027, 1, 1, tzinfo=UTC) "
            "or mg.now() + timedelta(days=1)."
        )
    await asyncio.sleep(max(0.0, when.timestamp() - asyncio.get_running_loop().time()))


def checked_seconds(duration: float | timedelta, what: str) -> float:
    """A length of time in seconds.

    Raises:
        UsageError: not a number, negative, or absurdly long.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageError(f"{what}({duration!r}): give seconds or a timedelta.")
    if not 0 <= seconds <= LONGEST.total_seconds():  # nor is NaN
        raise UsageError(f"{what}({duration!r}): a time from 0 seconds to 1000 years can be waited for.")
    return float(seconds)


def _require_workflow(name: str) -> None:
    if current_scope.get() is None:
        raise OutsideWorkflow(
            f"mg.{name} was called outside a workflow. Elsewhere, and in a step, asyncio.sleep is the right one."
        )
