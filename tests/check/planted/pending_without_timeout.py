"""The manager has left the company."""

import makegood as mg
from tests.check.world import mail


@mg.step(retry=None)
async def ask_manager(order: str) -> bool | mg.Pending:  # expect: MG304
    await mail.send(order, mg.completion_token(), key=mg.idempotency_key())
    return mg.PENDING


@mg.workflow
async def buy(order: str) -> bool:
    return await ask_manager(order)
