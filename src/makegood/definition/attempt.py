"""What a step may ask about the attempt that it is: its key, its number."""

from __future__ import annotations

from contextvars import ContextVar

from makegood.definition.completion import Token, written
from makegood.definition.keys import compensation_key, step_key
from makegood.errors import NotInStep


class Attempt:
    """One try of a step, a compensation (``undo``) or a probe."""

    __slots__ = ("number", "revision", "run_id", "step_name", "step_number", "undo")

    def __init__(
        self, run_id: str, step_number: int, step_name: str, number: int, *, undo: bool, revision: int = 0
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
        return compensation_key(self.original_key) if self.undo else self.original_key


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
