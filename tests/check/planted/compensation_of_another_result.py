"""Copied from another step."""

from dataclasses import dataclass

import makegood as mg
from tests.check.world import bank


@dataclass
class Receipt:
    id: str


@dataclass
class Hold:
    id: str


@mg.step(timeout=10)
async def charge(order: str) -> Receipt:
    return await bank.charge(order, key=mg.idempotency_key())


@charge.compensation
async def refund(hold: Hold | None, order: str) -> None:  # expect: MG206
    await bank.refund(order, key=mg.original_key())


@mg.workflow
async def fulfil(order: str) -> None:
    await charge(order)
