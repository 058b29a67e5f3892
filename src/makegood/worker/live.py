"""A run in the memory of its worker: the execution, its place in the journal, and who waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.store.codec import FIRST_HASH, seal
from makegood.store.protocol import Write

if TYPE_CHECKING:
    import asyncio

    from makegood.engine.execution import Execution
    from makegood.engine.journal import Entry
    from makegood.engine.run import RunState
    from makegood.store.protocol import InboxAnswer
    from makegood.worker.executor import Job
    from makegood.worker.timers import Alarm


class LiveRun:
    """One run that this worker owns."""

    __slots__ = (
        "answers",
        "entry",
        "entry_number",
        "execution",
        "hash",
        "id",
        "jobs",
        "key",
        "last_status",
        "queued",
        "starters",
        "timers",
        "waiters",
        "waits",
    )

    def __init__(self, run_id: str, execution: Execution) -> None:
        self.id = run_id
        self.execution = execution
        self.key: int | None = None
        self.entry_number = 0
        self.hash = FIRST_HASH
        self.entry: Entry | None = None  # the one being committed
        self.queued = False  # in the committer's queue
        self.last_status = ""
        self.answers: list[InboxAnswer] = []
        self.jobs: dict[int, Job] = {}
        self.waits: dict[int, Alarm] = {}  # steps that wait for their next attempt
        self.timers: dict[int, Alarm] = {}
        self.starters: (
            list[asyncio.Future[bool]] | None
        ) = []  # each resolves with False if the id is taken; None: durable
        self.waiters: list[asyncio.Future[RunState]] = []  # each resolves with the final state

    @property
    def state(self) -> RunState:
        return self.execution.state

    def seal(self, epoch: int) -> Write:
        """Everything recorded so far as the next entry, ready to be committed."""
        self.queued = False
        state = self.execution.state
        self.entry = self.execution.seal(epoch)
        self.entry_number += 1
        sealed = seal(self.entry, self.entry_number, self.hash)
        self.hash = sealed.hash
        status = state.status
        changed = status is not self.last_status
        self.last_status = status
        answers, self.answers = self.answers, []
        return Write(
            self.key,
            self.id,
            state.workflow,
            status,
            state.started_at,
            state.ended_at,
            changed,
            sealed,
            answers,
        )
