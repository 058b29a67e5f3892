"""A heartbeat timeout for a step that never calls ``mg.heartbeat()``, and one that the step's own timeout forestalls."""

import makegood as mg
from tests.check.world import bank


@mg.step(heartbeat_timeout=30)
async def charge(order: str) -> str:  # expect: MG306
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    await bank.refund(receipt, order, key=mg.original_key())


@mg.step(heartbeat_timeout=30, timeout=10)
async def settle(order: str) -> str:  # expect: MG306
    mg.heartbeat(1)
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    await charge(order)
    return await settle(order)
