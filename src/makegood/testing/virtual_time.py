"""An event loop whose clock jumps: days of timers and retries pass in milliseconds, in the right order.

@in_virtual_time
async def test_a_long_stay(): ...    # with testing.VirtualEngine, or mg.Engine(url, now=asyncio.get_running_loop().now)
"""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

P = ParamSpec("P")
T = TypeVar("T")

BEGIN_SECONDS = 1_000_000_000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that never waits: when nothing is ready, its clock jumps to the next timer.

    While a thread of ``run_in_executor`` is at work, the clock stands still. Not for real networks: an answer
    that is still on its way does not hold the clock.

    Args:
        begin: what ``now`` shows at the beginning, in seconds since 1970.
    """

    def __init__(self, begin: float = BEGIN_SECONDS) -> None:
        self.begin = begin
        self.elapsed = 0.0
        self.threads_at_work = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds since the beginning: asyncio's own clock."""
        return self.elapsed

    def now(self) -> float:
        """Seconds since 1970: the wall clock that belongs to this loop, for ``mg.Engine(now=…)``."""
        return self.begin + self.elapsed

    def run_in_executor(  # type: ignore[override] # typeshed's variadic generics say the same at greater length
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.threads_at_work += 1
        future.add_done_callback(self._thread_returned)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self.threads_at_work += 1  # since Python 3.12 it waits for its threads with a time limit
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.threads_at_work -= 1

    def _thread_returned(self, _: asyncio.Future[Any]) -> None:
        self.threads_at_work -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Lets the loop's clock jump where another selector would sleep."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None or (timeout > 0 and self._loop.threads_at_work):
            return super().select(None)  # only a thread, a file or a signal can go on
        # At least to the next representable moment: a clock that can stand still would never reach some timers.
        before = self._loop.elapsed
        self._loop.elapsed = max(before + timeout, math.nextafter(before, math.inf))
        return ready


def in_virtual_time(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate an ``async def`` test (or any coroutine function): a plain function that runs it on a ``VirtualTimeLoop``.

    No plugin for asyncio is needed, and none is disturbed. In it, ``await asyncio.sleep(37 * mg.DAY)`` takes no time.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(function(*args, **kwargs))

    return run
