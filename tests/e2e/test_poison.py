"""A step that takes its process down: real processes, until the run is parked."""

import asyncio
import subprocess
import sys
from pathlib import Path

import makegood as mg

PROGRAM = """
import asyncio, os
import makegood as mg
from makegood.engine import retrying

retrying.LOST_WAITS_SECONDS = (0.0, 0.0, 0.1, 0.1)

@mg.step
async def poison(what: str) -> str:
    if os.path.exists("antidote"):
        return f"{what} survived"
    os._exit(9)

@mg.step
async def harmless(what: str) -> str:
    return f"{what} done"

@mg.workflow
async def deadly(what: str) -> str:
    return await poison(what)

@mg.workflow
async def peaceful(what: str) -> str:
    return await harmless(what)

async def main() -> None:
    async with mg.Engine("sqlite:///poison.db", [deadly, peaceful]) as engine:
        run = await engine.start(deadly, "d", id="deadly")
        while not (await run.describe()).parked:
            await asyncio.sleep(0.01)
        print(await engine.run(peaceful, "p", id="peaceful"), flush=True)

asyncio.run(main())
"""
DEATHS = 5


def test_the_run_is_parked_after_five_processes_and_the_sixth_lives(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)

    def process() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert [process().returncode for _ in range(DEATHS)] == [9] * DEATHS
    survivor = process()
    assert survivor.returncode == 0, survivor.stderr
    assert survivor.stdout == "p done\n"

    async def look() -> str:
        async with mg.Engine(f"sqlite:///{tmp_path}/poison.db", work=False) as engine:
            run = await engine.get("deadly")
            return (await run.describe()).parked["poison"]

    assert f"{DEATHS} attempts of step poison in a row" in asyncio.run(look())
