"""The updates of one run: who answers them, and the tasks that do. ``engine.coroutine`` has one once it is needed."""

from __future__ import annotations

import inspect
from asyncio import _get_running_loop, _set_running_loop
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from makegood.definition.scope import current_scope
from makegood.engine.journal import UpdateAnswered
from makegood.errors import NotPossible, UpdateRejected
from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from makegood.definition.update import Update
    from makegood.engine.journal import UpdateAccepted
    from makegood.engine.loop import DeterministicLoop

ENDED_BEFORE = "the workflow ended before the update was answered"


class NoHandler(NotPossible):
    """The workflow has not registered a handler for the update so far: the request waits."""


class Handler(NamedTuple):
    """Who answers an update; ``context`` is where it was registered."""

    update: Update[Any, Any]
    function: Callable[[Any], Any]
    validator: Callable[[Any], object] | None
    context: Context


class Updates:
    """The handlers of one run, by name."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self._handlers: dict[str, Handler] = {}

    def __bool__(self) -> bool:
        """Whether an update could still wake the run."""
        return bool(self._handlers)

    def register(
        self,
        update: Update[Any, Any],
        function: Callable[[Any], Any],
        validator: Callable[[Any], object] | None,
    ) -> None:
        self._handlers[update.name] = Handler(update, function, validator, copy_context())

    def check(self, run_id: str, name: str, value: msgspec.Raw) -> None:
        """Let the workflow validate an update. Nothing is recorded.

        Raises:
            NoHandler: nobody answers it so far.
            PayloadError: the value does not fit the update's type.
            UpdateRejected: the validator raised.
        """
        handler = self._handlers.get(name)
        if handler is None:
            raise NoHandler(f"run {run_id} takes no update {name}: its workflow has no handler for it.")
        asked = handler.update.payload.decode(value)
        if handler.validator is None:
            return
        outer = _get_running_loop()
        _set_running_loop(None)
        try:
            context = handler.context.copy()
            context.run(current_scope.set, None)  # a validator calls no step
            context.run(handler.validator, asked)
        except Exception as error:
            raise UpdateRejected(run_id, name, str(Failure.of(error))) from error
        finally:
            _set_running_loop(outer)

    def begin(self, accepted: UpdateAccepted) -> None:
        """Have an accepted update answered by a task of the workflow."""
        handler = self._handlers.get(accepted.name)
        answering = self._answer(handler, accepted.value)
        context = copy_context() if handler is None else handler.context.copy()
        task = self._loop.create_task(answering, name=f"update {accepted.name}", context=context)
        task.add_done_callback(lambda done: self._answered(accepted.update, done))

    async def _answer(self, handler: Handler | None, value: msgspec.Raw) -> msgspec.Raw:
        if handler is None:  # the code that was running when it was accepted had one
            raise NotPossible("the workflow's code has no handler for this update any more.")
        replied = handler.function(handler.update.payload.decode(value))
        if inspect.isawaitable(replied):
            replied = await replied
        return handler.update.reply.encode(replied)

    def _answered(self, update: str, task: Any) -> None:
        if task.cancelled():
            answer = UpdateAnswered(update, failure=Failure("makegood.NotAnswered", ENDED_BEFORE))
        elif (error := task.exception()) is not None:
            answer = UpdateAnswered(update, failure=Failure.of(error, with_traceback=True))
        else:
            answer = UpdateAnswered(update, task.result())
        self._loop.decisions.append(answer)
