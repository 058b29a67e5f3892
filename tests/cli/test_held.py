"""What ``makegood show`` and ``history`` tell of a run that a breaker holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import makegood as mg
from tests.until import eventually


@mg.step(breaker=mg.Breaker("payments", failures=1))
async def charge() -> str:
    raise ConnectionError("no route to the bank")


@mg.workflow
async def pay() -> str:
    return await charge()


def while_it_is_held(url: str, look: Callable[[], Any]) -> Any:
    """What there is to see, in another thread, of a run that its worker holds."""

    async def main() -> Any:
        async with mg.Engine(url) as engine:
            run = await engine.start(pay, id="pay-1")

            async def is_held() -> bool:
                return "breaker payments" in (await run.describe()).waiting_for

            await eventually(is_held)
            return await asyncio.to_thread(look)

    return asyncio.run(main())


def test_it_is_shown_what_holds_a_run(makegood, tmp_path):
    url = f"sqlite:///{tmp_path}/held.db"
    shown = while_it_is_held(url, lambda: makegood("show", "pay-1", "--store", url, "--json")).json

    assert "step charge: attempt 2 held by breaker payments since" in shown["waiting_for"]


def test_its_history_tells_that_the_failure_does_not_count(makegood, tmp_path):
    url = f"sqlite:///{tmp_path}/held.db"
    history = while_it_is_held(url, lambda: makegood("history", "pay-1", "--store", url, "--json")).json

    [failed] = [item for item in history if item["event"] == "AttemptFailed"]
    assert failed["fields"]["held"] == "breaker payments"
