"""Waiting for a moment of the wall clock on an event loop: never early, also when the wall clock is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LONGEST_NAP_SECONDS = 60.0


class Alarm:
    """Calls back once, when ``now()`` has reached ``due`` (both seconds since 1970), unless cancelled."""

    __slots__ = ("_callback", "_handle", "_loop", "_now", "due")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
        due: float,
        callback: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._now = now
        self.due = due
        self._callback = callback
        self._arm()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        delay = self.due - self._now()
        if self._now != getattr(
            self._loop, "now", None
        ):  # the wall clock may be moved while the loop's goes on
            delay = min(delay, LONGEST_NAP_SECONDS)
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(max(delay, 0.0), self._look)

    def _look(self) -> None:
        if self._now() < self.due:
            self._arm()
        else:
            self._handle = None  # it refers back to this alarm
            self._callback()
