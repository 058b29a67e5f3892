"""Ending a run that is not in memory by its journal alone: evicted, unknown to this worker, unfit, poisonous, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.engine.folds import apply
from makegood.engine.operator import facts_for
from makegood.engine.run import RunState
from makegood.engine.saga import termination
from makegood.errors import JournalCorrupt
from makegood.store.codec import FIRST_HASH, legible, seal
from makegood.store.protocol import Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.engine.operator import Request
    from makegood.store.protocol import InboxAnswer, RunRow
    from makegood.worker.worker import Worker

UNREADABLE = "whatever its journal told from entry {} on, which cannot be read"


async def terminate(worker: Worker, row: RunRow, request: Request, answers: Sequence[InboxAnswer]) -> None:
    """Append the ending to a run's journal. None of its code runs; what cannot be read is named as left open.

    Raises:
        NotPossible: it has already ended.
        StoreError
    """
    sealed = await worker.store.journal(row.key)
    run, residue = _told(row, legible(row.id, sealed), len(sealed))
    run.clock = max(worker.now(), run.clock)
    facts = facts_for(request, run)
    ending = journal.RunTerminated(termination(run).residue + residue)
    # A run without any entry has lost its first one.
    number, previous_hash = (sealed[-1].number, sealed[-1].hash) if sealed else (1, FIRST_HASH)
    entry = seal(journal.Entry(run.clock, worker.epoch, [*facts, ending]), number + 1, previous_hash)
    ended = Write(
        row.key,
        row.id,
        row.workflow,
        "TERMINATED",
        row.started_at,
        run.clock,
        True,
        entry,
        answers,
        run.parent,
    )
    await worker.store.commit(worker.epoch, [ended])
    worker.changes.tell(row.id)
    worker.scheduler.ended(row.id)
    worker.children.abandoned(run)
    if run.parent:
        worker.children.look(run.parent, run.parent_step)


def _told(row: RunRow, entries: list[journal.Entry], stored: int) -> tuple[RunState, list[str]]:
    """The state as far as the journal makes sense, and what has to be said of the rest."""
    run = RunState(id="", workflow=row.workflow)
    for number, entry in enumerate(entries, start=1):
        run.clock = entry.at
        try:
            for event in entry.events:
                apply(run, event)
        except JournalCorrupt:
            return run, [UNREADABLE.format(number)]
    unread = [UNREADABLE.format(len(entries) + 1)] if len(entries) < stored or not stored else []
    return run, unread
