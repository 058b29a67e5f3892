"""Who waits for a run's next entry. Told by whoever makes entries durable, or sees that another process did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Changes:
    """An event for each run that somebody waits for; nothing for the others."""

    def __init__(self) -> None:
        self.events: dict[str, asyncio.Event] = {}
        """One for each run that somebody waits for."""
        self.begins: Callable[[], None] | None = None
        """To be told that a run was started or taken in here."""
        self._error: BaseException | None = None

    def of(self, run_id: str) -> asyncio.Event:
        """Set at the run's next change: ask for it, then look at the run, then wait.

        Raises:
            StoreError: there will be none, as this engine has stopped.
        """
        if self._error is not None:
            raise self._error
        return self.events.setdefault(run_id, asyncio.Event())

    def tell(self, run_id: str) -> None:
        """The run has changed."""
        event = self.events.pop(run_id, None)
        if event is not None:
            event.set()

    def tell_all(self) -> None:
        """Any of them may have changed."""
        events, self.events = self.events, {}
        for event in events.values():
            event.set()

    def end(self, error: BaseException) -> None:
        """Nothing can be seen from here any more."""
        self._error = error
        self.tell_all()
