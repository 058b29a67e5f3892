"""A missed step is tried again, and the process is killed in the middle of that: real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys
import makegood as mg

def effect() -> None:
    with open("effects", "a") as effects:
        effects.write(mg.idempotency_key() + "\\n")

@mg.step(critical=False, retry=None)
async def email(order: str) -> str:
    if sys.argv[1] == "miss":
        raise ConnectionError("the mail server is down")
    if sys.argv[1] == "die before":
        os._exit(9)
    effect()
    if sys.argv[1] == "die after":
        os._exit(9)
    return "sent"

@mg.workflow
async def fulfil(order: str) -> str:
    await email(order)
    return order

async def main() -> None:
    async with mg.Engine("sqlite:///orders.db", [fulfil]) as engine:
        if sys.argv[1] == "miss":
            await engine.run(fulfil, "o-1", id="o-1")
            return
        run = await engine.get("o-1")
        if sys.argv[1] != "go on":
            await run.retry_missed(why="the mail server is back")
        while (await run.describe()).missed:
            await asyncio.sleep(0.01)
        for item in await run.history():
            print(item.event, item.fields.get("failure"))
        await run.verify()

asyncio.run(main())
"""


@pytest.mark.parametrize(("death", "effects"), [("die before", 1), ("die after", 2)])
def test_the_next_worker_goes_on_with_it(death: str, effects: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)

    def process(mode: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "program.py", mode]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert process("miss").returncode == 0
    assert process(death).returncode == 9
    told = process("go on")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "MissedStepRetried None"
    assert told.stdout.count("MissedStepRetried") == 1
    assert (tmp_path / "effects").read_text().splitlines() == ["o-1/1/email"] * effects
