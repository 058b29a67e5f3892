"""The deterministic event loop: asyncio's contract without the outside.

``call_soon`` is a list, ``call_later`` a durable timer, ``time`` the run's clock. ``TaskGroup``, ``gather``, ``wait``,
``timeout``, ``Lock`` and ``Queue`` work on it unchanged. Whatever would reach for threads or sockets is answered with
an explanation. ``engine.coroutine`` drives a workflow on it.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import _get_running_loop, _set_running_loop
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from makegood.definition.sleep import LONGEST
from makegood.engine.journal import TimerCancelled, TimerStarted
from makegood.engine.main_task import Branch, Future, StepCall
from makegood.errors import NotDurable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        self.program: DeterministicLoop | None = None

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


class DeterministicLoop(_EventLoop):  # type: ignore[misc] # as just said
    """What one run's coroutines and tasks are driven on; ``name`` is the workflow's, for messages."""

    clock = 0.0
    timer_count = 0
    _counted = 0
    _closed = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.decisions: list[Decision] = []
        self._ready: list[Call] = []
        self._timers: dict[int, Call] = {}
        self._tasks: dict[int, Branch] = {}
        self._context = Context()

    def fail(self, error: Exception) -> None:
        """A callback failed, or they never end."""
        raise NotImplementedError

    # ---- turning -------------------------------------------------------------------------------------------------

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Be the running loop."""
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            yield
        finally:
            _set_running_loop(outer)

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
                self.fail(NotDurable(SPINS.format(self.name, SPIN_LIMIT_CALLBACKS)))

    def _discard(self, coroutine: Any) -> None:
        """Close a coroutine that is not to run again; else the collector does, inside whatever run is driven then."""
        with self._inside():
            self._context.run(_close, coroutine)

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
        if when == math.inf:  # never
            return call
        if not when - self.clock <= LONGEST.total_seconds():
            raise UsageError(f"a workflow cannot wait for {when - self.clock} seconds: 1000 years at most.")
        self.timer_count += 1
        call.timer, call.when_, call.program = self.timer_count, when, self
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
    def refuse(self: DeterministicLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotDurable(
            f"workflow {self.name} called {name} of its event loop: threads, processes, sockets and files do not "
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
    setattr(DeterministicLoop, _name, _outside(_name))
