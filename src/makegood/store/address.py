"""Which store a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from makegood.errors import StoreError, UsageError
from makegood.store.memory import MemoryStore
from makegood.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from makegood.store.protocol import Store


def store_at(url: str, *, create: bool = True) -> Store:
    """The store that a URL names.

    Raises:
        UsageError: no store has such a URL.
        StoreError: its file does not exist, and is not to be created.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator:
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        path = rest[1:]
        if not create and not Path(path).exists():
            raise StoreError(
                f"there is no database {path}: no run was ever started there, or the store's URL is wrong."
            )
        return SqliteStore(path)
    raise UsageError(
        f"{url!r} names no store: use sqlite:///orders.db, sqlite:////absolute/path.db or memory://."
    )
