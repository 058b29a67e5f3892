"""Called now, awaited later."""

import asyncio

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def charge(order: str) -> str:
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    await bank.refund(order, key=mg.original_key())


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


@reserve.compensation
async def release(hold: str | None, order: str) -> None:
    await shop.release(order, key=mg.original_key())


async def both(order: str) -> None:
    await charge(order)
    await reserve(order)


@mg.workflow
async def fulfil(orders: list[str]) -> list[str]:
    first = charge(orders[0])
    second = reserve(orders[0])
    await asyncio.wait([second, first])
    calls = [charge(order) for order in orders]
    tasks = [asyncio.create_task(both(order)) for order in orders]
    for done in asyncio.as_completed(tasks):
        await done
    for done in asyncio.as_completed([charge(order) for order in orders]):
        await done
    async with asyncio.TaskGroup() as group:
        group.create_task(charge("another"))
        late = reserve("another")
        group.create_task(late)
    results = await asyncio.gather(*calls, return_exceptions=True)
    mg.start_child(sleep_a_day)
    return [str(one) for one in results]


@mg.workflow
async def sleep_a_day() -> None:
    await mg.sleep(mg.DAY)
