"""A step that only reads needs no compensation and no key, and says so."""

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
async def look_up(order: str) -> str:  # makegood: no effect
    return await shop.search(order)


@mg.step(timeout=10)  # makegood: ignore[MG101, MG201] an opened parcel box closes by itself
async def open_box(order: str) -> str:
    return await shop.open_box(order)


@mg.step(timeout=10)
async def prices(order: str) -> str:
    return await shop.get(f"/prices/{order}")


@mg.workflow
async def fulfil(order: str) -> None:
    await look_up(order)
    await open_box(order)
    await prices(order)
    await charge(order)
    await reserve(order)
