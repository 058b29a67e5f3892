"""What cannot happen in one run: an effect in one branch, a failure in the other."""

import makegood as mg
from tests.check.world import bank, shop


@mg.step(timeout=10)
async def charge(order: str) -> str:
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    await bank.refund(order, key=mg.original_key())


@mg.step(timeout=10)
async def reserve(order: str) -> str:
    return await shop.reserve(order, key=mg.idempotency_key())


@reserve.compensation
async def release(hold: str | None, order: str) -> None:
    await shop.release(order, key=mg.original_key())


@mg.step(timeout=10)
async def invoice(order: str) -> None:
    await bank.invoice(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str, *, by_invoice: bool) -> None:
    if by_invoice:
        await invoice(order)
        return
    await charge(order)
    match order:
        case "gift":
            await invoice(order)
        case _:
            await reserve(order)


@mg.workflow
async def try_both(order: str) -> None:
    try:
        await reserve(order)
    except mg.StepFailed:
        await charge(order)
    while True:
        await mg.sleep(mg.DAY)
        if mg.now().day == 1:
            break
    await invoice(order)
