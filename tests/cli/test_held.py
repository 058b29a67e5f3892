"""What ``makegood show`` and ``history`` tell of a run that a breaker holds."""

from __future__ import annotations

import asyncio

import makegood as mg
from tests.until import eventually


@mg.step(breaker=mg.Breaker("payments", failures=1))
async def charge() -> str:
    raise ConnectionError("no route to the bank")


@mg.workflow
async def pay() -> str:
    return await charge()


def hold_a_run(url: str) -> None:
    async def main() -> None:
        async with mg.Engine(url) as engine:
            run = await engine.start(pay, id="pay-1")

            async def is_held() -> bool:
                return "breaker payments" in (await run.describe()).waiting_for

            await eventually(is_held)

    asyncio.run(main())


def test_it_is_shown_what_holds_a_run(makegood, tmp_path):
    url = f"sqlite:///{tmp_path}/held.db"
    hold_a_run(url)
    shown = makegood("show", "pay-1", "--store", url, "--json").json

    assert "step charge" in shown["waiting_for"]
    assert "held by breaker payments" in shown["waiting_for"]
    assert "breaker payments" in makegood("show", "pay-1", "--store", url).out
    [failed] = [
        item
        for item in makegood("history", "pay-1", "--store", url, "--json").json
        if item["event"] == "AttemptFailed"
    ]
    assert failed["fields"]["held"] == "breaker payments"
