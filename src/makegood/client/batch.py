"""One operator's action for many runs: those that a search finds, some at a time, each recorded in its run's journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

import msgspec

from makegood.engine.operator import Action, Request
from makegood.errors import NoWorker, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from makegood.backend.protocol import Backend
    from makegood.store.protocol import RunRow, Where

AT_ONCE = 200
PARTICULAR = ("resolve", "signal", "update", "complete", "fail", "late")
"""What says something of one run only."""
ACTIONS = tuple(action for action in get_args(Action) if action not in PARTICULAR)


class BatchOutcome(msgspec.Struct, frozen=True):
    """What became of the action in one run. ``refused`` tells why it was not possible there, "" if it was carried out."""

    id: str
    refused: str = ""


async def each(backend: Backend, request: Request, where: Where) -> AsyncIterator[BatchOutcome]:
    """Ask it of every run there is now, the newest first. Runs that end, or are pruned, meanwhile are refused.

    Raises:
        NoWorker: nobody carries anything out; what was asked so far is stored.
    """
    before_key = None
    while rows := await backend.list(where, limit=AT_ONCE, before_key=before_key):
        asked = [asyncio.create_task(_ask(backend, row, request)) for row in rows]
        try:
            for one in asked:
                yield await one
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        before_key = rows[-1].key


async def _ask(backend: Backend, row: RunRow, request: Request) -> BatchOutcome:
    try:
        await backend.request(row.id, request)
    except NoWorker:
        raise
    except UsageError as refused:
        return BatchOutcome(row.id, str(refused))
    return BatchOutcome(row.id)


def checked_action(action: Action) -> Action:
    """The action, if it can be asked of many.

    Raises:
        UsageError: it cannot.
    """
    if action not in ACTIONS:
        raise UsageError(f"{action!r} cannot be asked of many runs: it is one of {', '.join(ACTIONS)}.")
    return action
