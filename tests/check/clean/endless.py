"""A run that never ends: each leg leaves nothing behind that would have to be undone."""

import asyncio

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


@mg.workflow
async def once(order: str) -> None:
    await charge(order)


@mg.workflow
async def serve(order: str, rounds: int = 0) -> None:
    try:
        async with mg.saga(), asyncio.timeout(mg.HOUR):
            await charge(order)
            await reserve(order)
    except mg.StepFailed:
        print("next time")
    mg.pivot()
    if mg.patched("faster"):
        await mg.sleep(mg.HOUR)
    else:
        await mg.sleep(mg.DAY)
    if mg.patched("no-limit") or rounds < 100:
        mg.continue_as_new(order, rounds + 1)
