"""Whoever edits a journal is found out, and such a run is never silently replayed; the others go on."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

import makegood as mg
from makegood.engine.journal import Entry, RunCompleted, RunStarted, StepCompleted, TimerFired
from makegood.store.codec import FIRST_HASH, seal, unseal
from makegood.store.sqlite import SqliteStore
from tests.until import parked

pytestmark = pytest.mark.anyio

NULL = msgspec.Raw(b"null")


@mg.step
async def charge(amount: int) -> int:
    CHARGED.append(amount)
    return amount


@mg.step(on_exhausted="park", retry=None)
async def approve(amount: int) -> int:
    raise RuntimeError("nobody has approved it")


CHARGED: list[int] = []


@mg.workflow
async def payment(amount: int) -> int:
    await charge(amount)
    return await approve(amount)


@pytest.fixture
async def path(tmp_path: Path) -> str:
    """Three runs that have charged and wait for an approval."""
    path = str(tmp_path / "orders.db")
    async with mg.Engine(f"sqlite:///{path}") as engine:
        for amount in (1, 2, 3):
            run = await engine.start(payment, amount, id=f"order-{amount}")
            await parked(run)
    CHARGED.clear()
    return path


def edit(path: str, sql: str) -> None:
    with closing(apsw.Connection(path)) as connection:
        connection.execute(sql)
        assert connection.total_changes() > 0


TAMPERINGS = {
    "an edited amount": (
        "UPDATE journal SET data = CAST(replace(data, '[2]', '[9]') AS BLOB) WHERE run = 2 AND number = 1",
        "entry 1 was altered",
    ),
    "an entry of another type": (
        "UPDATE journal SET data = CAST(data AS TEXT) WHERE run = 2 AND number = 1",
        "entry 1 was altered",
    ),
    "an edited result": (
        "UPDATE journal SET data = CAST(replace(data, '2', '9') AS BLOB) WHERE run = 2 AND number = 2",
        "entry 2 was altered",
    ),
    "a deleted entry": ("DELETE FROM journal WHERE run = 2 AND number = 2", "entry 2 is missing"),
    "a deleted first entry": ("DELETE FROM journal WHERE run = 2 AND number = 1", "entry 1 is missing"),
    "a deleted journal": ("DELETE FROM journal WHERE run = 2", "is empty"),
    "an edited hash": (
        "UPDATE journal SET hash = zeroblob(32) WHERE run = 2 AND number = 1",
        "entry 1 was altered",
    ),
    "swapped entries": (
        """UPDATE journal SET number = -number WHERE run = 2 AND number < 3;
        UPDATE journal SET number = 3 + number WHERE run = 2 AND number < 0""",
        "entry 1 was altered",
    ),
    "another run's journal": (
        "DELETE FROM journal WHERE run = 2; UPDATE journal SET run = 2 WHERE run = 3",
        "order-3",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_verify_says_which_entry_was_tampered_with(path: str, tampering: str) -> None:
    sql, message = TAMPERINGS[tampering]
    edit(path, sql)
    async with mg.Engine(f"sqlite:///{path}", work=False) as engine:
        with pytest.raises(mg.JournalCorrupt, match=message):
            await (await engine.get("order-2")).verify()
        assert await (await engine.get("order-1")).verify() > 0


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_tampered_run_is_not_replayed_and_the_others_go_on(path: str, tampering: str) -> None:
    sql, _ = TAMPERINGS[tampering]
    edit(path, sql)
    with closing(apsw.Connection(path)) as connection:
        before = connection.execute("SELECT * FROM journal WHERE run = 2").fetchall()
    async with mg.Engine(f"sqlite:///{path}", [payment]) as engine:
        first = await engine.get("order-1")
        await first.resolve(1)
        assert await first.result() == 1
        broken = await engine.get("order-2")
        for action in (broken.retry, broken.skip, broken.resolve, broken.cancel):
            with pytest.raises(mg.NotPossible):
                await action()
        assert await engine.run(greeting, "still here") == "still here"
    with closing(apsw.Connection(path)) as connection:
        assert connection.execute("SELECT * FROM journal WHERE run = 2").fetchall() == before
    assert CHARGED == []


@mg.workflow
async def greeting(text: str) -> str:
    return text


NONSENSE: dict[str, Callable[[], Entry]] = {
    "a result of no step": lambda: Entry(1.0, 1, [StepCompleted(7, 1, NULL)]),
    "a timer that never was": lambda: Entry(1.0, 1, [TimerFired(7)]),
    "an ending too early": lambda: Entry(1.0, 1, [RunCompleted(NULL)]),
    "a second start": lambda: Entry(1.0, 1, [RunStarted("order-2", "payment", msgspec.Raw(b"[2]"))]),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_journal_that_makes_no_sense_harms_no_other_run(path: str, nonsense: str) -> None:
    """Its hashes are right: whoever wrote it knows how to compute them, or is a faulty makegood."""
    store = SqliteStore(path)
    await store.open()
    row = await store.find("order-2")
    assert row is not None
    last = (await store.journal(row.key))[-1]
    await store.close()
    sealed = seal(NONSENSE[nonsense](), last.number + 1, last.hash)
    with closing(apsw.Connection(path)) as connection:
        connection.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?)", (row.key, sealed.number, sealed.data, sealed.hash)
        )
    async with mg.Engine(f"sqlite:///{path}", [payment]) as engine:
        first = await engine.get("order-1")
        await first.resolve(1)
        assert await first.result() == 1
    assert CHARGED == []


def test_sealed_entries_are_read_back() -> None:
    entries = [
        Entry(1.0, 1, [RunStarted("order-1", "payment", msgspec.Raw(b"[1]"))]),
        Entry(2.0, 1, [TimerFired(2)]),
    ]
    first = seal(entries[0], 1, FIRST_HASH)
    second = seal(entries[1], 2, first.hash)
    assert unseal("order-1", [first, second]) == entries
    assert first.hash != second.hash


def test_an_entry_from_elsewhere_does_not_fit_the_chain() -> None:
    first = seal(Entry(1.0, 1, [TimerFired(1)]), 1, FIRST_HASH)
    elsewhere = seal(Entry(1.0, 1, [TimerFired(9)]), 1, FIRST_HASH)
    second = seal(Entry(2.0, 1, [TimerFired(2)]), 2, elsewhere.hash)
    with pytest.raises(mg.JournalCorrupt, match="entry 2 was altered"):
        unseal("order-1", [first, second])
