"""Transaction steps on a real SQLite file: the SQL, the result and the journal are one commit, or nothing happened."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

import makegood as mg
from tests.store.disk import faulty_disk
from tests.until import parked, until

pytestmark = pytest.mark.anyio


@mg.transaction
def open_accounts(db: mg.Connection) -> None:
    db.execute("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance INTEGER NOT NULL)")
    db.executemany("INSERT INTO accounts VALUES (?, ?)", [("ann", 10), ("bob", 0)])


@mg.transaction(fatal=(ValueError,))
def transfer(db: mg.Connection, source: str, target: str, amount: int = 1) -> int:
    db.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", (amount, source))
    db.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (amount, target))
    [(left,)] = db.execute("SELECT balance FROM accounts WHERE id = ?", (source,))
    if left < 0:
        raise ValueError(f"{source} has not enough")
    return int(left)


@transfer.compensating_transaction
def transfer_back(db: mg.Connection, left: int, source: str, target: str, amount: int = 1) -> None:
    db.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (amount, source))
    db.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", (amount, target))


@mg.transaction(retry=None)
def run_sql(db: mg.Connection, sql: str) -> None:
    db.execute("UPDATE accounts SET balance = 99")
    db.execute(sql)


@mg.workflow
async def bank() -> None:
    await open_accounts()


@mg.workflow
async def pay(*, amount: int) -> int:
    return await transfer("ann", "bob", amount=amount)


@mg.workflow
async def pay_twice(first: int, second: int) -> None:
    await transfer("ann", "bob", first)
    await transfer("ann", "bob", second)


@mg.workflow
async def sql(text: str) -> None:
    await run_sql(text)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "bank.db")


def balances(path: str) -> dict[str, int]:
    connection = apsw.Connection(path)
    try:
        return dict(connection.execute("SELECT id, balance FROM accounts"))
    finally:
        connection.close()


async def test_a_transaction_returns_its_result_and_leaves_its_rows(path: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        assert await engine.run(pay, amount=4) == 6
    assert balances(path) == {"ann": 6, "bob": 4}


async def test_an_exception_rolls_the_sql_back_and_is_a_failure_not_an_unknown(path: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunFailed, match="ann has not enough"):
            await engine.run(pay, amount=11, id="too-much")
        [step] = (await (await engine.get("too-much")).describe()).steps
    assert (step.outcome, step.attempts) == ("not done", 1)
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_a_failed_attempt_is_made_again(path: str) -> None:
    attempts = []

    @mg.transaction(retry=mg.Retry(delays=[0, 0]))
    def second_time_lucky(db: mg.Connection) -> int:
        attempts.append(mg.attempt())
        db.execute("UPDATE accounts SET balance = balance + 1")
        if len(attempts) == 1:
            raise OSError("not now")
        return mg.attempt()

    @mg.workflow
    async def lucky() -> int:
        return await second_time_lucky()

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        assert await engine.run(lucky) == 2
    assert attempts == [1, 2]
    assert balances(path) == {"ann": 11, "bob": 1}


async def test_a_rollback_undoes_it_with_another_transaction(path: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunCompensated) as ended:
            await engine.run(pay_twice, 3, 300)
    assert ended.value.undone == ("transfer",)
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_an_ordinary_compensation_gets_the_result(path: str) -> None:
    given: list[Any] = []

    @mg.transaction
    def book(db: mg.Connection, seat: int) -> str:
        return f"booking {seat}"

    @book.compensation
    async def unbook(booking: str, seat: int) -> None:
        given.append((booking, seat))

    @mg.workflow
    async def book_and_fail() -> None:
        await book(7)
        await run_sql("nonsense")

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunCompensated):
            await engine.run(book_and_fail)
    assert given == [("booking 7", 7)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("COMMIT", "may not COMMIT"),
        ("ROLLBACK", "may not ROLLBACK"),
        ("BEGIN", "may not BEGIN"),
        ("ATTACH ':memory:' AS elsewhere", "may not ATTACH"),
        ("VACUUM", "cannot VACUUM from within a transaction"),
        ("PRAGMA synchronous = OFF", "may not use PRAGMA synchronous"),
        ("DELETE FROM journal", "own table journal"),
        ("SELECT id FROM Runs", "own table runs"),
        ("INSERT INTO journal (run, number, data, hash) VALUES (1, 9, 'x', 'y')", "own table journal"),
        ("DROP TABLE inbox", "own table inbox"),
        ("ALTER TABLE runs RENAME TO walks", "own table runs"),
        ("CREATE TRIGGER t AFTER INSERT ON journal BEGIN SELECT 1; END", "own table journal"),
        ("INSERT OR ROLLBACK INTO accounts VALUES ('ann', 1)", "UNIQUE constraint failed"),
    ],
)
async def test_sql_that_reaches_beyond_the_transaction_is_refused(path: str, text: str, reason: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunFailed, match=reason):
            await engine.run(sql, text, id="refused")
        assert await (await engine.get("refused")).verify() == 2
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_sql_after_the_transaction_rolled_itself_back_is_refused(path: str) -> None:
    @mg.transaction(retry=None)
    def stubborn(db: mg.Connection) -> None:
        try:
            db.execute("INSERT OR ROLLBACK INTO accounts VALUES ('ann', 1)")
        except apsw.ConstraintError:
            db.execute("UPDATE accounts SET balance = 99")

    @mg.workflow
    async def insist() -> None:
        await stubborn()

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunFailed, match="rolled the whole transaction back"):
            await engine.run(insist)
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_a_transaction_beyond_its_time_limit_is_interrupted_and_rolled_back(path: str) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    impatient = run_sql.options(timeout=0.05)

    @mg.workflow
    async def count_for_ever() -> None:
        await impatient(endless)

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunFailed, match=r"not done within 0\.05 s; rolled back"):
            await engine.run(count_for_ever, id="slow")
        [step] = (await (await engine.get("slow")).describe()).steps
    assert step.outcome == "not done"
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_a_result_that_cannot_be_stored_is_rolled_back(path: str) -> None:
    @mg.transaction
    def wrong(db: mg.Connection) -> int:
        db.execute("UPDATE accounts SET balance = 99")
        return "no number"  # type: ignore[return-value]

    @mg.workflow
    async def go_wrong() -> int:
        return await wrong()

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        with pytest.raises(mg.RunFailed, match="does not fit the annotation int"):
            await engine.run(go_wrong)
    assert balances(path) == {"ann": 10, "bob": 0}


async def test_the_connection_ends_with_the_function(path: str) -> None:
    kept = []

    @mg.transaction
    def keep(db: mg.Connection) -> None:
        kept.append(db)

    @mg.workflow
    async def keeping() -> None:
        await keep()

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(keeping)
        with pytest.raises(mg.UsageError, match="a transaction that is over"):
            kept[0].execute("SELECT 1")


async def test_a_memory_store_says_that_it_has_no_transactions() -> None:
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.RunFailed, match="memory:// has no SQL"):
            await engine.run(bank)


async def test_other_runs_go_on_with_the_commit_of_the_transaction(path: str) -> None:
    """Whatever comes up while the function runs waits for it, and for nothing more."""
    entered, leave = threading.Event(), threading.Event()

    @mg.transaction
    def take_time(db: mg.Connection) -> None:
        entered.set()
        leave.wait(20)

    @mg.workflow
    async def slow() -> None:
        await take_time()

    @mg.workflow
    async def quick() -> int:
        return 1

    async with mg.Engine(f"sqlite:///{path}") as engine:
        first = await engine.start(slow)
        await until(entered.is_set)
        others = [asyncio.create_task(engine.run(quick)) for _ in range(50)]
        await asyncio.sleep(0)
        leave.set()
        await first.result()
        assert await asyncio.gather(*others) == [1] * 50


async def test_many_transactions_at_once_are_each_made_once(path: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        await asyncio.gather(*(engine.run(pay, amount=1) for _ in range(10)))
    assert balances(path) == {"ann": 0, "bob": 10}


async def test_a_disk_that_is_full_at_the_commit_costs_nothing_but_time(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    calls = []
    with faulty_disk() as disk:

        @mg.transaction
        def fill(db: mg.Connection) -> int:
            calls.append(mg.attempt())
            db.execute("UPDATE accounts SET balance = balance + 1")
            disk.full = len(calls) == 1
            return len(calls)

        @mg.workflow
        async def filling() -> int:
            return await fill()

        @mg.workflow
        async def quick() -> int:
            return 1

        async with mg.Engine(f"sqlite:///{path}") as engine:
            await engine.run(bank)
            filled = asyncio.create_task(engine.run(filling, id="filling"))
            await until(lambda: calls)
            other = asyncio.create_task(engine.run(quick))
            await until(lambda: disk.refusals)
            disk.full = False
            assert await filled == 2
            assert await other == 1
            assert await (await engine.get("filling")).verify() >= 2
    assert balances(path) == {"ann": 11, "bob": 1}


async def test_a_parked_transaction_can_be_resolved(path: str) -> None:
    broken = run_sql.options(on_exhausted="park")

    @mg.workflow
    async def parking() -> None:
        await broken("nonsense")

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        run = await engine.start(parking)
        await parked(run)
        await run.resolve(None, why="done by hand")
        await run.result()


async def test_a_transaction_that_nobody_waits_for_any_more_is_not_begun(path: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    @mg.transaction
    def take_time(db: mg.Connection) -> None:
        entered.set()
        leave.wait(20)

    @mg.workflow
    async def both() -> None:
        await asyncio.gather(take_time(), transfer("ann", "bob", 1))

    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(bank)
        run = await engine.start(both)
        await until(entered.is_set)
        cancelling = asyncio.create_task(run.cancel("changed my mind"))
        await asyncio.sleep(0)
        leave.set()
        await cancelling
        with pytest.raises(mg.RunCancelled):
            await run.result()
        assert [(step.name, step.state) for step in (await run.describe()).steps] == [
            ("take_time", "done"),
            ("transfer", "failed"),
        ]
    assert balances(path) == {"ann": 10, "bob": 0}
