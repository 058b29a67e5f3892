"""A disk that fails on demand: an SQLite VFS that becomes the default while it is in use."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw


class Disk(apsw.VFS):
    """The real disk, with faults: ``full``, ``broken`` (fsync fails), ``flowing`` cleared (fsync waits).

    ``ailing``: whose fsyncs fail or wait, as SQLite's flags for opening a file; by default those of every file.
    """

    def __init__(self) -> None:
        self.full = False
        self.broken = False
        self.ailing = ~0
        self.syncs = 0
        self.refusals = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.waiting = threading.Event()
        self.real = apsw.vfs_names()[0]
        super().__init__("faulty-disk", self.real, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "File":  # noqa: N802 - SQLite's name
        return File(self, name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._kind = flags[0]
        super().__init__(disk.real, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.full:
            self._disk.refusals += 1
            raise apsw.FullError("no space left")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.syncs += 1
        if not self._kind & self._disk.ailing:
            super().xSync(flags)
            return
        if not self._disk.flowing.is_set():
            self._disk.waiting.set()
            self._disk.flowing.wait()
        if self._disk.broken:
            self._disk.refusals += 1
            raise apsw.IOError("injected")
        super().xSync(flags)


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    disk = Disk()
    try:
        yield disk
    finally:
        disk.flowing.set()
        disk.unregister()
