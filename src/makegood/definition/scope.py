"""Where a call happens: the workflow that is being driven, if any. Set by the engine, read by steps."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import msgspec

    from makegood.definition.signal import Signal
    from makegood.definition.step import Step

T = TypeVar("T")


class Scope(Protocol):
    """A running workflow, as far as a declaration needs to know it."""

    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]: ...

    def update_view(self, fields: dict[str, msgspec.Raw]) -> None: ...

    def receive(self, signal: Signal[T], limit_seconds: float | None) -> Coroutine[Any, Any, T]: ...


current_scope: ContextVar[Scope | None] = ContextVar("makegood_scope", default=None)
