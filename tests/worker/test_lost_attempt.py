"""A run whose worker ended in the middle of an attempt goes on with the next worker."""

import asyncio
from pathlib import Path

import makegood as mg


def test_an_attempt_lost_with_its_worker_is_looked_for_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    looked = 0

    async def main() -> str:
        begun = asyncio.Event()

        @mg.step
        async def charge() -> str:
            begun.set()
            await asyncio.Event().wait()
            return "never"

        @charge.probe
        async def find_charge() -> str:
            nonlocal looked
            looked += 1
            await asyncio.sleep(0.05)  # long enough for the record of the loss to become durable meanwhile
            return "ch_1"

        @mg.workflow
        async def order() -> str:
            return await charge()

        async with mg.Engine(url, [order], grace_seconds=0) as engine:
            await engine.start(order, id="order-1")
            await begun.wait()
        async with mg.Engine(url, [order]) as engine, asyncio.timeout(10):
            return await (await engine.get("order-1")).result()

    assert asyncio.run(main()) == "ch_1"
    assert looked == 1
