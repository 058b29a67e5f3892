"""Ending, undoing or reopening a run by its journal alone: evicted, unknown to this worker, unfit, poisonous, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from makegood.definition.registry import steps_in_reach
from makegood.definition.saga import RollbackStep
from makegood.engine import journal
from makegood.engine.abandoned import AbandonedProgram
from makegood.engine.execution import Execution
from makegood.engine.folds import apply, folded
from makegood.engine.operator import facts_for
from makegood.engine.run import RunState
from makegood.engine.saga import termination
from makegood.errors import JournalCorrupt, NotPossible
from makegood.store.codec import FIRST_HASH, legible, seal, unseal, unseal_leg
from makegood.store.protocol import Write
from makegood.worker.live import LiveRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow
    from makegood.engine.operator import Request
    from makegood.store.protocol import InboxAnswer, RunRow, SealedEntry
    from makegood.worker.worker import Worker

AT_ONCE = "What is possible in every state: terminate without compensation."
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
        before=row.status,
    )
    await worker.store.commit(worker.epoch, [ended])
    worker.changes.tell(row.id)
    worker.scheduler.ended(row.id)
    worker.children.abandoned(run)
    if run.parent:
        worker.children.look(run.parent, run.parent_step)


def abandoned(worker: Worker, row: RunRow, sealed: Sequence[SealedEntry]) -> LiveRun:
    """A run that is to be undone, as its journal tells it: its workflow is not replayed, its steps are known by their names.

    Raises:
        NotPossible: the journal cannot be read, or a step is not known.
    """
    try:
        entries = unseal(row.id, sealed)
        state = folded(entries)
    except JournalCorrupt as error:
        raise NotPossible(f"The run cannot be undone. {error} {AT_ONCE}") from error
    if not worker.registry.knows(row.workflow, row.version):
        raise NotPossible(f"The run cannot be undone: {worker.recovery.why_not(row)} {AT_ONCE}")
    workflow = worker.registry.get(row.workflow, row.version)
    program = AbandonedProgram(state, _definitions(worker, workflow, state))
    run = LiveRun(row.id, Execution(workflow, program, state))
    run.key, run.entry_number, run.hash = row.key, sealed[-1].number, sealed[-1].hash
    run.last_status, run.leg, run.leg_entry = row.status, state.leg, row.leg_entry
    run.execution.go_on_undoing()
    return run


async def record_after_end(
    worker: Worker, row: RunRow, request: Request, answers: Sequence[InboxAnswer]
) -> bool:
    """Append to the journal of a run that has ended how an attempt ended late; whether that was not recorded before.

    If something has to be undone because of it, the run is no longer ended: it is to be loaded.
    """
    sealed = await worker.store.journal(row.key, after=row.leg_entry - 2)
    run = folded(unseal_leg(row.id, sealed, row.leg_entry))
    facts = facts_for(request, run)
    if not facts:
        return False
    run.clock = max(worker.now(), run.clock)
    for fact in facts:
        apply(run, fact)
    entry = seal(journal.Entry(run.clock, worker.epoch, facts), sealed[-1].number + 1, sealed[-1].hash)
    status, ended_at = run.status, run.ended_at
    write = Write(
        row.key,
        row.id,
        row.workflow,
        status,
        row.started_at,
        ended_at,
        True,
        entry,
        answers,
        before=row.status,
    )
    await worker.store.commit(worker.epoch, [write])
    worker.changes.tell(row.id)
    return True


def is_being_undone(entries: Iterable[journal.Entry]) -> bool:
    """Whether an operator had the run undone without its workflow."""
    acts = (event for entry in entries for event in entry.events if isinstance(event, journal.OperatorActed))
    return any(act.compensate for act in acts)


def _definitions(worker: Worker, workflow: Workflow[..., Any], state: RunState) -> dict[int, Step[Any, Any]]:
    steps = steps_in_reach(workflow)
    found: dict[int, Step[Any, Any]] = {}
    unknown: dict[str, None] = {}
    step: Step[Any, Any] | None
    for record in state.steps.values():
        if record.child:
            versions = worker.registry.versions(record.name)
            step = worker.registry.get(record.name, versions[-1]).as_step if versions else None
        else:
            step = steps.get(record.name)
        if step is not None:
            found[record.number] = RollbackStep(step) if record.registered else step
        elif record.in_flight or record.undoable:
            unknown[record.name] = None
    if unknown:
        raise NotPossible(
            f"run {state.id} cannot be undone without its workflow: {', '.join(unknown)} is not in reach of workflow "
            f"{state.workflow}. Import it into the workflow's module. {AT_ONCE}"
        )
    return found


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
