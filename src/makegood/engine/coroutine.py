"""The coroutine program: a user's ``async def`` on a deterministic event loop of its own.

The loop is asyncio's contract without the outside: ``call_soon`` is a deque, ``call_later`` a durable timer, ``time``
the run's clock. ``TaskGroup``, ``gather``, ``wait``, ``timeout``, ``Lock`` and ``Queue`` work on it unchanged.
Whatever would reach for threads or sockets is answered with an explanation.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import _get_running_loop, _set_running_loop
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from makegood.definition.scope import current_scope
from makegood.engine.journal import StepCancelled, StepScheduled, TimerCancelled, TimerStarted
from makegood.engine.main_task import Branch, Future, MainTask, StepCall
from makegood.errors import NotDurable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import msgspec

    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow
    from makegood.engine.journal import Decision

SPIN_LIMIT_CALLBACKS = 1_000_000
SPINS = (
    "workflow {} spins: {:,} callbacks without reaching a step or a timer. "
    "Wait with asyncio.sleep(seconds) instead of polling."
)
CLOSING_ROUNDS = 100
NO_CONTEXT = Context()


class Call:
    """A callback that waits for its turn, or for its time."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "program", "timer", "when_")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False
        self.timer = 0
        self.when_ = 0.0
        self.program: CoroutineProgram | None = None

    def cancel(self) -> None:
        if not self.is_cancelled:
            self.is_cancelled = True
            if self.program is not None:
                self.program.timer_cancelled(self.timer)

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.when_


_EventLoop: Any = (
    asyncio.AbstractEventLoop
)  # a type checker does not see the methods that are filled in below


class CoroutineProgram(_EventLoop):  # type: ignore[misc] # as just said
    """One run of a workflow function. Implements ``engine.program.Program`` and ``definition.scope.Scope``."""

    clock = 0.0
    finished = False
    idle = False
    error: BaseException | None = None
    value: Any = None
    _timer_count = 0
    _counted = 0
    _main: MainTask | None = None
    _closed = False

    def __init__(self, workflow: Workflow[..., Any]) -> None:
        self.workflow = workflow
        self.steps: dict[int, Step[Any, Any]] = {}
        self.decisions: list[Decision] = []
        self._ready: list[Call] = []
        self._calls: dict[int, StepCall] = {}
        self._timers: dict[int, Call] = {}
        self._tasks: dict[int, Branch] = {}
        self._rejected: list[StepCall] = []
        self._context = Context()
        self._context.run(current_scope.set, self)

    # ---- the program protocol ------------------------------------------------------------------------------------

    def start(self, arguments: msgspec.Raw) -> None:
        self._main = MainTask(self.workflow.signature.call(arguments), self, self._context)
        self._drive(wake_main=True)

    def resolve(self, step: int, result: msgspec.Raw | None) -> None:
        call = self._calls.pop(step, None)
        if call is not None:
            call.set_result(None if result is None else self.steps[step].signature.decode_result(result))
            self._settled(call)

    def reject(self, step: int, error: Exception) -> None:
        call = self._calls.pop(step, None)
        if self.finished:
            self.error = self.error or error
        elif call is not None:
            call.set_exception(error)
            self._rejected.append(call)
            self._settled(call)

    def fire(self, timer: int) -> None:
        call = self._timers.pop(timer)
        call.program = None
        self._ready.append(call)
        self._drive()

    def cancel(self, reason: str) -> None:
        if self.finished:
            self._cancel_calls()
        elif self._main is not None:
            self._main.cancel(reason or None)
            self._drive()

    def fail(self, error: Exception) -> None:
        self.finished = True
        self._ready.clear()
        with self._inside():
            if self._main is not None:
                self._discard(self._main.get_coro())
            self._finish(error)
        self.error = error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._main is not None and not self._main.finished:
            self._discard(self._main.get_coro())
        for task in self._tasks.values():
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - no public way
                self._discard(task.get_coro())
        # The program, its context and its tasks refer to each other: let go, so that no collector is needed.
        self._main, self._context = None, NO_CONTEXT
        if self.error is not None:
            self.error.__traceback__ = None  # its frames hold on to everything that was ever called
            self.error = None
        self.value = None
        self._ready.clear()
        self._calls.clear()
        self._timers.clear()
        self._rejected.clear()

    # ---- driving -------------------------------------------------------------------------------------------------

    def _settled(self, call: StepCall) -> None:
        """A step's call is done: go on with whoever waits for it, the workflow function itself behind any task."""
        main = self._main
        if main is None or main.waiting_for is not call:
            self._drive()
        elif self._ready:
            self.call_soon(main.wake)
            self._drive()
        else:
            self._drive(wake_main=True)

    def _drive(self, *, wake_main: bool = False) -> None:
        """Run until everything waits again, and see whether the workflow is over."""
        main = self._main
        assert main is not None
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            if wake_main:
                self._context.run(main.wake)
            if self._ready:
                self._pump()
            if main.finished and not self.finished:
                self.value = main.value
                self._finish(main.error or self._overlooked())
            self.idle = not (self._calls or self._timers or self.finished)
        finally:
            _set_running_loop(outer)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Be the running loop."""
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            yield
        finally:
            _set_running_loop(outer)

    def _overlooked(self) -> BaseException | None:
        """The failure of a step that the workflow never awaited."""
        for call in self._rejected:
            if call._log_traceback:  # noqa: SLF001 - asyncio's own mark of an exception that nobody has looked at
                return call.exception()
        return None

    def _pump(self) -> None:
        turns = 0
        while self._ready:
            batch, self._ready = self._ready, []
            for call in batch:
                if call.is_cancelled:
                    continue
                try:
                    context = self._context if call.context is None else call.context
                    context.run(call.callback, *call.args)
                except SystemExit:
                    pass  # kept by the task that raised it: it ends this run, not the worker
                except Exception as error:  # noqa: BLE001 - a callback of the user's may raise anything
                    self.fail(error)
                    return
            turns += len(batch)
            if turns > SPIN_LIMIT_CALLBACKS:
                self.fail(NotDurable(SPINS.format(self.workflow.name, SPIN_LIMIT_CALLBACKS)))

    def _discard(self, coroutine: Any) -> None:
        """Close a coroutine that is not to run again; else the collector does, inside whatever run is driven then."""
        with self._inside():
            self._context.run(_close, coroutine)

    def _finish(self, error: BaseException | None) -> None:
        """The workflow is over: end what it left behind. Steps are waited for after a return, cancelled after an error."""
        self.finished = True
        self.error = error
        if self._tasks:
            self._cancel_tasks()
        if error is not None:
            self._cancel_calls()
        if self._timers:
            for timer in list(self._timers.values()):
                timer.cancel()
        if self._ready:
            self._pump()

    def _cancel_calls(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()

    def _cancel_tasks(self) -> None:
        for _ in range(CLOSING_ROUNDS):
            left = [task for task in self._tasks.values() if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            self._pump()

    # ---- what a declaration sees (definition.scope) --------------------------------------------------------------

    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        if self._closed:
            raise GeneratorExit
        if self.finished:
            raise UsageError(f"step {step.options_.name} was called after its workflow had ended.")
        arguments = step.signature.encode_arguments(args, kwargs)
        number = len(self.steps) + 1
        options = step.options_
        due = self.clock + step.first_wait_seconds if step.first_wait_seconds else 0.0
        self.decisions.append(
            StepScheduled(number, options.name, arguments, step.undo is not None, options.critical, due)
        )
        self.steps[number] = step
        call = self._calls[number] = StepCall(loop=self)
        call.program, call.number = self, number
        return call  # type: ignore[return-value] # a future does all that the workflow may do with a coroutine: await it

    def step_cancelled(self, call: StepCall) -> None:
        if self._calls.pop(call.number, None) is not None:
            self.decisions.append(StepCancelled(call.number))
            if self._main is not None and self._main.waiting_for is call:
                self.call_soon(self._main.wake)

    def timer_cancelled(self, number: int) -> None:
        if self._timers.pop(number, None) is not None:
            self.decisions.append(TimerCancelled(number))

    # ---- the event loop contract ---------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        call = Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.clock + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        if when <= self.clock:
            return self.call_soon(callback, *args, context=context)
        call = Call(callback, args, context)
        if not when < math.inf:  # never
            return call
        self._timer_count += 1
        call.timer, call.when_, call.program = self._timer_count, when, self
        self._timers[call.timer] = call
        self.decisions.append(TimerStarted(call.timer, when))
        return call

    def time(self) -> float:
        return self.clock

    def create_future(self) -> asyncio.Future[Any]:
        future = Future(loop=self)
        future.number = self._count()
        return future

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        if isinstance(coro, StepCall):  # TaskGroup.create_task(step(…)): the call is scheduled already
            return coro
        task = Branch(self._count(), coro, loop=self, name=name, context=context)
        self._tasks[task.number] = task
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: Any) -> None:
        del self._tasks[task.number]

    def _count(self) -> int:
        self._counted += 1
        return self._counted

    def get_task_factory(self) -> None:
        return None

    get_debug = staticmethod(bool)  # False, asked for by every future: without a frame of its own

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing: what matters of a workflow's errors is in the journal."""

    call_exception_handler = default_exception_handler


def _close(coroutine: Any) -> None:
    for _ in range(CLOSING_ROUNDS):  # one that awaits again in its `finally` is closed again
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001, S112 - whatever a user's `finally` raises, nobody can be told any more
            continue
        return


def _outside(name: str) -> Callable[..., NoReturn]:
    def refuse(self: CoroutineProgram, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotDurable(
            f"workflow {self.workflow.name} called {name} of its event loop: threads, processes, sockets and files do not "
            "survive a crash and belong in a step. Move this call into an @mg.step function "
            "(a plain `def` step runs in a thread)."
        )

    return refuse


for _name in (
    *(
        "run_in_executor",
        "call_soon_threadsafe",
        "getaddrinfo",
        "getnameinfo",
        "create_connection",
        "create_server",
    ),
    *("create_unix_connection", "create_unix_server", "create_datagram_endpoint", "start_tls", "sendfile"),
    *(
        "connect_read_pipe",
        "connect_write_pipe",
        "subprocess_shell",
        "subprocess_exec",
        "add_reader",
        "add_writer",
    ),
    *("remove_reader", "remove_writer", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
    *(
        "sock_sendall",
        "sock_sendto",
        "sock_connect",
        "sock_accept",
        "sock_sendfile",
        "connect_accepted_socket",
    ),
    *("add_signal_handler", "remove_signal_handler", "run_forever", "run_until_complete"),
):
    setattr(CoroutineProgram, _name, _outside(_name))
