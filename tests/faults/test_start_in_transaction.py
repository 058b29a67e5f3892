"""``engine.start(connection=…)``: the caller's row and the run exist together or not at all, wherever the process dies."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

PROGRAM = """
import asyncio, os, sys
import apsw
import makegood as mg

@mg.step
async def ship(order: str) -> str:
    with apsw.Connection("shop.db") as connection:
        connection.set_busy_timeout(10_000)
        connection.execute("INSERT OR IGNORE INTO shipped VALUES (?)", (mg.idempotency_key(),))
    return order

@mg.workflow
async def fulfil(order: str) -> str:
    return await ship(order)

def die(moment: str) -> None:
    if sys.argv[1:] == [moment]:
        os._exit(9)

async def main() -> None:
    async with mg.Engine("sqlite:///shop.db", [fulfil]) as engine:
        connection = apsw.Connection("shop.db")
        connection.set_busy_timeout(10_000)
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id)")
        connection.execute("CREATE TABLE IF NOT EXISTS shipped (key PRIMARY KEY)")
        if sys.argv[1:]:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO orders VALUES ('o-1')")
            die("before the start")
            run = await engine.start(fulfil, "o-1", id="o-1", connection=connection)
            die("before the commit")
            connection.execute("COMMIT")
            die("after the commit")
            await run.result()
            die("after the end")
        for one in await engine.list():
            await (await engine.get(one.id)).result()

asyncio.run(main())
"""
MOMENTS = {"before the start": 0, "before the commit": 0, "after the commit": 1, "after the end": 1}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_every_moment_of_the_callers_transaction(moment: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)

    def process(*arguments: str) -> int:
        command = [sys.executable, "program.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, timeout=60).returncode

    assert process(moment) == 9
    assert process() == 0
    with closing(apsw.Connection(str(tmp_path / "shop.db"))) as connection:
        asked = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM shipped), (SELECT count(*) FROM runs)"
        assert connection.execute(asked).get == (MOMENTS[moment],) * 3
