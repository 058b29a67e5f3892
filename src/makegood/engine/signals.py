"""The signals of one run: those that its workflow has not received yet, and who waits for them.

They are handed out in the order of their coming, to receivers in the order of their asking. A receiver that is
cancelled (it timed out, or lost a race) gives back what it was handed and has not taken yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from makegood.definition.signal import same_signal
from makegood.engine.journal import SignalReceived, SignalsAwaited
from makegood.errors import DefinitionError, PayloadError

if TYPE_CHECKING:
    from makegood.definition.signal import Signal

T = TypeVar("T")


class Mailbox(msgspec.Struct, eq=False):
    """The signals of one name. ``declared``: their type, once the workflow or its module has told it."""

    declared: Signal[Any] | None = None
    unread: deque[SignalReceived] = msgspec.field(default_factory=deque)
    unreadable: list[SignalReceived] = []
    receivers: deque[asyncio.Future[SignalReceived]] = msgspec.field(default_factory=deque)

    def declare(self, signal: Signal[Any]) -> None:
        """Learn the type; what came before and does not fit it is set aside.

        Raises:
            DefinitionError: the name was declared with another type.
        """
        if self.declared is None:
            self.declared = signal
            came, self.unread = self.unread, deque()
            for fact in came:
                self._sort_in(fact)
        elif not same_signal(self.declared, signal):
            raise DefinitionError(
                f"two signals are called {signal.name}: one carries {self.declared.payload.annotation!r}, the other "
                f"{signal.payload.annotation!r}. Declare it once, or give one of them another name."
            )

    def put(self, fact: SignalReceived) -> None:
        self._sort_in(fact)
        self._serve()

    def _sort_in(self, fact: SignalReceived) -> None:
        try:
            if self.declared is not None:
                self.declared.payload.decode(fact.payload)
        except PayloadError:
            self.unreadable.append(fact)
        else:
            self.unread.append(fact)

    async def take(self, signal: Signal[T]) -> T:
        """The next signal; whoever asked before is served before."""
        fact = self.unread.popleft() if self.unread else await self._turn()
        value: T = signal.payload.decode(fact.payload)
        return value

    async def _turn(self) -> SignalReceived:
        turn: asyncio.Future[SignalReceived] = asyncio.get_running_loop().create_future()
        self.receivers.append(turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.unread = deque(sorted((turn.result(), *self.unread), key=_number))
                self._serve()
            elif turn in self.receivers:
                self.receivers.remove(turn)
            raise

    def _serve(self) -> None:
        while self.unread and self.receivers:
            turn = self.receivers.popleft()
            if not turn.cancelled():
                turn.set_result(self.unread.popleft())


class Signals:
    """All mailboxes of one run, by name."""

    __slots__ = ("_awaited", "_declared", "_mailboxes")

    def __init__(self, declared: dict[str, Signal[Any]]) -> None:
        self._declared = declared
        self._mailboxes: dict[str, Mailbox] = {}
        self._awaited: list[str] = []

    def _mailbox(self, name: str) -> Mailbox:
        mailbox = self._mailboxes.get(name)
        if mailbox is None:
            mailbox = self._mailboxes[name] = Mailbox(self._declared.get(name))
        return mailbox

    def deliver(self, fact: SignalReceived) -> None:
        """A signal has come."""
        self._mailbox(fact.name).put(fact)

    async def receive(self, signal: Signal[T], limit_seconds: float | None) -> T:
        """The next signal of this kind.

        Raises:
            TimeoutError: none came in time.
        """
        mailbox = self._mailbox(signal.name)
        mailbox.declare(signal)
        if limit_seconds is None:
            return await mailbox.take(signal)
        try:
            async with asyncio.timeout(limit_seconds):
                return await mailbox.take(signal)
        except TimeoutError:
            raise TimeoutError(f"no signal {signal.name} came within {limit_seconds:g} s") from None

    def declared(self, name: str) -> Signal[Any] | None:
        """The signal of this name, as the workflow's module or the workflow so far has declared it."""
        mailbox = self._mailboxes.get(name)
        return self._declared.get(name) if mailbox is None else mailbox.declared

    @property
    def awaited(self) -> bool:
        """Whether anybody waited for a signal when ``change`` was asked last."""
        return bool(self._awaited)

    @property
    def unread(self) -> list[SignalReceived]:
        """What has come and was not received, in the order of its coming."""
        left = [
            fact for mailbox in self._mailboxes.values() for fact in (*mailbox.unread, *mailbox.unreadable)
        ]
        return sorted(left, key=_number)

    def change(self) -> list[SignalsAwaited]:
        """What is waited for, if that is no longer what was told last."""
        names = [name for name, mailbox in self._mailboxes.items() if mailbox.receivers]
        if names == self._awaited:
            return []
        self._awaited = names
        return [SignalsAwaited(names)]


def _number(fact: SignalReceived) -> int:
    return fact.number
