"""SIGTERM and SIGINT: the first asks for a graceful end, the second ends the process at once.

Ending at once is safe: nothing is acknowledged that is not durable, and the next worker recovers the rest.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

SHOW_CURSOR = "\x1b[?25h"


class Interrupted(Exception):
    """The user stopped the command; ``signal_number`` says how."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class Interruption:
    """``with Interruption() as …``: signals are taken while it is open, in a running event loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.signal_number = 0
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}

    @property
    def name(self) -> str:
        """The name of the signal that was taken."""
        return signal.Signals(self.signal_number).name

    def __enter__(self) -> Interruption:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def or_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and stop it when a signal is taken."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.asked.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number:
            leave_at_once(128 + number)
        self.signal_number = number
        self._loop.call_soon_threadsafe(self.asked.set)


def leave_at_once(code: int) -> None:
    """End the process without waiting for anything, leaving the terminal in order."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream.isatty():
                stream.write(SHOW_CURSOR)
            stream.flush()
    finally:  # a signal may come in the middle of a write, when another one is refused
        os._exit(code)


def leave(code: int) -> None:
    """End the process; a step that is stuck in a thread, and was given up already, does not hold it."""
    if any(thread.name.startswith("makegood-step") for thread in threading.enumerate()):
        leave_at_once(code)
    sys.exit(code)
