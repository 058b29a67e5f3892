"""The mail may not have been sent."""

import makegood as mg
from tests.check.world import mail


@mg.step(critical=False, timeout=10)
async def notify(order: str) -> str:
    return await mail.send(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    sent = await notify(order)
    return sent.upper()  # expect: MG207
