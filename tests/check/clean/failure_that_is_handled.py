"""The failure after the effect is caught, and undoes nothing."""

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


Answer = mg.Signal("answer", bool)


@mg.step(timeout=10)
async def announce(order: str) -> None:
    await mail.send(order, key=mg.idempotency_key())


@mg.workflow
async def fulfil(order: str) -> bool:
    await announce(order)
    try:
        answer = await Answer.receive(timeout=mg.DAY)
    except TimeoutError:
        answer = False
    try:
        async with mg.saga():
            await charge(order)
            await reserve(order)
    except Exception:
        return False
    return answer
