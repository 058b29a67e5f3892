"""What a step may ask and tell about the attempt that it is: its key, its number, how far it is."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, overload

from makegood.definition.completion import Token, written
from makegood.definition.keys import compensation_key, step_key
from makegood.definition.payload import Payload
from makegood.errors import NotInStep

if TYPE_CHECKING:
    import msgspec

T = TypeVar("T")


class Attempt:
    """One try of a step, a compensation or a probe.

    ``undo``: 0, or which making of the compensation it is of: 1, and more if what took effect late is undone again.
    """

    __slots__ = ("number", "revision", "run_id", "step_name", "step_number", "undo")

    def __init__(
        self, run_id: str, step_number: int, step_name: str, number: int, *, undo: int, revision: int = 0
    ) -> None:
        self.run_id = run_id
        self.step_number = step_number
        self.step_name = step_name
        self.number = number
        self.undo = undo
        self.revision = revision

    @property
    def original_key(self) -> str:
        return step_key(self.run_id, self.step_number, self.step_name, self.revision)

    @property
    def idempotency_key(self) -> str:
        return compensation_key(self.original_key, self.undo) if self.undo else self.original_key

    @property
    def last_heartbeat(self) -> msgspec.Raw | None:
        """The details that an earlier attempt reported last."""
        return None

    def beat(self, details: msgspec.Raw | None) -> None:
        """Take note of a sign of life.

        Raises:
            asyncio.CancelledError: the attempt is no longer wanted.
        """


current_attempt: ContextVar[Attempt | None] = ContextVar("makegood_attempt", default=None)


def idempotency_key() -> str:
    """The key to send along with this step's effect: the same for every attempt, after every restart, and no other's.

    In a probe it is the key of the step that is being looked for.

    Raises:
        NotInStep: called outside a step, compensation or probe.
    """
    return _current("idempotency_key").idempotency_key


def original_key() -> str:
    """In a compensation: the key of the step that it undoes, to name the effect to the service that had it.

    The compensation has a key of its own (``idempotency_key``), and may know nothing else of the effect: the
    result is None when nobody knows whether it happened. In a step and in its probe both keys are the same.

    Raises:
        NotInStep: called outside a step, compensation or probe.
    """
    return _current("original_key").original_key


def completion_token() -> str:
    """What to hand to whoever completes this step later (``engine.complete``), before returning ``mg.PENDING``.

    It names this attempt, and is no secret: check who completes a step where that matters. Fits into URLs and headers.

    Raises:
        NotInStep: called outside a step.
    """
    current = _current("completion_token")
    if current.undo:
        raise NotInStep(
            "mg.completion_token() was called in a compensation, which nobody outside can complete."
        )
    return written(Token(current.run_id, current.step_number, current.number))


def heartbeat(details: Any = None) -> None:
    """Say that this step is alive, and how far it is. For steps with a ``heartbeat_timeout``; harmless in others.

    Also how a step finds out that it is no longer waited for, as its time is over or its run was cancelled: a plain
    ``def`` step, which runs in a thread and cannot be interrupted, has no other way.

    Args:
        details: anything that has a JSON form; the next attempt gets it (``mg.last_heartbeat``). None leaves what was
            said before. It is recorded when this attempt fails, and lost with the process.

    Raises:
        asyncio.CancelledError: this attempt is no longer wanted: end it.
        PayloadError: the details cannot be stored.
        NotInStep: called outside a step, compensation or probe.
    """
    current = _current("heartbeat")
    current.beat(None if details is None else _details(type(details), current).encode(details))


@overload
def last_heartbeat() -> Any: ...
@overload
def last_heartbeat(type: type[T], /) -> T | None: ...
def last_heartbeat(type: Any = Any, /) -> Any:  # noqa: A002 - what it is
    """The details that an earlier attempt of this step last gave to ``mg.heartbeat``, None if there are none.

    Args:
        type: what they are read as; plain JSON values by default.

    Raises:
        PayloadError: they are no such type.
        NotInStep: called outside a step, compensation or probe.
    """
    current = _current("last_heartbeat")
    stored = current.last_heartbeat
    return None if stored is None else _details(type, current).decode(stored)


def _details(type_: Any, current: Attempt) -> Payload:
    return Payload(type_, f"heartbeat of step {current.step_name}")


def attempt() -> int:
    """The number of this attempt, from 1; attempts lost in a crash count.

    Raises:
        NotInStep: called outside a step, compensation or probe.
    """
    return _current("attempt").number


def _current(name: str) -> Attempt:
    current = current_attempt.get()
    if current is None:
        raise NotInStep(
            f"mg.{name}() was called outside a step: call it in an @mg.step function, its compensation or its probe."
        )
    return current
