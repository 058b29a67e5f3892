"""Both run at once, and the second in the list may be done when the first fails."""

import asyncio

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


@reserve.compensation
async def release(hold: str | None, order: str) -> None:
    await shop.release(order, key=mg.original_key())


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> None:
    await asyncio.gather(reserve(order), charge(order))
