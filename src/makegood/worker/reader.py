"""Reading runs that are not in memory: whatever is asked for in one turn of the event loop is one query.

When thousands of sleeping runs are signalled, looking for them one by one would cost more than waking them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makegood.store.protocol import Stored
    from makegood.worker.worker import Worker

READ_AT_ONCE = 100


class Reader:
    """Reads runs as the store has them, once no eviction is about to mark their rows."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._wanted: dict[str, list[asyncio.Future[Stored | None]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, run_id: str) -> Stored | None:
        """A run with its last leg; None if there is none of that id."""
        answer: asyncio.Future[Stored | None] = self._worker.loop.create_future()
        self._wanted.setdefault(run_id, []).append(answer)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="makegood-reader")
        return await answer

    async def _read(self) -> None:
        try:
            while self._wanted:
                async with self._worker.eviction.under_way:
                    asked = {run_id: self._wanted.pop(run_id) for run_id in list(self._wanted)[:READ_AT_ONCE]}
                    await self._answer(asked)
                await asyncio.sleep(0)  # those who asked go on, and what they record is committed
        finally:
            self._reading = None

    async def _answer(self, asked: dict[str, list[asyncio.Future[Stored | None]]]) -> None:
        try:
            found = {one.row.id: one for one in await self._worker.store.stored(list(asked))}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who asked
            for answer in (answer for answers in asked.values() for answer in answers):
                if not answer.done():
                    answer.set_exception(error)
            return
        for run_id, answers in asked.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(run_id))
