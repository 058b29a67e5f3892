"""Registered before the effect, with a step that copes with none."""

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
async def book(name: str) -> None:
    await shop.book(name, key=mg.idempotency_key())


@mg.step(timeout=10)
async def unbook(name: str) -> None:
    await shop.unbook(name, key=mg.idempotency_key())


@mg.workflow
async def book_one(name: str) -> None:
    await book(name)


@mg.workflow
async def travel(names: list[str]) -> None:
    for name in names:
        mg.on_rollback(unbook, name)
        await book(name)
    mg.on_rollback(unbook, "all")
    await book_one("all")
    await charge("order")
