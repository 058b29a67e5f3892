"""Sets that are asked, sorted or counted, and global state that is only read."""

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


KNOWN = {"tea", "silk"}
PRICES = {"tea": 3}


def total(orders: set[str]) -> int:
    return sum(PRICES.get(order, 0) for order in orders)


@mg.workflow
async def fulfil(orders: list[str]) -> int:
    left = set(orders) & KNOWN
    for order in sorted(left):
        await charge(order)
    lengths = []
    for order in left:
        lengths.append(len(order))
    local: dict[str, int] = {}
    local["all"] = total(left) + sum(lengths)
    return local["all"]
