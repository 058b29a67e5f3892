"""A typing error accepts nothing."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)  # makegood: ignore[MG999] expect: MG901
async def charge(order: str) -> str:
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
