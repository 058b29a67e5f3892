"""The inbox: what other processes ask of runs, as rows of the store, in the order of their coming.

``worker.recovery`` looks when they may have written, and carries each request out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from makegood.engine.operator import Request
from makegood.engine.updates import NoHandler
from makegood.errors import MakegoodError, NotPossible, StoreError, UpdateRejected
from makegood.store.protocol import InboxAnswer
from makegood.worker.redrive import Redrive

if TYPE_CHECKING:
    from makegood.store.protocol import InboxRequest
    from makegood.worker.recovery import Recovery
    from makegood.worker.worker import Worker

_decoder = msgspec.json.Decoder(Request)


class NotYet(Exception):
    """A signal, or a late result, to a run that cannot be driven now stays in the inbox until it can."""


class Inbox:
    """Answers every request once."""

    def __init__(self, worker: Worker, recovery: Recovery) -> None:
        self._worker = worker
        self._recovery = recovery
        self._granted: set[int] = set()  # requests whose answer may still be on its way into the store
        self._redrive = Redrive(worker)
        self._holding: set[asyncio.Task[None]] = set()  # requests that wait for their run to take them

    async def answer(self, *, terminations: bool = False) -> None:
        """Carry out what is asked, or say why not. ``terminations``: only those."""
        posted = await self._worker.store.inbox()
        self._granted.intersection_update([request.number for request in posted])
        for request in posted:
            if request.number in self._granted or (terminations and not _terminates(request)):
                continue
            self._granted.add(request.number)
            try:
                await self._see_to(request)
            except NotYet:
                self._granted.discard(request.number)
            except NoHandler:
                self._hold(request)

    async def drain(self, grace_seconds: float) -> None:
        """Give what is under way some time; the rest waits for the next worker."""
        await self._redrive.drain(grace_seconds)

    def ask_again(self, *lost: InboxAnswer) -> None:
        """These answers will not be written."""
        self._granted.difference_update(answer.number for answer in lost)

    def _hold(self, posted: InboxRequest) -> None:
        """Look at a request again when its run has changed."""

        async def until_changed() -> None:
            await changed.wait()
            self._granted.discard(posted.number)
            self._recovery.look()

        changed = self._worker.changes.of(posted.run_id)
        holding = asyncio.create_task(until_changed(), name="makegood-held")
        self._holding.add(holding)
        holding.add_done_callback(self._holding.discard)

    async def _see_to(self, posted: InboxRequest) -> None:
        """Carry a request out, or say why not.

        Raises:
            NotYet, NoHandler: it has to wait.
        """
        worker = self._worker
        answer = InboxAnswer(posted.number)
        try:
            if await self._grant(posted, answer):
                return  # it is answered with the commit
            await worker.committer.flushed()
        except (NoHandler, StoreError):
            raise
        except MakegoodError as error:
            message = error.reason if isinstance(error, UpdateRejected) else str(error)
            answer = InboxAnswer(posted.number, message, type(error).__name__)
        await worker.store.answer(worker.epoch, [answer])

    async def _grant(self, posted: InboxRequest, answer: InboxAnswer) -> bool:
        """Carry a request out; True if the answer is committed with what it recorded."""
        try:
            request = _decoder.decode(posted.data)
        except msgspec.MsgspecError as error:
            raise NotPossible(f"the request cannot be read: {error}.") from error
        if request.action == "late" and request.id == str(self._worker.epoch):
            raise NotYet  # the attempt goes on, in this process
        if request.action == "redrive":
            await self._redrive.take(posted.run_id, request, answer)
            raise NotYet  # it is answered with its outcome
        return await self._recovery.request(posted.run_id, request, [answer])


def _terminates(posted: InboxRequest) -> bool:
    try:
        return _decoder.decode(posted.data).action == "terminate"
    except msgspec.MsgspecError:
        return False
