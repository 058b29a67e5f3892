"""One connection that hangs, and forward recovery stands still."""

import makegood as mg
from tests.check.world import shop


@mg.step(retry=mg.Retry.forever())
async def ship(order: str) -> None:  # expect: MG303
    await shop.ship(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> None:
    await ship(order)
