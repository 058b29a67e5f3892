"""A transaction step on the SQLite store: the user's function in a thread, on the connection that writes.

The function sees a guarded connection: it cannot end the transaction, reach other databases, or touch makegood's tables.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from makegood.errors import UsageError
from makegood.store.migrations import SCRIPTS
from makegood.store.protocol import RolledBack
from makegood.store.sqlite_writer import to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from makegood.definition.transaction import Connection

T = TypeVar("T")

HARMLESS_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "index_list", "index_info", "foreign_key_list", "foreign_key_check"}
)
STORES_OWN_TROUBLE = (apsw.FullError, apsw.IOError, apsw.CorruptError, apsw.NotADBError)
TABLE_IS_SECOND = frozenset(
    {
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_TEMP_TRIGGER,
    }
)
TABLE_IS_FIRST = frozenset(
    {
        apsw.SQLITE_READ,
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_DROP_TABLE,
    }
)
LEAVES_TRANSACTION = {
    apsw.SQLITE_TRANSACTION: "{0}",
    apsw.SQLITE_ATTACH: "ATTACH",
    apsw.SQLITE_DETACH: "DETACH",
}

ROLLED_ITSELF_BACK = (
    "the SQL of a transaction step rolled the whole transaction back (OR ROLLBACK, RAISE(ROLLBACK)). "
    "Let the function raise instead."
)


@cache
def own_tables() -> frozenset[str]:
    """The names of makegood's tables, in lower case, as SQLite compares them."""
    with contextlib.closing(apsw.Connection(":memory:")) as schema:
        for script in SCRIPTS:
            schema.execute(script)
        names = schema.execute("SELECT lower(name) FROM sqlite_schema WHERE type = 'table'").fetchall()
    return frozenset(str(name) for (name,) in names) - {"sqlite_sequence"}


class GuardedConnection:
    """Implements ``definition.transaction.Connection``. Used as a context: outside it nothing works any more."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._open = False
        self._refusal = ""
        self.expired = False

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        with self._guarded():
            return self._connection.execute(sql, parameters).fetchall()

    def executemany(self, sql: str, many: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        with self._guarded():
            self._connection.executemany(sql, many)

    @property
    def last_insert_rowid(self) -> int:
        return self._connection.last_insert_rowid()

    @property
    def changes(self) -> int:
        return self._connection.changes()

    def __enter__(self) -> Connection:
        self._connection.authorizer = self._authorize
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._connection.authorizer = None

    def interrupt(self) -> None:
        """The time limit is over: end the statement under way, and admit no other."""
        self.expired = True
        if self._open:
            self._connection.interrupt()

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        if not self._open:
            raise UsageError(
                "this connection belongs to a transaction that is over: use it inside the function only."
            )
        if self.expired:
            raise TimeoutError("the transaction's time limit is over.")
        if not self._connection.in_transaction:
            raise UsageError(ROLLED_ITSELF_BACK)
        try:
            yield
        except apsw.AuthError as error:
            raise UsageError(f"a transaction step {self._refusal}") from error

    def _authorize(
        self, operation: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        self._refusal = _refusal(operation, first or "", second or "")
        return apsw.SQLITE_DENY if self._refusal else apsw.SQLITE_OK


def _refusal(operation: int, first: str, second: str) -> str:
    """What is wrong with what a statement is about to do; "" if nothing is."""
    table = first if operation in TABLE_IS_FIRST else second if operation in TABLE_IS_SECOND else ""
    if table.lower() in own_tables():
        return f"may not touch makegood's own table {table.lower()}. Use tables of your own."
    if operation in LEAVES_TRANSACTION:
        return (
            f"may not {LEAVES_TRANSACTION[operation].format(first)}: its SQL and its record in the journal are one "
            "transaction, which makegood commits when the function returns, and rolls back when it raises."
        )
    if operation == apsw.SQLITE_PRAGMA and first.lower() not in HARMLESS_PRAGMAS:
        return f"may not use PRAGMA {first}: the connection belongs to makegood."
    return ""


async def make_apart(
    connection: apsw.Connection, work: Callable[[Connection], T], timeout_seconds: float | None
) -> T:
    """Call ``work`` in a thread, inside the transaction that is open.

    Raises:
        RolledBack: it raised, took too long, or ended the transaction; whoever calls has to roll back.
    """
    guarded = GuardedConnection(connection)
    loop = asyncio.get_running_loop()
    alarm = None if timeout_seconds is None else loop.call_later(timeout_seconds, guarded.interrupt)
    try:
        return await to_the_end(asyncio.to_thread(_called, guarded, connection, work, timeout_seconds))
    finally:
        if alarm is not None:
            alarm.cancel()


def _called(
    guarded: GuardedConnection,
    connection: apsw.Connection,
    work: Callable[[Connection], T],
    timeout_seconds: float | None,
) -> T:
    try:
        with guarded as usable:
            result = work(usable)
    except STORES_OWN_TROUBLE:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a user's function raises rolls it back
        raise RolledBack from (_too_late(timeout_seconds) if guarded.expired else error)
    if guarded.expired:
        raise RolledBack from _too_late(timeout_seconds)
    if not connection.in_transaction:
        raise RolledBack from UsageError(ROLLED_ITSELF_BACK)
    return result


def _too_late(timeout_seconds: float | None) -> TimeoutError:
    return TimeoutError(f"not done within {timeout_seconds or 0:g} s; rolled back")
