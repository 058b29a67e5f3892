"""The workflow's own timeout ends it before its waits and attempts can."""

import makegood as mg
from tests.check.world import bank


@mg.step(retry=mg.Retry(delays=[0, 60, 600]), timeout=10)
async def charge(order: str) -> str:
    return await bank.charge(order, key=mg.idempotency_key())


@mg.workflow(timeout=300)
async def fulfil(order: str) -> str:
    await mg.sleep(mg.HOUR)  # expect: MG302
    return await charge(order)  # expect: MG301
