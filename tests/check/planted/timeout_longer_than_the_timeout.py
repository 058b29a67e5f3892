"""The inner one never comes."""

import asyncio
from datetime import timedelta

import makegood as mg


Answer = mg.Signal("answer", bool)


@mg.workflow
async def ask() -> bool:
    async with asyncio.timeout(mg.HOUR):
        async with asyncio.timeout(timedelta(days=1)):  # expect: MG302
            return await Answer.receive()
