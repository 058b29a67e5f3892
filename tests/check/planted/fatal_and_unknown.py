"""Nobody knows, and nobody asks again."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10, fatal=(ConnectionError,), unknown=(ConnectionResetError,))
async def charge(order: str) -> str:  # expect: MG604
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
