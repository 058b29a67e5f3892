"""Runs as the contract writes them: the store sees opaque entries, and no engine is needed."""

from makegood.store.protocol import InboxAnswer, SealedEntry, Write


class Script:
    """One run, written entry by entry: ``create``, ``append``, ``finish`` give the next write."""

    def __init__(
        self,
        run_id: str,
        workflow: str = "greet",
        started_at: float = 1000.0,
        version: int = 1,
        *,
        tags: dict[str, str] | None = None,
        parent: str = "",
    ) -> None:
        self.id = run_id
        self.workflow = workflow
        self.version = version
        self.started_at = started_at
        self.tags = tags or {}
        self.parent = parent
        self._key: int | None = None
        self.entries: list[SealedEntry] = []
        self._last: Write | None = None
        self._statuses: list[str] = []

    @property
    def key(self) -> int | None:
        """The store's key, once a write has been committed."""
        if self._last is not None and self._last.key is not None:
            self._key = self._last.key
        return self._key

    def create(self, data: bytes = b"{}", status: str = "RUNNING") -> Write:
        return self._write(status, None, data, row_changed=True)

    def append(self, data: bytes = b"{}") -> Write:
        return self._write("RUNNING", None, data, row_changed=False)

    def move(self, status: str) -> Write:
        return self._write(status, None, b"{}", row_changed=True)

    def finish(self, status: str = "COMPLETED", ended_at: float = 2000.0) -> Write:
        return self._write(status, ended_at, b"{}", row_changed=True)

    def _write(self, status: str, ended_at: float | None, data: bytes, *, row_changed: bool) -> Write:
        key = self.key
        before = (self._statuses[: len(self.entries)] or [""])[-1]
        self._statuses = [*self._statuses[: len(self.entries)], status if row_changed else before]
        entry = SealedEntry(len(self.entries) + 1, data, f"hash {len(self.entries) + 1}".encode())
        self.entries.append(entry)
        self._last = Write(
            key,
            self.id,
            self.workflow,
            status,
            self.started_at,
            ended_at,
            row_changed,
            entry,
            version=self.version,
            parent=self.parent,
            tags=self.tags,
            before=before,
        )
        return self._last


def answering(write: Write, *answers: InboxAnswer) -> Write:
    write.answered = list(answers)
    return write
