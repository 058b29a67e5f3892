"""Every attempt charges again."""

import makegood as mg
from tests.check.world import bank


@mg.step(retry=mg.Retry(delays=[0, 1, 5, 30]), timeout=10)
async def charge(order: str) -> str:  # expect: MG201
    return await bank.charge(order)


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
