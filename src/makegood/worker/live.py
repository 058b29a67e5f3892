"""A run in the memory of its worker: the execution, its place in the journal, and who waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from makegood.engine.journal import Entry
from makegood.engine.run import Status
from makegood.store.codec import FIRST_HASH, seal
from makegood.store.protocol import Write

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from makegood.engine.execution import Execution
    from makegood.engine.run import RunState
    from makegood.store.protocol import InboxAnswer
    from makegood.worker.executor import Job
    from makegood.worker.timers import Alarm


NOTHING = Entry(0.0, 0, [])


class LiveRun(msgspec.Struct, gc=False, eq=False):
    """One run that this worker owns. Its references are undone when it leaves: the collector does not look at it."""

    id: str
    execution: Execution
    key: int | None = None
    entry_number: int = 0
    hash: bytes = FIRST_HASH
    entry: Entry = NOTHING  # the one being committed
    queued: bool = False  # in the committer's queue
    committing: bool = False  # an entry is on its way to the store
    asleep: bool = False  # its row says so, until the next commit
    overtaken: bool = False  # another object lives this run now: what this one was told last may be lost
    last_status: str = ""
    leg: int = 1  # of what was last sealed
    leg_entry: int = 0  # the number of the entry with which that leg began; 0 for the first
    answers: list[InboxAnswer] = []
    jobs: dict[int, Job] = {}
    waits: dict[int, Alarm] = {}  # steps that wait for their next attempt
    timers: dict[int, Alarm] = {}
    held: list[Callable[[], None]] | None = None  # what is to begin once the run is no longer paused
    starters: list[asyncio.Future[bool]] | None = (
        None  # not durable yet: each resolves with False if the id is taken
    )
    waiters: list[
        asyncio.Future[RunState | None]
    ] = []  # each resolves with the final state; None if the id is taken

    @property
    def state(self) -> RunState:
        return self.execution.state

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is under way: it waits for a time or a request."""
        return not (self.jobs or self.queued or self.committing or self.starters or self.execution.events)

    def hold(self, begin: Callable[[], None]) -> None:
        """The run is paused: this is to be done when it goes on."""
        if self.held is None:
            self.held = []
        self.held.append(begin)

    def seal(self, epoch: int) -> Write:
        """Everything recorded so far as the next entry, ready to be committed."""
        self.queued, self.committing = False, True
        state = self.execution.state
        self.entry = self.execution.seal(epoch)
        self.entry_number += 1
        sealed = seal(self.entry, self.entry_number, self.hash)
        self.hash = sealed.hash
        status, before = state.status, self.last_status
        changed = status is not before or self.asleep
        self.asleep = False
        self.last_status = status
        if state.leg != self.leg:
            self.leg, self.leg_entry, changed = state.leg, self.entry_number, True
        answers: Sequence[InboxAnswer] = ()
        if self.answers:
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
            state.parent if state.ended_at is not None else "",
            state.version,
            self.leg_entry,
            state.parent,
            state.tags,
            before,
            len(state.missed) if state.misses and status is Status.COMPLETED else None,
        )
