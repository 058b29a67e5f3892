"""Where a call happens: the workflow that is being driven, if any. Set by the engine, read by steps."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from makegood.errors import OutsideWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import CodeType, TracebackType

    import msgspec

    from makegood.definition.child import Child
    from makegood.definition.signal import Signal
    from makegood.definition.step import Step
    from makegood.definition.update import Update
    from makegood.definition.workflow import Workflow

T = TypeVar("T")


class SagaBlock(Protocol):
    """``async with mg.saga():`` It swallows no exception."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Scope(Protocol):
    """A running workflow, as far as a declaration needs to know it."""

    clock: float
    """The run's time in seconds since 1970."""

    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]: ...

    def handle(
        self,
        update: Update[Any, Any],
        function: Callable[[Any], Any],
        validator: Callable[[Any], object] | None,
    ) -> None: ...

    def update_view(self, fields: dict[str, msgspec.Raw]) -> None: ...

    def open_saga(self) -> SagaBlock: ...

    def register_rollback(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None: ...

    def pivot(self) -> None: ...

    def receive(self, signal: Signal[T], limit_seconds: float | None) -> Coroutine[Any, Any, T]: ...

    def call_child(
        self, workflow: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run_id: str | None
    ) -> Child[Any]: ...
    def draw(self, count: int) -> bytes:
        """Random bytes, the same in every replay."""

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn: ...

    def patched(self, change_id: str, place: tuple[CodeType, int]) -> bool: ...


current_scope: ContextVar[Scope | None] = ContextVar("makegood_scope", default=None)


def running_scope(call: str) -> Scope:
    """The workflow in which ``mg.CALL()`` was called.

    Raises:
        OutsideWorkflow
    """
    scope = current_scope.get()
    if scope is None:
        raise OutsideWorkflow(
            f"mg.{call}() was called outside a workflow: call it in an @mg.workflow function that an engine runs."
        )
    return scope
