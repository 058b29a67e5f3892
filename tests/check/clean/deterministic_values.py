"""What differs from run to run, and is the same in every replay."""

import random
from datetime import datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

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
    if mg.now().hour < 12 and mg.random() < 0.5:
        await charge(f"{order}-{mg.uuid4()}")
    deadline = mg.now() + timedelta(days=3)
    draw = random.Random(order)
    if draw.choice(["charge", "reserve"]) == "reserve":
        await mg.sleep_until(deadline)
        await reserve(f"{order}-{uuid5(NAMESPACE_URL, order)}")
    print("done at", datetime.fromisoformat("2026-11-23"), Path("orders") / order)
