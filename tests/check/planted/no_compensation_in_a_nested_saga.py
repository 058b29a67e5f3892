"""The failure is caught outside the nested saga, which is undone all the same."""

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> bool:
    try:
        async with mg.saga():
            await charge(order)
            await reserve(order)
    except mg.StepFailed:
        return False
    return True
