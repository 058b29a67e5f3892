"""Timeouts that leave room for every attempt, and those that are a deadline on purpose."""

import asyncio
from datetime import timedelta

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


Answer = mg.Signal("answer", bool)


@mg.workflow
async def fulfil(order: str) -> None:
    async with asyncio.timeout(5 * mg.MINUTE):
        await charge.options(retry=mg.Retry(delays=[0, 1, 5, 30]), timeout=10)(order)
    await asyncio.wait_for(
        reserve.options(retry=mg.Retry.forever(), timeout=timedelta(seconds=5))(order), mg.HOUR
    )
    try:
        async with asyncio.timeout(2 * mg.DAY):
            await Answer.receive(timeout=mg.DAY)
    except TimeoutError:
        print("no answer")
    await asyncio.wait_for(mg.sleep(mg.DAY), timeout=mg.HOUR)
