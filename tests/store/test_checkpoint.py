"""The write-ahead log is moved into the database beside the commits, and stays short."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest

from makegood.store import sqlite_checkpoint
from makegood.store.sqlite import SqliteStore
from tests.contract.scripts import Script
from tests.store.disk import Disk, faulty_disk
from tests.until import until

pytestmark = pytest.mark.anyio

CHECKPOINT_PAGES = 40
PAGE_BYTES = 4096
PAYLOAD = b"x" * 3 * PAGE_BYTES


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(sqlite_checkpoint, "CHECKPOINT_PAGES", CHECKPOINT_PAGES)
    with faulty_disk() as disk:
        disk.ailing = apsw.SQLITE_OPEN_MAIN_DB
        yield disk


class Commits:
    """Commits of a few pages each, and the log that they leave."""

    def __init__(self, store: SqliteStore, epoch: int, path: Path) -> None:
        self.store = store
        self._epoch = epoch
        self._log = Path(f"{path}-wal")
        self._number = 0

    async def make(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            await self.store.commit(self._epoch, [Script(f"order-{self._number}").create(PAYLOAD)])

    async def at_rest(self) -> None:
        await until(lambda: self.store._writer._checkpointer._copying is None)

    async def checkpoint(self) -> None:
        """One that moves all there is."""
        await self.at_rest()
        self.store._writer._checkpointer.wrote(CHECKPOINT_PAGES)
        await self.at_rest()

    async def stall_checkpoint(self, disk: Disk) -> None:
        """A checkpoint that waits for the disk, begun while no commit is under way."""
        disk.flowing.clear()
        await self.make(3)
        self.store._writer._checkpointer.wrote(CHECKPOINT_PAGES)
        await until(disk.waiting.is_set)

    @property
    def log_pages(self) -> int:
        return self._log.stat().st_size // PAGE_BYTES


@pytest.fixture
async def commits(tmp_path: Path, disk: Disk) -> AsyncIterator[Commits]:
    path = tmp_path / "orders.db"
    store = SqliteStore(str(path))
    await store.open()
    epoch = await store.take_over("tester")
    assert epoch is not None
    commits = Commits(store, epoch, path)
    await commits.at_rest()  # the schema's pages are in the database
    yield commits
    disk.flowing.set()
    await store.close()


async def test_commits_go_on_while_a_checkpoint_waits_for_the_disk(commits: Commits, disk: Disk) -> None:
    await commits.stall_checkpoint(disk)
    await commits.make(20)
    assert len(await commits.store.list()) == 23


async def test_the_log_stays_short_over_many_commits(commits: Commits) -> None:
    for _ in range(20):
        await commits.make(20)
        await commits.at_rest()
    assert commits.log_pages < 15 * CHECKPOINT_PAGES


async def test_what_was_committed_during_a_checkpoint_is_moved_before_the_next_commit(
    commits: Commits, disk: Disk
) -> None:
    await commits.stall_checkpoint(disk)
    await commits.make(20)
    pages = commits.log_pages
    disk.flowing.set()
    await commits.at_rest()
    await commits.make(10)
    assert commits.log_pages == pages  # the log has begun anew


async def test_a_checkpoint_that_fails_harms_no_commit_and_is_made_later(
    commits: Commits, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.broken = True
    with caplog.at_level(logging.WARNING, "makegood"):
        await commits.make(20)
        await until(lambda: "The write-ahead log grows" in caplog.text)
    await commits.make(5)
    disk.broken = False
    await commits.make(20)
    await commits.checkpoint()
    pages = commits.log_pages
    await commits.make(5)
    assert commits.log_pages == pages
    assert len(await commits.store.list()) == 50


async def test_closing_waits_for_a_checkpoint_under_way(commits: Commits, disk: Disk) -> None:
    await commits.stall_checkpoint(disk)
    closing = asyncio.create_task(commits.store.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    disk.flowing.set()
    await closing


async def test_a_checkpoint_does_not_look_like_another_processs_commit(commits: Commits) -> None:
    before = await commits.store.next_change(-1)
    await commits.make(50)
    await commits.at_rest()
    assert await commits.store._writer.data_version() == before
