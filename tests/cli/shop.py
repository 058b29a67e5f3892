"""The module that the commands under test are given. Files in the current directory stand for the world outside.

Each effect adds a line to ``effects``; a file named like a step or compensation makes that fail; ``hold`` makes
charge wait until it is gone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import makegood as mg

CHARGING = Path("charging")
HOLD = Path("hold")
ORDER = '{"id": "a", "total": "9.50"}'


def effect(name: str) -> None:
    if Path(name).exists():
        raise ConnectionError(Path(name).read_text())
    with Path("effects").open("a") as effects:
        effects.write(f"{name}\n")


@dataclass
class Order:
    id: str
    total: Decimal


@mg.step(retry=None)
async def charge(order: Order) -> str:
    CHARGING.touch()  # noqa: ASYNC240 - as quick as it is
    while HOLD.exists():  # noqa: ASYNC110, ASYNC240 - another process takes the file away
        await asyncio.sleep(0.01)
    effect("charge")
    return f"receipt {order.id}"


@charge.compensation(retry=None)
async def refund(_receipt: str | None, order: Order) -> None:
    effect("refund")


@mg.step(retry=None)
async def ship(order: Order) -> str:
    effect("ship")
    return f"{order.id} shipped for {order.total + 1}"


@mg.step(retry=None, critical=False)
async def thank(order: Order) -> None:
    effect("thank")


@mg.step(retry=None, on_exhausted="park")
async def approve(who: str) -> str:
    effect("approve")
    return f"approved by {who}"


@mg.step(retry=None)
async def sign(_paper: str) -> str | mg.Pending:
    Path("token").write_text(mg.completion_token())  # noqa: ASYNC240 - as quick as it is
    return mg.PENDING


@mg.workflow
async def fulfil(order: Order) -> str:
    await charge(order)
    label = await ship(order)
    await thank(order)
    return label


@mg.workflow
async def track(order: Order) -> None:
    mg.update_view(order=order.id, status="new", steps_pending=["charge", "ship"])
    await charge(order)
    mg.update_view(status="paid", total=order.total)
    await ship(order)


@mg.workflow(name="approval")
async def ask(who: str, times: int = 1) -> str:
    return " and ".join([await approve(who) or "nobody" for _ in range(times)])


HostDecision = mg.Signal("host_decision", bool)


@mg.workflow
async def visit(guest: str) -> str:
    return f"{guest} is {'welcome' if await HostDecision.receive() else 'turned away'}"


@mg.step
async def announce() -> None:
    CHARGING.touch()  # noqa: ASYNC240 - as quick as it is


Rename = mg.Update("rename", str, str)


@mg.workflow
async def register(guest: str) -> str:
    done = asyncio.Event()

    def check(name: str) -> None:
        if not name:
            raise ValueError("everybody has a name")

    @Rename.handler(validator=check)
    async def rename(name: str) -> str:
        nonlocal guest
        if name == "nobody":
            raise RuntimeError("nobody is nobody")
        before, guest = guest, name
        done.set()
        return f"{before} is {name} now"

    await announce()
    await done.wait()
    await asyncio.sleep(0.1)
    return guest


@mg.workflow
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@mg.workflow
async def spread(*, width: int) -> list[str]:
    return [f"{await approve(str(number))}" for number in range(width)]


@mg.workflow
async def basket(order: Order) -> str:
    return await fulfil(order)


@mg.workflow
async def sign_off(paper: str) -> str:
    return f"{paper} {await sign(paper)}"
