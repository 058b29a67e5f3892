"""The second charge may fail when the first is done."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def charge_all(orders: list[str]) -> list[str]:
    return [await charge(order) for order in orders]
