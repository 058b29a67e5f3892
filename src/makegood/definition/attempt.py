"""What a step may ask about the attempt that it is: its key, its number."""

from __future__ import annotations

from contextvars import ContextVar

from makegood.errors import NotInStep


class Attempt:
    """One try of a step, a compensation or a probe."""

    __slots__ = ("idempotency_key", "number", "run_id")

    def __init__(self, run_id: str, idempotency_key: str, number: int) -> None:
        self.run_id = run_id
        self.idempotency_key = idempotency_key
        self.number = number


current_attempt: ContextVar[Attempt | None] = ContextVar("makegood_attempt", default=None)


def idempotency_key() -> str:
    """The key to send along with this step's effect: the same for every attempt, after every restart, and no other's.

    In a probe it is the key of the step that is being looked for.

    Raises:
        NotInStep: called outside a step, compensation or probe.
    """
    return _current("idempotency_key").idempotency_key


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
