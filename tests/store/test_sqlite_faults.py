"""The SQLite store on a disk that is full, broken or slow, and on a file that somebody else has locked."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import makegood as mg
from makegood.store import sqlite_writer
from makegood.store.protocol import RunRow, Write
from makegood.store.sqlite import SqliteStore
from makegood.worker import committer, worker
from tests.contract.scripts import Script
from tests.store.disk import Disk, faulty_disk
from tests.until import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "orders.db")


@mg.step
async def greet(name: str) -> str:
    return f"hello {name}"


@mg.workflow
async def greeting(name: str) -> str:
    return await greet(name)


async def worker_of(path: str) -> tuple[SqliteStore, int]:
    store = SqliteStore(path)
    await store.open()
    epoch = await store.take_over("tester")
    assert epoch is not None
    return store, epoch


# ---- full ------------------------------------------------------------


async def test_a_full_disk_refuses_the_whole_commit_and_takes_it_when_freed(path: str, disk: Disk) -> None:
    store, epoch = await worker_of(path)
    script, new = Script("order-1"), Script("order-2").create(b"new")
    await store.commit(epoch, [script.create()])
    disk.full = True
    batch = [script.append(b"more"), new]
    with pytest.raises(mg.StoreFull, match="Free some space"):
        await store.commit(epoch, batch)
    disk.full = False
    assert await store.find("order-2") is None
    assert await store.commit(epoch, batch) == []
    row = await store.find("order-2")
    assert row is not None
    assert [entry.data for entry in await store.journal(row.key)] == [b"new"]
    await store.close()


async def test_a_database_at_its_page_limit_refuses_the_whole_commit(path: str) -> None:
    store, epoch = await worker_of(path)
    connection = store._writer.connection
    connection.pragma("max_page_count", connection.pragma("page_count"))
    batch = [Script(f"order-{number}").create(b"x" * 10_000) for number in range(10)]
    with pytest.raises(mg.StoreFull):
        await store.commit(epoch, batch)
    assert await store.list() == []
    connection.pragma("max_page_count", 1_000_000)
    assert await store.commit(epoch, batch) == []
    assert len(await store.list()) == 10
    await store.close()


async def test_runs_wait_while_the_disk_is_full_and_go_on_by_themselves(
    path: str, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "REFUSED_WAIT_SECONDS", 0.01)
    async with mg.Engine(f"sqlite:///{path}") as engine:
        disk.full = True
        starting = [asyncio.create_task(engine.run(greeting, str(n), id=f"run-{n}")) for n in range(20)]
        await until(lambda: disk.refusals >= 3)
        assert not any(task.done() for task in starting)
        disk.full = False
        assert await asyncio.gather(*starting) == [f"hello {n}" for n in range(20)]
        assert len(await engine.list(status="COMPLETED")) == 20


async def test_an_engine_on_a_full_disk_can_be_closed(
    path: str, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FLUSH_SECONDS", 0.05)
    engine = mg.Engine(f"sqlite:///{path}", grace_seconds=0.05)
    async with engine:
        disk.full = True
        starting = asyncio.create_task(engine.start(greeting, "world", id="run-1"))
        await until(lambda: disk.refusals)
    with pytest.raises(mg.StoreError):
        await starting
    disk.full = False
    async with mg.Engine(f"sqlite:///{path}") as engine:
        assert await engine.run(greeting, "world", id="run-1") == "hello world"


async def test_an_engine_that_cannot_take_over_holds_on_to_nothing(path: str, disk: Disk) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        await engine.run(greeting, "world", id="run-1")
    failed = mg.Engine(f"sqlite:///{path}")
    disk.full = True
    with pytest.raises(mg.StoreFull):
        await failed.__aenter__()
    disk.full = False
    async with mg.Engine(f"sqlite:///{path}") as engine:
        assert await engine.run(greeting, "again", id="run-2") == "hello again"


# ---- broken ------------------------------------------------------------


async def test_nothing_is_acknowledged_that_the_disk_did_not_confirm(path: str, disk: Disk) -> None:
    async with mg.Engine(f"sqlite:///{path}", grace_seconds=0) as engine:
        await engine.run(greeting, "before", id="before")
        disk.broken = True
        waiting = [asyncio.create_task(engine.run(greeting, str(n), id=f"run-{n}")) for n in range(5)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, mg.StoreError) for outcome in outcomes), outcomes
        with pytest.raises(mg.StoreError, match=r"has stopped.*the disk failed"):
            await engine.start(greeting, "after", id="after")
        with pytest.raises(mg.StoreError, match="has stopped"):
            await (await engine.get("before")).cancel()
    disk.broken = False
    async with mg.Engine(f"sqlite:///{path}", [greeting]) as engine:
        assert await (await engine.get("before")).result() == "hello before"
        for n in range(5):
            assert await engine.run(greeting, str(n), id=f"run-{n}") == f"hello {n}"
        for run in await engine.list():
            await (await engine.get(run.id)).verify()


async def test_whoever_waits_gets_an_error_when_the_disk_breaks(path: str, disk: Disk) -> None:
    release = asyncio.Event()

    @mg.step
    async def wait() -> None:
        await release.wait()

    @mg.workflow
    async def waiting() -> None:
        await wait()

    async with mg.Engine(f"sqlite:///{path}", grace_seconds=0) as engine:
        run = await engine.start(waiting, id="waits")
        result = asyncio.create_task(run.result())
        cancelling = asyncio.create_task(run.cancel())
        disk.broken = True
        for pending in (cancelling, result):
            with pytest.raises(mg.StoreError, match="the disk failed"):
                await asyncio.wait_for(pending, 5)
    disk.broken = False


async def test_each_commit_is_one_fsync(path: str, disk: Disk) -> None:
    store, epoch = await worker_of(path)
    scripts = [Script(f"order-{number}") for number in range(100)]
    await store.commit(epoch, [script.create() for script in scripts])
    before = disk.syncs
    for _ in range(5):
        await store.commit(epoch, [script.append() for script in scripts])
    assert disk.syncs - before == 5
    await store.close()


# ---- slow ------------------------------------------------------------


@pytest.fixture
def slow(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Every commit waits for the disk in a thread; ``flowing`` says when the disk answers."""
    monkeypatch.setattr(sqlite_writer, "SLOW_DISK_SECONDS", 0.0)
    return disk


async def stalled(store: SqliteStore, epoch: int, write: Write, disk: Disk) -> "asyncio.Task[list[Write]]":
    """A commit that is on its way to the disk."""
    disk.waiting.clear()
    disk.flowing.clear()
    committing = asyncio.create_task(store.commit(epoch, [write]))
    await until(disk.waiting.is_set)
    return committing


async def test_what_is_not_durable_yet_is_not_seen(path: str, slow: Disk) -> None:
    store, epoch = await worker_of(path)
    committing = await stalled(store, epoch, Script("order-1").create(), slow)
    assert await store.find("order-1") is None
    assert await store.list() == []
    assert await store.unadopted(epoch + 1) == []
    assert await store.journal(1) == []
    slow.flowing.set()
    await committing
    assert await store.find("order-1") is not None
    await store.close()


async def test_the_event_loop_runs_while_the_disk_is_slow(path: str, slow: Disk) -> None:
    store, epoch = await worker_of(path)
    committing = await stalled(store, epoch, Script("order-1").create(), slow)
    changed = asyncio.create_task(store.next_change(-1))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not committing.done()
    slow.flowing.set()
    await committing
    assert await changed >= 0
    await store.close()


async def test_a_commit_whose_caller_gave_up_is_finished_before_the_next(path: str, slow: Disk) -> None:
    store, epoch = await worker_of(path)
    first = await stalled(store, epoch, Script("order-1").create(), slow)
    second = asyncio.create_task(store.commit(epoch, [Script("order-2").create()]))
    first.cancel()
    await asyncio.sleep(0)
    first.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not first.done()
    slow.flowing.set()
    assert await second == []
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [row.id for row in await store.list()] == ["order-2", "order-1"]
    await store.close()


async def test_closing_waits_for_a_commit_under_way(path: str, slow: Disk) -> None:
    store, epoch = await worker_of(path)
    committing = await stalled(store, epoch, Script("order-1").create(), slow)
    closing_ = asyncio.create_task(store.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing_.done()
    slow.flowing.set()
    await asyncio.gather(committing, closing_)
    store, _ = await worker_of(path)
    assert isinstance(await store.find("order-1"), RunRow)
    await store.close()


async def test_an_engine_works_on_a_slow_disk(path: str, slow: Disk) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        results = await asyncio.gather(*(engine.run(greeting, str(n)) for n in range(50)))
        assert results == [f"hello {n}" for n in range(50)]
        assert slow.syncs > 0


# ---- locked ------------------------------------------------------------


async def test_a_commit_waits_for_another_processs_lock_without_blocking_the_loop(path: str) -> None:
    store, epoch = await worker_of(path)
    with closing(apsw.Connection(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        committing = asyncio.create_task(store.commit(epoch, [Script("order-1").create()]))
        for _ in range(5):
            await asyncio.sleep(0.005)
        assert not committing.done()
        assert await store.find("order-1") is None
        other.execute("COMMIT")
        assert await committing == []
    await store.close()


async def test_a_lock_that_is_held_too_long_is_an_error_that_says_so(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOCKED_WAIT_SECONDS", 0.02)
    store, epoch = await worker_of(path)
    write = Script("order-1").create()
    with closing(apsw.Connection(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(mg.StoreLocked, match="another process"):
            await store.commit(epoch, [write])
        other.execute("COMMIT")
    assert await store.commit(epoch, [write]) == []
    await store.close()


async def test_runs_go_on_after_another_process_has_held_the_lock(path: str) -> None:
    async with mg.Engine(f"sqlite:///{path}") as engine:
        with closing(apsw.Connection(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            running = asyncio.create_task(engine.run(greeting, "world", id="run-1"))
            for _ in range(5):
                await asyncio.sleep(0.005)
            assert not running.done()
            assert await engine.list() == []
            other.execute("COMMIT")
        assert await running == "hello world"


async def test_runs_wait_for_a_lock_that_is_held_too_long_and_go_on(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOCKED_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(committer, "REFUSED_WAIT_SECONDS", 0.01)
    async with mg.Engine(f"sqlite:///{path}") as engine:
        with closing(apsw.Connection(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            running = asyncio.create_task(engine.run(greeting, "world", id="run-1"))
            await until(lambda: "is locked" in caplog.text)
            assert not running.done()
            other.execute("COMMIT")
        assert await running == "hello world"
