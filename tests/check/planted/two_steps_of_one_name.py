"""The journal could not tell them apart."""

import makegood as mg


@mg.step(name="charge")
async def charge_card(order: str) -> str:
    return order


@mg.step(name="charge")
async def charge_account(order: str) -> str:
    return order


@mg.workflow
async def fulfil(order: str) -> str:  # expect: MG001
    return await charge_card(order) + await charge_account(order)
