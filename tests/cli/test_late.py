"""What ``makegood show`` and ``history`` tell of attempts that went on after they were given up on."""

from __future__ import annotations

import asyncio
import json
import threading

import makegood as mg


def record_a_late_result(url: str) -> None:
    go = threading.Event()

    @mg.step(timeout=0.02, retry=None)
    def charge() -> str:
        go.wait(10)
        return "receipt-1"

    @charge.compensation
    async def refund(receipt: str | None) -> None: ...

    @mg.workflow
    async def pay() -> str:
        return await charge()

    async def main() -> None:
        async with mg.Engine(url) as engine:
            run = await engine.start(pay, id="pay-1")
            try:
                await run.result()
            except mg.RunCompensated:
                go.set()
            async with asyncio.timeout(10):
                while (await run.describe()).late[0].outcome == "running":  # noqa: ASYNC110 - as an onlooker would
                    await asyncio.sleep(0.005)
            try:
                await run.result()
            except mg.RunCompensated:
                return

    asyncio.run(main())


def test_a_late_result_is_shown(makegood, tmp_path):
    url = f"sqlite:///{tmp_path}/late.db"
    record_a_late_result(url)
    shown = makegood("show", "pay-1", "--store", url).out
    assert "attempt 1 ended late at" in shown
    assert 'done: "receipt-1"' in shown
    [late] = json.loads(makegood("show", "pay-1", "--store", url, "--json").out)["late"]
    assert (late["name"], late["outcome"], late["result"]) == ("charge", "done", "receipt-1")
    assert "AttemptEndedLate" in makegood("history", "pay-1", "--store", url).out
