"""The workflow itself fails after the effect."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> int:  # expect: MG101
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> None:
    cents = await charge(order)
    if cents > 100_000:
        raise ValueError("too much")
