"""The workflow's own task, stepped by hand.

An ``asyncio.Task`` costs two callbacks for every await. The workflow function itself is only ever woken by its program,
so it is driven directly; what it starts beside itself (``gather``, ``TaskGroup``) are ordinary tasks. To them and to
``asyncio.timeout`` this class is a task: ``current_task`` returns it, and it can be cancelled and uncancelled.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # the documented hooks for third-party tasks
from typing import TYPE_CHECKING, Any

from makegood.errors import NotDurable

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

    from makegood.engine.coroutine import CoroutineProgram
    from makegood.engine.nested import NestedSaga

FOREIGN = (
    "a workflow awaited {}. It can await steps, timers and what asyncio makes of them; "
    "anything else is lost in a crash and belongs in a step."
)


class Future(asyncio.Future[Any]):
    """Hashes by number: asyncio keeps futures in sets, and a set has to be walked in the same order in every life."""

    __slots__ = ("number",)

    number: int

    def __hash__(self) -> int:
        return self.number


class Branch(asyncio.Task[Any]):
    """A task that the workflow started beside itself; hashes by number as ``Future`` does."""

    saga: NestedSaga | None = None  # inside which it was started

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class StepCall(Future):
    """What a workflow awaits for a step. Cancelling it (a timeout, a lost race) is a decision of the workflow."""

    __slots__ = ("_was_awaited", "program")

    program: CoroutineProgram

    def add_done_callback(self, function: Any, *, context: Context | None = None) -> None:
        self._was_awaited = True
        super().add_done_callback(function, context=context)

    @property
    def was_awaited(self) -> bool:
        """Whether somebody has ever waited for it (the workflow function itself does so in its own way)."""
        return hasattr(self, "_was_awaited")

    def cancel(self, msg: Any = None) -> bool:
        if not super().cancel(msg):
            return False
        self.program.step_cancelled(self)
        return True


class Stopped:
    """In the place of a coroutine that is not to go on."""

    def send(self, _value: None) -> None:
        raise StopIteration

    def throw(self, _error: BaseException) -> None:
        raise StopIteration


class MainTask:
    """Drives one coroutine. ``wake`` has to be called (on the program's loop) when what it waits for is done."""

    __slots__ = (
        "__weakref__",
        "_cancel_message",
        "_cancel_requests",
        "_context",
        "_coroutine",
        "_loop",
        "_must_cancel",
        "error",
        "finished",
        "value",
        "waiting_for",
    )

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        self.waiting_for: asyncio.Future[Any] | None = None
        self.finished = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._coroutine = coroutine
        self._context = context
        self._loop = loop
        self._cancel_message: Any = None
        self._must_cancel = False
        self._cancel_requests = 0

    def wake(self, _future: object = None, error: BaseException | None = None) -> None:
        """Run the coroutine up to its next await, raising ``error`` in it if given."""
        self.waiting_for = None
        if self._must_cancel:
            self._must_cancel = False
            error = self._cancelled_error()
        _enter_task(self._loop, self)  # type: ignore[arg-type] # it is used as a task
        try:
            awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as returned:
            self.finished, self.value = True, returned.value
            if self._must_cancel:
                self.error = asyncio.CancelledError()
        except asyncio.CancelledError:
            self.finished, self.error = True, asyncio.CancelledError()
        except BaseException as raised:  # a task keeps whatever its coroutine raised
            self.finished, self.error = True, raised
            if isinstance(raised, KeyboardInterrupt):
                raise
        else:
            if type(awaited) is StepCall and not self._must_cancel:
                awaited._asyncio_future_blocking = False  # noqa: SLF001 - what a task does
                self.waiting_for = awaited
            else:
                self._wait_for(awaited)
        finally:
            _leave_task(self._loop, self)  # type: ignore[arg-type] # it is used as a task

    def _wait_for(self, awaited: Any) -> None:
        if awaited is None:  # asyncio.sleep(0)
            self._loop.call_soon(self.wake)
        elif (
            getattr(awaited, "_asyncio_future_blocking", None) is None or awaited.get_loop() is not self._loop
        ):
            what = f"{awaited!r} of another event loop" if asyncio.isfuture(awaited) else repr(awaited)
            self._loop.call_soon(self.wake, None, NotDurable(FOREIGN.format(what)))
        else:
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - what a task does
            self.waiting_for = awaited
            if not isinstance(awaited, StepCall):  # the program itself wakes whoever waits for a step
                awaited.add_done_callback(self.wake, context=self._context)
            if self._must_cancel and awaited.cancel(self._cancel_message):
                self._must_cancel = False

    def cancel(self, msg: Any = None) -> bool:
        if self.finished:
            return False
        self._cancel_requests += 1
        self._cancel_message = msg
        if self.waiting_for is None or not self.waiting_for.cancel(msg):
            self._must_cancel = True
        return True

    def done(self) -> bool:
        return self.finished

    @property
    def _fut_waiter(self) -> asyncio.Future[Any] | None:
        return self.waiting_for  # anyio, and so httpx, looks at it in every task

    def cancelling(self) -> int:
        return self._cancel_requests

    def uncancel(self) -> int:
        self._cancel_requests = max(0, self._cancel_requests - 1)
        return self._cancel_requests

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        return self._coroutine

    def stop(self) -> None:
        """Let go of the coroutine. One that refuses to be closed is finalized by that: only where no call of its works."""
        self.waiting_for = None
        self._coroutine = Stopped()  # type: ignore[assignment] # as far as ``wake`` is concerned

    def get_name(self) -> str:
        return "workflow"

    def set_name(self, value: object) -> None:
        """The name is fixed."""

    def _cancelled_error(self) -> asyncio.CancelledError:
        return (
            asyncio.CancelledError()
            if self._cancel_message is None
            else asyncio.CancelledError(self._cancel_message)
        )
