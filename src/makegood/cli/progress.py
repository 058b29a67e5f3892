"""Watching a run: a live table in a terminal, a line for each change elsewhere, nothing for programs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from makegood.cli.output import visible
from makegood.cli.render import errors_of, headline, rows_that_fit, steps_table
from makegood.errors import PayloadError, RunError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from makegood import RunHandle
    from makegood.cli.interrupt import Interruption
    from makegood.cli.output import Output
    from makegood.description import Description

LOOK_SECONDS = 0.1
LOOKING_SHARE = 5  # of the time, at most a fifth goes into looking: a long journal is read less often
LINES_AROUND = 6


async def follow(handle: RunHandle[Any], output: Output, interruption: Interruption) -> Description:
    """Show a run's progress until it has ended, stands parked, or the user stops the command.

    Raises:
        StoreError: the engine has stopped.
    """
    ended = asyncio.create_task(_ended(handle))
    stopped = asyncio.create_task(interruption.asked.wait())
    try:
        with _view(output) as view:
            stood = False
            while True:
                began = time.monotonic()
                run = await handle.describe()
                view.show(run)
                stands = run.held_up
                if run.ended_at is not None or (stands and stood) or stopped.done():
                    return run
                stood = stands  # a look later it may have moved: an operator's request may lie in the store
                pause = max(LOOK_SECONDS, LOOKING_SHARE * (time.monotonic() - began))
                await asyncio.wait({ended, stopped}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    ended.result()
    finally:
        ended.cancel()
        stopped.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)


async def _ended(handle: RunHandle[Any]) -> None:
    with suppress(RunError, PayloadError):
        await handle.result()


class _Silent:
    def show(self, run: Description) -> None:
        """Show nothing."""


class _Lines:
    """A line for each change of a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[int, tuple[str, int]] = {}

    def show(self, run: Description) -> None:
        for step in run.steps:
            now = step.state, step.attempts
            if self._seen.get(step.number) == now:
                continue
            self._seen[step.number] = now
            failure = f"  {visible(str(step.failure))}" if step.failure is not None else ""
            state = "running" if step.state == "open" else step.state
            self._console.print(
                Text(f"{visible(run.id)}  {step.number} {visible(step.name)}: {state}{failure}")
            )


class _Frame:
    """A table that renews itself."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, run: Description) -> None:
        now = time.time()
        room = max(self._live.console.height - LINES_AROUND, 3)
        steps, rest = rows_that_fit(run.steps, room)
        errors = errors_of(steps)[-max(room - len(steps), 1) :]
        lines: list[RenderableType] = [headline(run, now)]
        lines += [Text(rest, "dim")] if rest else []
        lines += [steps_table(steps, now)] if steps else [Text(f"waits for {run.waiting_for}", "dim")]
        self._live.update(Group(*lines, *(Padding(error, (0, 0, 0, 2)) for error in errors)), refresh=True)


class _LiveFrame(AbstractContextManager[_Frame]):
    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> _Frame:
        return _Frame(self._live.__enter__())

    def __exit__(self, *details: Any) -> None:
        self._live.__exit__(*details)


def _view(output: Output) -> AbstractContextManager[_Silent | _Lines | _Frame]:
    if output.as_json:
        return nullcontext(_Silent())
    if output.err.is_terminal:
        return _LiveFrame(output.err)
    return nullcontext(_Lines(output.err))
