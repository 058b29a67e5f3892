"""The SQLite schema, one script per version. A script, once released, is never changed: add the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    import apsw

APPLICATION_ID = 0x4D_47_4F_44  # "MGOD"

SCRIPTS = (
    """
    CREATE TABLE runs (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        workflow TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at REAL NOT NULL,
        ended_at REAL,
        owner INTEGER NOT NULL
    );
    CREATE INDEX runs_unfinished ON runs (owner) WHERE ended_at IS NULL;
    CREATE TABLE journal (
        run INTEGER NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (run, number)
    ) WITHOUT ROWID;
    CREATE TABLE inbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        data BLOB NOT NULL,
        error TEXT
    );
    CREATE TABLE incarnations (
        epoch INTEGER PRIMARY KEY AUTOINCREMENT,
        worker TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE runs ADD COLUMN wake_at REAL;
    DROP INDEX runs_unfinished;
    CREATE INDEX runs_awake ON runs (owner) WHERE ended_at IS NULL AND wake_at IS NULL;
    CREATE INDEX runs_asleep ON runs (wake_at) WHERE wake_at IS NOT NULL;
    """,
    """
    CREATE TABLE schedules (
        workflow TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        data BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE inbox ADD COLUMN kind TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE runs ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    """,
    """
    ALTER TABLE runs ADD COLUMN leg_entry INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE inbox ADD COLUMN answered INTEGER;
    UPDATE inbox SET answered = number, data = x'' WHERE error IS NOT NULL;
    CREATE INDEX inbox_answered ON inbox (answered) WHERE answered IS NOT NULL;
    """,
    """
    ALTER TABLE runs ADD COLUMN parent TEXT;
    ALTER TABLE runs ADD COLUMN tags TEXT;
    ALTER TABLE runs ADD COLUMN pin TEXT;
    ALTER TABLE runs ADD COLUMN pruned_at REAL;
    ALTER TABLE runs ADD COLUMN input_hash BLOB;
    UPDATE runs SET parent = told.parent FROM (
        SELECT run, CAST(data AS TEXT) ->> '$.events[0].parent' AS parent FROM journal
        WHERE number = 1 AND json_valid(CAST(data AS TEXT))
    ) AS told WHERE told.run = runs.key AND told.parent <> '';
    CREATE INDEX runs_children ON runs (parent) WHERE parent IS NOT NULL;
    CREATE TABLE tags (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        run INTEGER NOT NULL,
        PRIMARY KEY (name, value, run)
    ) WITHOUT ROWID;
    CREATE TABLE tallies (
        block INTEGER NOT NULL,
        workflow TEXT NOT NULL,
        status TEXT NOT NULL,
        runs INTEGER NOT NULL,
        started_first REAL,
        started_last REAL,
        ended_first REAL,
        ended_last REAL,
        PRIMARY KEY (block, workflow, status)
    ) WITHOUT ROWID;
    INSERT INTO tallies
        SELECT key >> 10, workflow, status, count(*), min(started_at), max(started_at), min(ended_at), max(ended_at)
        FROM runs GROUP BY 1, 2, 3;
    """,
    """
    CREATE TABLE missed (
        run INTEGER PRIMARY KEY,
        steps INTEGER NOT NULL
    );
    CREATE TRIGGER missed_no_longer AFTER UPDATE OF pruned_at ON runs WHEN NEW.pruned_at IS NOT NULL BEGIN
        DELETE FROM missed WHERE run = NEW.key;
    END;
    """,
)


def check(connection: apsw.Connection, path: str) -> None:
    """Whether this database is ours to use. Only reads.

    Raises:
        SchemaTooNew: a newer makegood wrote it.
        StoreError: it is some other program's database.
    """
    with connection:  # one snapshot: another process may be creating the schema just now
        version = _version(connection)
        foreign = version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get
    if foreign or (version and _application(connection) != APPLICATION_ID):
        raise StoreError(f"{path} is a database of another program. Give makegood a file of its own.")
    if version > len(SCRIPTS):
        raise SchemaTooNew(
            f"{path} was written by a newer makegood (schema {version}, this one knows {len(SCRIPTS)}). "
            "Upgrade makegood; nothing was changed."
        )


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the database to this version's schema, in one transaction.

    Raises:
        SchemaTooNew, StoreError: as ``check``.
    """
    if _version(connection) == len(SCRIPTS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        check(connection, path)
        for script in SCRIPTS[_version(connection) :]:
            connection.execute(script)
        connection.execute(f"PRAGMA user_version = {len(SCRIPTS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: apsw.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").get)


def _application(connection: apsw.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").get)
