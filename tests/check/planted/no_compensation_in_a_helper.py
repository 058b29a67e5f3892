"""The steps are called through functions of the module."""

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


async def pay(order: str) -> str:
    return await charge(order)


async def collect(order: str) -> str:
    return await reserve(order)


@mg.workflow
async def fulfil(order: str) -> None:
    await pay(order)
    await collect(order)
