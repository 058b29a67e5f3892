"""One attempt, and a crash makes it two."""

import makegood as mg
from tests.check.world import bank


@mg.step(retry=None, timeout=10)
async def charge(order: str) -> str:  # expect: MG202
    return await bank.charge(order)


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
