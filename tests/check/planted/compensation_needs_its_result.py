"""The charge timed out: there is no receipt."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> dict[str, str]:
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation
async def refund(receipt: dict[str, str] | None, order: str) -> None:
    await bank.refund(receipt["id"], key=mg.idempotency_key())  # expect: MG204


@mg.workflow
async def fulfil(order: str) -> None:
    await charge(order)
