"""The manager does not know what to answer to."""

import makegood as mg
from tests.check.world import mail


@mg.step(retry=None, timeout=3 * mg.DAY)
async def ask_manager(order: str) -> bool | mg.Pending:  # expect: MG305
    await mail.send(order, key=mg.idempotency_key())
    return mg.PENDING


@mg.workflow
async def buy(order: str) -> bool:
    return await ask_manager(order)
