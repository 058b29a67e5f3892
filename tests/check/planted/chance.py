"""Heads in the journal, tails in the replay."""

from random import choice

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
    if choice(["charge", "reserve"]) == "charge":  # expect: MG402
        await charge(order)
    else:
        await reserve(order)
