"""``mg.Update``: a request to a run that its workflow answers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from makegood.definition.keys import ID_LIMIT_CHARACTERS
from makegood.definition.payload import Payload
from makegood.definition.scope import current_scope
from makegood.definition.validation import checked_name
from makegood.errors import DefinitionError, OutsideWorkflow, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[..., Any]")


class Update(Generic[T, R]):
    """A kind of request to a run, named in its journal; it is sent with ``await run.update(…)``.

    The workflow registers who answers it::

        @ChangeAddress.handler
        async def change(address: Address) -> Receipt: ...

    Args:
        name: letters, digits, ``_``, ``-`` and ``.``.
        asks: the type of what is sent.
        answers: the type of the reply; None for nothing but that it was done.
    """

    @overload
    def __init__(self: Update[T, R], name: str, asks: type[T], answers: type[R]) -> None: ...
    @overload
    def __init__(self: Update[T, None], name: str, asks: type[T], answers: None = ...) -> None: ...
    @overload
    def __init__(self: Update[Any, Any], name: str, asks: Any, answers: Any = ...) -> None: ...
    def __init__(self, name: str, asks: Any, answers: Any = None) -> None:
        self.name = checked_name(name)
        if isinstance(asks, str) or isinstance(answers, str):
            raise DefinitionError(f"update {name}: give the types themselves, not their names as strings.")
        self.payload = Payload(asks, f"update {name}")
        self.reply = Payload(answers, f"the reply to update {name}")

    @overload
    def handler(
        self,
        function: Callable[[T], Awaitable[R]] | Callable[[T], R],
        /,
        *,
        validator: Callable[[T], object] | None = ...,
    ) -> Callable[[T], Any]: ...
    @overload
    def handler(
        self, function: None = ..., /, *, validator: Callable[[T], object] | None = ...
    ) -> Callable[[Callable[[T], Awaitable[R]] | Callable[[T], R]], Callable[[T], Any]]: ...
    def handler(self, function: Any = None, /, *, validator: Any = None) -> Any:
        """Answer these updates from here on, inside a workflow: with this function, as a decorator or called.

        It takes what was sent and gives the reply: a plain function at once; a coroutine function runs as a task of
        the workflow, may call steps, and several may be under way. What it raises is the caller's answer and does
        not fail the run. Registering again replaces it.

        Args:
            function: the handler.
            validator: a plain function that takes what was sent and raises to reject it, before anything is recorded.
                It may look, but not change anything, nor call a step.

        Raises:
            OutsideWorkflow: no workflow runs here.
            UsageError: it is no function, or the validator is a coroutine function.
        """
        scope = current_scope.get()
        if scope is None:
            raise OutsideWorkflow(
                f"update {self.name}: handler() was called where no workflow runs. Register inside an @mg.workflow "
                f"function; to send one, use `await run.update({self.name}, …)`."
            )
        if validator is not None and (not callable(validator) or inspect.iscoroutinefunction(validator)):
            raise UsageError(f"update {self.name}: the validator {validator!r} has to be a plain function.")

        def register(answering: F) -> F:
            if not callable(answering):
                raise UsageError(f"update {self.name}: the handler {answering!r} is no function.")
            scope.handle(self, answering, validator)
            return answering

        return register if function is None else register(function)

    def __repr__(self) -> str:
        return f"<update {self.name}>"


def checked_update_id(update_id: str) -> str:
    """The id, if it can tell an update from others.

    Raises:
        UsageError: it is no string, empty, too long, or not printable.
    """
    if (
        not isinstance(update_id, str)
        or not 0 < len(update_id) <= ID_LIMIT_CHARACTERS
        or not update_id.isprintable()
    ):
        raise UsageError(
            f"update id {update_id!r} is not usable: a string of 1 to {ID_LIMIT_CHARACTERS} printable characters."
        )
    return update_id


def named_update(update: Update[Any, Any] | str) -> Update[Any, Any]:
    """The update, or one of that name which asks and answers anything.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(update, Update):
        return update
    try:
        return Update(update, Any, Any)
    except DefinitionError as error:
        raise UsageError(f"update() takes an mg.Update or its name: {error}") from None
