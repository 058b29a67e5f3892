"""It waits a day inside an hour."""

import asyncio

import makegood as mg


Answer = mg.Signal("answer", bool)


@mg.workflow
async def ask() -> bool:
    async with asyncio.timeout(mg.HOUR):
        return await Answer.receive(timeout=mg.DAY)  # expect: MG302
