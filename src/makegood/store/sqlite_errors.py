"""What SQLite's errors mean for the user: where the SQLite store's errors of our own tree come from."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from makegood.errors import StoreError, StoreFull, StoreLocked, StoreReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Raise what SQLite raises inside as errors of our own tree."""
    try:
        yield
    except apsw.Error as error:
        raise explain(error, path) from error


def explain(error: apsw.Error, path: str) -> StoreError:
    """The error that says what happened to the store at this path, and what to do."""
    for types, our_type, message in MEANINGS:
        if isinstance(error, types):
            return our_type(f"{path}{message.format(error=error)}")
    if isinstance(error, apsw.CantOpenError):
        return StoreError(f"{path} cannot be opened: {_why_not_opened(Path(path))}.")
    return StoreError(f"{path}: {type(error).__name__}: {error}")


MEANINGS: tuple[tuple[tuple[type[apsw.Error], ...], type[StoreError], str], ...] = (
    (
        (apsw.FullError,),
        StoreFull,
        ": the disk is full. Free some space; work goes on by itself.",
    ),
    (
        (apsw.ReadOnlyError, apsw.PermissionsError),
        StoreReadOnly,
        " cannot be written: check the permissions of the file and its folder.",
    ),
    (
        (apsw.BusyError, apsw.LockedError),
        StoreLocked,
        " is locked: another process holds it for too long. Let that one finish, or end it, and try again.",
    ),
    (
        (apsw.NotADBError, apsw.CorruptError),
        StoreError,
        " is damaged or no SQLite database ({error}). Restore it from a backup; nothing was changed.",
    ),
    (
        (apsw.IOError,),
        StoreError,
        ": the disk failed ({error}). Nothing was acknowledged that is not durable. Check it, start again.",
    ),
)


def _why_not_opened(path: Path) -> str:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    if path.is_dir():
        return "it is a folder; name a file in it"
    return "check the permissions of the file and its folder"
