"""Waiting for a condition that no event announces, with an end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import makegood as mg

PATIENCE_SECONDS = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds; TimeoutError if it never does."""

    async def ask() -> object:
        return condition()

    await eventually(ask)


async def eventually(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is yes; TimeoutError if it never is."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await ask():  # noqa: ASYNC110 - what is waited for announces itself nowhere
            await asyncio.sleep(0.001)


async def parked(run: mg.RunHandle[Any], *, steps: int = 1) -> None:
    """Wait until so many of the run's steps are parked."""

    async def is_parked() -> bool:
        return len((await run.describe()).parked) == steps

    await eventually(is_parked)
