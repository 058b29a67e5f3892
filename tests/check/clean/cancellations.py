"""Cancellations that go on, and those of a task that the workflow has cancelled itself."""

import asyncio
from contextlib import suppress

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
async def fulfil(order: str) -> None:
    reminder = asyncio.create_task(mg.sleep(mg.DAY))
    try:
        await charge(order)
    except BaseException as error:
        mg.update_view(status=f"failed: {error}")
        raise
    finally:
        reminder.cancel()
    try:
        await reminder
    except asyncio.CancelledError:
        pass
    with suppress(asyncio.CancelledError):
        await reminder
    try:
        amount = int(order)
    except:
        amount = 0
    try:
        await asyncio.sleep(amount)
    except asyncio.CancelledError:
        mg.update_view(status="cancelled")
        raise
    except BaseException:
        pass
