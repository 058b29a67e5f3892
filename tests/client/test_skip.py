"""``run.skip()``: only if the workflow goes on without the step's result."""

import asyncio

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import parked
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


@mg.step(retry=None, on_exhausted="park")
async def reserve(order: str) -> str:
    raise RuntimeError("the warehouse is closed")


@mg.step
async def ship(order: str, hold: str) -> str:
    return f"{order} shipped from {hold}"


@mg.workflow
async def needs_it(order: str) -> str:
    return await ship(order, await reserve(order))


@mg.workflow
async def works_with_it(order: str) -> str:
    return (await reserve(order)).upper()


@mg.workflow
async def can_do_without(order: str) -> str:
    await reserve(order)
    return await ship(order, "the shop")


@pytest.mark.parametrize("workflow", [needs_it, works_with_it], ids=["another step", "the workflow itself"])
@pytest.mark.parametrize("waiting_limit", [0, 1_000])
async def test_a_step_whose_result_is_needed_is_not_skipped(workflow, waiting_limit) -> None:
    async with engine_on(MemoryStore(), workflow, waiting_limit=waiting_limit) as engine:
        run = await engine.start(workflow, "o-1", id="o-1")
        await parked(run)
        before = await run.history()
        with pytest.raises(mg.NotPossible, match="What is possible: retry, resolve with a result"):
            await run.skip("reserve")
        assert await run.history() == before
        await run.resolve("row 7")
        assert "ROW 7" in (await run.result()).upper()


async def test_one_that_nobody_needs_is() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(can_do_without, "o-1", id="o-1")
        await parked(run)
        await run.skip()
        assert await run.result() == "o-1 shipped from the shop"


@mg.step
async def charge(order: str) -> str:
    return "receipt"


@charge.compensation(retry=None)
async def refund(receipt: str | None, order: str) -> None:
    raise RuntimeError("the bank is closed")


@mg.workflow
async def charged(order: str) -> str:
    await charge(order)
    return (await reserve(order)).upper()


async def test_a_compensation_is_skipped_in_a_run_of_which_no_code_is_run_any_more() -> None:
    store = MemoryStore()
    async with engine_on(store, charged) as engine:
        run = await engine.start(charged, "o-1", id="o-1")
        await parked(run)
        await run.rollback(why="enough")
        await parked(run)
        assert "charge" in (await run.describe()).parked

    @mg.workflow(name="charged")
    async def changed(order: str) -> str:
        await reserve(order)
        return await charge(order)

    async with engine_on(store, changed) as engine:
        run = await engine.get("o-1")
        await run.skip("charge")
        with pytest.raises(mg.RunTerminated) as ended:
            await run.result()
        assert ended.value.residue == ("charge",)


async def test_two_skips_at_once_are_one() -> None:
    async with engine_on(MemoryStore(), can_do_without, waiting_limit=0) as engine:
        run = await engine.start(can_do_without, "o-1", id="o-1")
        await parked(run)
        skips = await asyncio.gather(run.skip(), run.skip(), return_exceptions=True)
        assert [type(one) for one in skips if one is not None] == [mg.NotPossible]
        assert await run.result() == "o-1 shipped from the shop"
