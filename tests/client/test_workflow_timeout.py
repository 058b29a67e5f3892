"""``@mg.workflow(timeout=…)`` from outside: the cause, durability over restarts and eviction, children."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.testing import VirtualTimeLoop
from tests.worker.engines import engine_on

UNDONE: list[str] = []


@mg.step
async def charge() -> str:
    return "receipt"


@charge.compensation
async def refund(receipt: str | None) -> None:
    await asyncio.sleep(100)  # undoing takes the time that it takes
    UNDONE.append("charge")


@mg.workflow(timeout=timedelta(minutes=1))
async def order() -> None:
    await charge()
    await mg.sleep(mg.DAY)


@mg.workflow
async def parent() -> str:
    try:
        await order()
    except mg.ChildFailed as failed:
        return f"{failed.status}: {failed.failure.message}"
    return "done"


@pytest.fixture(autouse=True)
def nothing_undone():
    UNDONE.clear()


async def ended(engine: mg.Engine, run_id: str) -> str:
    run = await engine.get(run_id)
    with pytest.raises(mg.RunCompensated) as compensated:
        await run.result()
    return str(compensated.value.failure)


def in_virtual_time(main):
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


@pytest.mark.parametrize("waiting_limit", [1_000, 0], ids=["in memory", "evicted"])
def test_it_is_rolled_back_with_a_timeout_as_the_cause(waiting_limit):
    async def main(loop):
        async with mg.Engine("memory://", now=loop.now, waiting_limit=waiting_limit) as engine:
            await engine.start(order, id="order-1")
            cause = await ended(engine, "order-1")
            return cause, round(loop.elapsed)

    assert in_virtual_time(main) == ("TimeoutError: workflow order was not done within 60 s", 160)
    assert UNDONE == ["charge"]


def test_a_restart_does_not_begin_it_anew():
    async def main(loop):
        store = MemoryStore()
        async with engine_on(store, now=loop.now) as engine:
            await engine.start(order, id="order-1")
            await asyncio.sleep(40)
        async with engine_on(store, order, now=loop.now) as engine:
            await ended(engine, "order-1")
            return round(loop.elapsed)

    assert in_virtual_time(main) == 160


def test_it_counts_from_the_start_also_where_no_worker_was_there():
    async def main(loop):
        store = MemoryStore()
        async with engine_on(store, order, now=loop.now, work=False) as client:
            await client.start(order, id="order-1")
            await asyncio.sleep(1_000)
        async with engine_on(store, order, now=loop.now) as engine:
            run = await engine.get("order-1")
            with pytest.raises(mg.RunError) as failed:
                await run.result()
            return str(failed.value.failure)

    assert in_virtual_time(main) == "TimeoutError: workflow order was not done within 60 s"


def test_a_parent_is_told_of_its_childs():
    async def main(loop):
        async with mg.Engine("memory://", now=loop.now) as engine:
            return await engine.run(parent)

    assert in_virtual_time(main) == "COMPENSATED: workflow order was not done within 60 s"


def test_a_run_that_waits_says_until_when():
    async def main(loop):
        async with mg.Engine("memory://", now=loop.now) as engine:
            run = await engine.start(order)
            await asyncio.sleep(1)
            return (await run.describe()).waiting_for

    assert "time limit" in in_virtual_time(main)
