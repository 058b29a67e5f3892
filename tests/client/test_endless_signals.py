"""A run that is sent thousands of signals, in legs: each is received once, and a restart reads the last leg only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import SealedEntry
from tests.until import eventually
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio

SIGNALS = 3_000
LEG = 100
END = -1

Position = mg.Signal("position", int)


class CountingStore(MemoryStore):
    """Counts the entries that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def journal(self, key: int, *, after: int = 0, limit: int = -1) -> list[SealedEntry]:
        entries = list(await super().journal(key, after=after, limit=limit))
        self.read += len(entries)
        return entries


@mg.workflow
async def follow(seen: int = 0) -> int:
    for _ in range(LEG):
        position = await Position.receive()
        if position == END:
            return seen
        assert position == seen, f"position {position} came in the place of {seen}"
        seen += 1
        mg.update_view(seen=seen)
    return mg.continue_as_new(seen)


async def send(run: mg.RunHandle[Any], first: int, last: int, senders: int) -> None:
    """Each sender sends its next position as soon as the one before is accepted; their order is that of the calls."""
    left = iter(range(first, last))

    async def one() -> None:
        for position in left:
            await run.signal(Position, position, id=str(position))

    await asyncio.gather(*(one() for _ in range(senders)))


async def has_seen(run: mg.RunHandle[Any], number: int) -> bool:
    return (await run.view()).get("seen") == number


@pytest.mark.parametrize("waiting_limit", [1_000, 0], ids=["in memory", "evicted"])
async def test_no_signal_is_lost_or_comes_twice_over_many_legs_and_restarts(waiting_limit: int) -> None:
    store = MemoryStore()
    async with engine_on(store, follow) as engine:
        await engine.start(follow, id="taxi")
    for life in range(3):
        async with engine_on(store, follow, waiting_limit=waiting_limit) as engine:
            run = await engine.get("taxi")
            await send(run, life * SIGNALS // 3, (life + 1) * SIGNALS // 3, senders=7)
            await run.signal(Position, SIGNALS // 3, id=str((life + 1) * SIGNALS // 3 - 1))  # sent again
    async with engine_on(store, follow) as engine:
        run = await engine.get("taxi")
        await run.signal(Position, END)
        assert await run.result() == SIGNALS
        assert (await run.describe()).leg == SIGNALS // LEG + 1
        assert (await run.describe()).signals_left == []
        await run.verify()


async def test_a_restart_reads_the_last_leg_of_the_journal_only() -> None:
    store = CountingStore()
    async with engine_on(store, follow) as engine:
        run = await engine.start(follow, id="taxi")
        await send(run, 0, SIGNALS + 1, senders=1)
        await eventually(lambda: has_seen(run, SIGNALS + 1))
        entries = await run.verify()
    assert entries >= SIGNALS
    store.read = 0
    async with engine_on(store, follow) as engine:
        run = await engine.get("taxi")
        await run.signal(Position, END)
        assert await run.result() == SIGNALS + 1
    assert store.read < LEG
