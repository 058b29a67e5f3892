"""Behind it everything goes forward, or an operator decides."""

import makegood as mg
from tests.check.world import bank, mail, shop


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
async def ship(order: str) -> None:
    await shop.ship(order, key=mg.idempotency_key())


@mg.step(critical=False, timeout=10)
async def thank(order: str) -> str:
    return await mail.send(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> str:
    if not order:
        raise ValueError("no order")
    await charge(order)
    await reserve(order)
    mg.pivot()
    await ship.options(retry=mg.Retry.forever(maximum=mg.MINUTE))(order)
    await ship.options(on_exhausted="park")(order)
    try:
        await reserve.options(critical=False)(order)
    except ValueError:
        raise
    sent = await thank(order)
    return sent.upper() if sent is not None else "not sent"
