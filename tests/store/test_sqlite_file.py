"""The SQLite store's file: made durable, migrated, and refused with a reason when it cannot be used."""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

import makegood as mg
from makegood.store.migrations import APPLICATION_ID, SCRIPTS
from makegood.store.protocol import Where
from makegood.store.sqlite import SqliteStore
from tests.contract.scripts import Script


async def use(path: Path) -> None:
    """Open the store, be its worker, and write a run."""
    store = SqliteStore(str(path))
    await store.open()
    try:
        epoch = await store.take_over("tester")
        assert epoch is not None
        await store.commit(epoch, [Script("order-1").create()])
    finally:
        await store.close()


def pragma(path: Path, name: str) -> int:
    with closing(apsw.Connection(str(path))) as connection:
        return int(connection.pragma(name))


def set_version(path: Path, version: int) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", version)


def test_a_new_file_gets_the_schema_and_our_application_id(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    asyncio.run(use(path))
    assert pragma(path, "user_version") == len(SCRIPTS)
    assert pragma(path, "application_id") == APPLICATION_ID


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    asyncio.run(use(path))
    assert pragma(path, "user_version") == len(SCRIPTS)


def test_opening_again_migrates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    asyncio.run(use(path))
    schema = pragma(path, "schema_version")

    async def again() -> None:
        store = SqliteStore(str(path))
        await store.open()
        assert await store.find("order-1") is not None
        await store.close()

    asyncio.run(again())
    assert pragma(path, "schema_version") == schema


def test_several_processes_may_create_the_schema_at_once(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"

    async def main() -> None:
        stores = [SqliteStore(str(path)) for _ in range(5)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            await store.close()

    asyncio.run(main())
    assert pragma(path, "user_version") == len(SCRIPTS)


def test_commits_are_synchronous_and_go_through_a_write_ahead_log(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(str(tmp_path / "orders.db"))
        await store.open()
        connection = store._writer.connection
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2
        await store.close()

    asyncio.run(main())


def refused(path: Path, error: type[mg.StoreError]) -> str:
    with pytest.raises(error) as refusal:
        asyncio.run(use(path))
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def unchanged_and_refused(path: Path, error: type[mg.StoreError]) -> str:
    before = path.read_bytes()
    message = refused(path, error)
    assert path.read_bytes() == before
    return message


def test_a_newer_schema_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    asyncio.run(use(path))
    set_version(path, len(SCRIPTS) + 7)
    message = unchanged_and_refused(path, mg.SchemaTooNew)
    assert f"schema {len(SCRIPTS) + 7}, this one knows {len(SCRIPTS)}" in message
    assert "Upgrade" in message


def foreign_database(path: Path) -> Path:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
    connection.close()
    return path


def test_another_programs_database_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    path = foreign_database(tmp_path / "recipes.db")
    assert "another program" in unchanged_and_refused(path, mg.StoreError)


def test_another_programs_database_with_a_version_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    path = foreign_database(tmp_path / "recipes.db")
    set_version(path, len(SCRIPTS))
    assert "another program" in unchanged_and_refused(path, mg.StoreError)


def test_a_file_that_is_no_database_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear database,\n" * 100)
    assert "no SQLite database" in unchanged_and_refused(path, mg.StoreError)


def test_a_damaged_header_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    asyncio.run(use(path))
    data = bytearray(path.read_bytes())
    data[0:40] = bytes(40)
    path.write_bytes(data)
    assert "Restore it from a backup" in unchanged_and_refused(path, mg.StoreError)


def test_damaged_pages_are_reported_and_not_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    asyncio.run(use(path))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    assert "damaged" in refused(path, mg.StoreError)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    assert f"the folder {folder} does not exist" in refused(folder / "orders.db", mg.StoreError)


def test_a_folder_instead_of_a_file_is_named(tmp_path: Path) -> None:
    assert "it is a folder" in refused(tmp_path, mg.StoreError)


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder of an ordinary user's, and be that user: the permissions of files do not stop root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


NOBODY = 65534


def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    asyncio.run(use(tmp_path / "warm-up.db"))
    with without_privileges() as folder:
        path = folder / "orders.db"
        asyncio.run(use(path))
        path.chmod(0o444)
        assert "cannot be written" in unchanged_and_refused(path, mg.StoreReadOnly)


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    asyncio.run(use(tmp_path / "warm-up.db"))
    with without_privileges() as folder:
        path = folder / "orders.db"
        asyncio.run(use(path))
        (folder / "orders.db-worker").unlink()
        folder.chmod(0o555)
        try:
            message = unchanged_and_refused(path, mg.StoreError)
        finally:
            folder.chmod(0o755)
        assert "permissions" in message


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    asyncio.run(use(tmp_path / "warm-up.db"))
    with without_privileges() as folder:
        path = folder / "orders.db"
        asyncio.run(use(path))
        path.chmod(0)
        assert "permissions" in refused(path, mg.StoreError)


def test_a_refused_file_can_be_opened_once_it_is_mended(tmp_path: Path) -> None:
    """Neither the connection nor the worker's place is held on to by the engine that failed to open."""
    path = tmp_path / "orders.db"

    async def main() -> None:
        engine = mg.Engine(f"sqlite:///{path}")
        foreign_database(path)
        with pytest.raises(mg.StoreError):
            await engine.__aenter__()
        path.unlink()
        async with engine, mg.Engine(f"sqlite:///{path}") as client:
            assert await client.list() == []

    asyncio.run(main())


def test_an_older_file_is_migrated_with_its_parents_and_its_tallies(tmp_path: Path) -> None:
    """A file of the last version that knew neither: its runs are found and counted as those of today."""
    path = tmp_path / "orders.db"
    before = next(n for n, script in enumerate(SCRIPTS) if "CREATE TABLE tallies" in script)
    with closing(apsw.Connection(str(path))) as connection:
        for script in SCRIPTS[:before]:
            connection.execute(script)
        connection.pragma("user_version", before)
        connection.pragma("application_id", APPLICATION_ID)
        for key, (parent, ended_at) in enumerate((("", 20.0), ("run-1", 15.0), ("", None)), start=1):
            status = "RUNNING" if ended_at is None else "COMPLETED"
            connection.execute(
                "INSERT INTO runs (key, id, workflow, status, started_at, ended_at, owner) VALUES (?, ?, 'w', ?, 1, ?, 1)",
                (key, f"run-{key}", status, ended_at),
            )
            entry = json.dumps({"at": 1.0, "epoch": 1, "events": [{"event": "RunStarted", "parent": parent}]})
            connection.execute("INSERT INTO journal VALUES (?, 1, ?, ?)", (key, entry.encode(), b"hash"))
        connection.execute("UPDATE journal SET data = x'ff' WHERE run = 3")

    async def look() -> None:
        store = SqliteStore(str(path))
        await store.open()
        assert [row.id for row in await store.list(Where(parent="run-1"))] == ["run-2"]
        assert await store.count(Where("COMPLETED", "w")) == 2
        assert await store.count(Where(ended_before=16.0)) == 1
        assert [row.id for row in await store.list()] == ["run-3", "run-2", "run-1"]
        await store.close()

    asyncio.run(look())
