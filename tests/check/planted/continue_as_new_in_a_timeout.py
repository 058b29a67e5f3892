"""A timer is still under way."""

import asyncio

import makegood as mg


@mg.workflow
async def poll(seen: int = 0) -> None:
    async with asyncio.timeout(2 * mg.HOUR):
        await mg.sleep(mg.HOUR)
        mg.continue_as_new(seen + 1)  # expect: MG107
