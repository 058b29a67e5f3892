"""Effects without a compensation, and nothing that can fail after them."""

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


@mg.step(retry=mg.Retry.forever(), timeout=10)
async def invoice(order: str) -> None:
    await bank.invoice(order, key=mg.idempotency_key())


@mg.step(on_exhausted="park", timeout=10)
async def file_invoice(order: str) -> None:
    await bank.file_invoice(order, key=mg.idempotency_key())


@mg.step(critical=False, timeout=10)
async def thank(order: str) -> None:
    await mail.send(order, key=mg.idempotency_key())


@mg.step
async def add_up(order: str) -> int:
    return len(order)


@mg.workflow
async def fulfil(order: str) -> int:
    await charge(order)
    await reserve(order)
    await ship(order)
    await invoice(order)
    await file_invoice(order)
    await thank(order)
    return await add_up(order)
