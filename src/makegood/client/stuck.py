"""Runs that overstay what is usual, as the hooks of an engine are told of them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from makegood.client.family import described
from makegood.errors import MakegoodError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from makegood.backend.protocol import Backend
    from makegood.store.protocol import RunRow

log = logging.getLogger("makegood")

HOOK_SECONDS = 30.0


class StuckRun(msgspec.Struct, frozen=True):
    """A run that has not ended although it usually would have. Times in seconds; ``waiting_for`` says why."""

    id: str
    workflow: str
    status: str
    age_seconds: float
    usual_seconds: float
    waiting_for: str


StuckHook: TypeAlias = "Callable[[StuckRun], Awaitable[object] | object]"


async def stuck_run(backend: Backend, row: RunRow, usual_seconds: float, now: float) -> StuckRun:
    """The run of this row, with what it waits for."""
    try:
        waiting_for = (await described(backend, row.id, now)).waiting_for
    except MakegoodError as error:
        waiting_for = f"nobody knows: {error}"
    return StuckRun(row.id, row.workflow, row.status, now - row.started_at, usual_seconds, waiting_for)


async def tell_hooks(hooks: Sequence[Callable[[StuckRun], Any]], stuck: StuckRun) -> None:
    """Call each hook; whatever it does harms neither the others nor any run."""
    for hook in hooks:
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                if inspect.iscoroutinefunction(hook):
                    await hook(stuck)
                else:
                    await asyncio.to_thread(hook, stuck)
        except Exception:
            log.exception("on_stuck: %r failed for run %s.", hook, stuck.id)
