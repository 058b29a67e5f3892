"""``engine.start(…, connection=…)``: the run exists if and only if the caller's own transaction commits."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import makegood as mg

pytestmark = pytest.mark.anyio

Connect = Callable[[str], Any]


@mg.step
async def ship(order: str) -> str:
    return f"{order} shipped"


@mg.workflow
async def fulfil(order: str) -> str:
    return await ship(order)


@mg.workflow
async def another(order: str) -> str:
    return order


def with_dictionaries(path: str) -> apsw.Connection:
    connection = apsw.Connection(path)
    connection.row_trace = lambda cursor, row: dict(zip([c[0] for c in cursor.description], row, strict=True))
    return connection


@pytest.fixture(params=[apsw.Connection, with_dictionaries], ids=["tuples", "dictionaries"])
def connect(request: pytest.FixtureRequest) -> Connect:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "orders.db")


@pytest.fixture
async def engine(path: str) -> AsyncIterator[mg.Engine]:
    async with mg.Engine(f"sqlite:///{path}") as opened:
        yield opened


async def ids(engine: mg.Engine) -> list[str]:
    return [run.id for run in await engine.list()]


async def test_the_run_begins_when_the_transaction_commits(
    engine: mg.Engine, path: str, connect: Connect
) -> None:
    connection = connect(path)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE orders (id TEXT)")
    connection.execute("INSERT INTO orders VALUES ('42')")
    run = await engine.start(fulfil, "42", id="order-42", connection=connection)
    assert await ids(engine) == []
    connection.execute("COMMIT")
    assert await ids(engine) == ["order-42"]
    async with asyncio.timeout(5):
        assert await run.result() == "42 shipped"
    assert await run.verify() >= 2
    connection.close()


async def test_no_run_exists_when_the_transaction_rolls_back(
    engine: mg.Engine, path: str, connect: Connect
) -> None:
    connection = connect(path)
    connection.execute("BEGIN IMMEDIATE")
    run = await engine.start(fulfil, "42", id="order-42", connection=connection)
    connection.execute("ROLLBACK")
    connection.close()
    assert await ids(engine) == []
    with pytest.raises(mg.RunNotFound):
        await run.result()


async def test_a_client_starts_runs_for_the_worker_of_another_process(path: str, connect: Connect) -> None:
    async with mg.Engine(f"sqlite:///{path}", work=False) as client:
        connection = connect(path)
        connection.execute("BEGIN IMMEDIATE")
        await client.start(fulfil, "42", id="order-42", connection=connection)
        connection.execute("COMMIT")
        connection.close()
    async with mg.Engine(f"sqlite:///{path}", [fulfil]) as engine:
        assert await (await engine.get("order-42")).result() == "42 shipped"


async def test_several_runs_in_one_transaction(engine: mg.Engine, path: str) -> None:
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    runs = [await engine.start(fulfil, str(n), connection=connection) for n in range(20)]
    connection.execute("COMMIT")
    connection.close()
    assert [await run.result() for run in runs] == [f"{n} shipped" for n in range(20)]


async def test_the_same_id_and_input_is_the_same_run(engine: mg.Engine, path: str) -> None:
    await engine.run(fulfil, "42", id="order-42")
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    again = await engine.start(fulfil, "42", id="order-42", connection=connection)
    twice = [await engine.start(fulfil, "43", id="order-43", connection=connection) for _ in range(2)]
    connection.execute("COMMIT")
    connection.close()
    assert await again.result() == "42 shipped"
    assert [await run.result() for run in twice] == ["43 shipped"] * 2


async def test_a_conflict_of_ids_leaves_the_transaction_as_it_was(engine: mg.Engine, path: str) -> None:
    await engine.run(fulfil, "42", id="order-42")
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE orders (id TEXT)")
    with pytest.raises(mg.RunConflict, match="another input"):
        await engine.start(fulfil, "43", id="order-42", connection=connection)
    with pytest.raises(mg.RunConflict, match="of workflow fulfil, not another"):
        await engine.start(another, "42", id="order-42", connection=connection)
    connection.execute("COMMIT")
    assert connection.execute("SELECT count(*) FROM orders").get == 0
    connection.close()


async def test_a_connection_to_another_database_is_refused(engine: mg.Engine, tmp_path: Path) -> None:
    for place in (str(tmp_path / "other.db"), ":memory:"):
        connection = apsw.Connection(place)
        connection.execute("BEGIN")
        with pytest.raises(mg.UsageError, match="cannot span two databases"):
            await engine.start(fulfil, "42", connection=connection)
        connection.close()


async def test_a_connection_without_a_transaction_is_refused(
    engine: mg.Engine, path: str, connect: Connect
) -> None:
    connection = connect(path)
    with pytest.raises(mg.UsageError, match="no transaction open"):
        await engine.start(fulfil, "42", connection=connection)
    connection.close()
    assert await ids(engine) == []


async def test_a_transaction_that_cannot_become_a_writer_is_told_so(engine: mg.Engine, path: str) -> None:
    reader, writer = apsw.Connection(path), apsw.Connection(path)
    reader.execute("BEGIN")
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(mg.StoreLocked, match="BEGIN IMMEDIATE"):
        await engine.start(fulfil, "42", connection=reader)
    writer.execute("ROLLBACK")
    reader.close()
    writer.close()


async def test_a_connection_of_another_sqlite_library_is_refused(engine: mg.Engine, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "another.db")
    with pytest.raises(mg.UsageError, match="do not see each other's locks"):
        await engine.start(fulfil, "42", connection=connection)  # type: ignore[arg-type]
    connection.close()


async def test_what_is_no_connection_is_refused(engine: mg.Engine) -> None:
    with pytest.raises(mg.UsageError, match="give an apsw connection"):
        await engine.start(fulfil, "42", connection="orders.db")  # type: ignore[arg-type]


async def test_a_memory_store_has_no_transactions() -> None:
    connection = apsw.Connection(":memory:")
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.UsageError, match="memory:// has no transactions"):
            await engine.start(fulfil, "42", connection=connection)
    connection.close()
