"""The function that it calls has no key either."""

import makegood as mg
from tests.check.world import bank


@mg.step(timeout=10)
async def charge(order: str) -> str:  # expect: MG201
    return await post("/charges", order)


async def post(path: str, body: str) -> str:
    return await bank.post(path, body)


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order)
