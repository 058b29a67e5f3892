"""It does not matter, and an operator has to come."""

import makegood as mg
from tests.check.world import mail


@mg.step(critical=False, on_exhausted="park", timeout=10)
async def notify(order: str) -> None:  # expect: MG605
    await mail.send(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> None:
    await notify(order)
