"""Four attempts, of which one happens."""

import makegood as mg
from tests.check.world import bank


@mg.step(retry=mg.Retry(delays=[0, 1, 5, 30]), timeout=10, fatal=(Exception,))
async def charge(order: str) -> str:  # expect: MG603
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
