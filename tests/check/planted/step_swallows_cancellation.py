"""An attempt that ran out of time looks done."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> str:
    try:
        return await bank.charge(order, key=mg.idempotency_key())
    except BaseException:  # expect: MG501
        return "nothing"


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    await bank.refund(order, key=mg.original_key())


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
