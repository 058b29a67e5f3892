"""Where the contract is tested: a *place* keeps data, and hands out stores as processes open them.

A new store joins the suite with a place of its own in ``PLACES``, and in ``SHARED_PLACES`` if several
processes can open it at the same time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store
from makegood.store.sqlite import SqliteStore


class Place(Protocol):
    def store(self) -> Store:
        """Another store on the same data, not open yet."""


class MemoryPlace:
    """One store object: the data is the object, so it is also the only connection."""

    def __init__(self, _folder: Path) -> None:
        self._store = MemoryStore()

    def store(self) -> MemoryStore:
        return self._store


class SqlitePlace:
    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "contract.db")

    def store(self) -> SqliteStore:
        return SqliteStore(self._path)


SHARED_PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": SqlitePlace}
PLACES: dict[str, Callable[[Path], Place]] = {"memory": MemoryPlace, **SHARED_PLACES}
