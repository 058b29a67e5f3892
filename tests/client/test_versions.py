"""Two versions of a workflow: runs go on with the one that they began with."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store
from makegood.store.sqlite import SqliteStore
from tests.until import eventually
from tests.worker.engines import engine_on


@mg.step
async def old_way(order: str) -> str:
    return f"{order}, the old way"


@mg.step
async def new_way(order: str) -> int:
    return len(order)


Go = mg.Signal("go")


@mg.workflow(name="order")
async def order_1(order: str) -> str:
    await Go.receive()
    return await old_way(order)


@mg.workflow(version=2)
async def order(order: str) -> int:
    await Go.receive()
    return await new_way(order)


@mg.workflow
async def parent(order_id: str) -> str:
    return await mg.start_child(order_1, order_id, id=f"{order_id}-child")


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "orders.db"))


def test_a_run_goes_on_with_its_version_after_a_deploy(store):
    async def main() -> None:
        async with engine_on(store, order_1) as engine:
            await engine.start(order_1, "a", id="old")
        async with engine_on(store, order_1, order) as engine:
            await engine.start(order, "b", id="new")
            for run_id in ("old", "new"):
                await (await engine.get(run_id)).signal(Go)
            assert await (await engine.get("old")).result() == "a, the old way"
            assert await (await engine.get("new")).result() == 1

    asyncio.run(main())


def test_a_run_whose_version_nobody_knows_waits_and_says_so(store):
    async def main() -> None:
        async with engine_on(store, order_1) as engine:
            await engine.start(order_1, "a", id="old")
        async with engine_on(store, order) as engine:
            run = await engine.get("old")
            await eventually(lambda: waits_for_its_version(run))
            with pytest.raises(mg.NotPossible, match="no live worker knows version 1 of its workflow order"):
                await run.cancel()
        async with engine_on(store, order_1) as engine:
            run = await engine.get("old")
            await run.signal(Go)
            assert await run.result() == "a, the old way"

    asyncio.run(main())


async def waits_for_its_version(run: mg.RunHandle) -> bool:
    waiting_for = (await run.describe()).waiting_for
    return waiting_for.startswith(
        "no live worker knows version 1 of its workflow order (known: 2)"
    ) and waiting_for.endswith("@mg.workflow(name='order', version=1).")


def test_a_run_that_sleeps_waits_for_its_version_too(store):
    async def main() -> None:
        async with engine_on(store, order_1, waiting_limit=0) as engine:
            await engine.start(order_1, "a", id="old")
            await eventually(lambda: is_asleep(store))
        async with engine_on(store, order) as engine:
            await eventually(lambda: waits_for_its_version_of(engine, "old"))

    asyncio.run(main())


async def is_asleep(store: Store) -> bool:
    row = await store.find("old")
    return row is not None and row.wake_at is not None


async def waits_for_its_version_of(engine: mg.Engine, run_id: str) -> bool:
    return await waits_for_its_version(await engine.get(run_id))


def test_the_same_id_and_input_is_the_same_run_whatever_its_version(store):
    async def main() -> None:
        async with engine_on(store, order_1, order) as engine:
            await engine.start(order_1, "a", id="order-1")
            again = await engine.start(order, "a", id="order-1")
            await again.signal(Go)
            assert await again.result() == "a, the old way"

    asyncio.run(main())


def test_lists_and_descriptions_show_the_version(store):
    async def main() -> None:
        async with engine_on(store, order_1, order) as engine:
            run = await engine.start(order, "a", id="new")
            await engine.start(order_1, "a", id="old")
            assert {one.id: one.version for one in await engine.list()} == {"new": 2, "old": 1}
            assert (await run.describe()).version == 2

    asyncio.run(main())


def test_a_client_submits_the_version_that_it_was_given(tmp_path):
    async def main() -> None:
        url = f"sqlite:///{tmp_path}/orders.db"
        async with mg.Engine(url, work=False) as client:
            await client.start(order, "a", id="new")
        async with mg.Engine(url, [order_1, order]) as engine:
            run = await engine.get("new")
            await run.signal(Go)
            assert await run.result() == 1

    asyncio.run(main())


def test_a_child_has_the_version_of_the_function_that_was_called(store):
    async def main() -> None:
        async with engine_on(store, parent, order) as engine:
            run = await engine.start(parent, "a", id="a")
            await eventually(lambda: exists(engine, "a-child"))
            child = await engine.get("a-child")
            assert (await child.describe()).version == 1
            await child.signal(Go)
            assert await run.result() == "a, the old way"

    asyncio.run(main())


async def exists(engine: mg.Engine, run_id: str) -> bool:
    return any(one.id == run_id for one in await engine.list())
