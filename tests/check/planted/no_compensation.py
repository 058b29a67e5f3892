"""The money is taken before the goods are there, and never given back."""

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    receipt = await charge(order)
    await reserve(order)
    return receipt
