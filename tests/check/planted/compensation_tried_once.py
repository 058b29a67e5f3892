"""The first hiccup leaves the customer without the money."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> dict[str, str]:
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation(retry=None)
async def refund(receipt: dict[str, str] | None, order: str) -> None:  # expect: MG205
    await bank.refund(order, key=mg.original_key())


@mg.workflow
async def fulfil(order: str) -> None:
    await charge(order)
