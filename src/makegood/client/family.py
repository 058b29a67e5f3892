"""A run together with its children: what it waits for is what they wait for; and all of them exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from makegood.description import Description, describe
from makegood.engine.run import OPEN, PROBING, UNDOING, Status
from makegood.export import Export, export
from makegood.waiting import NO_WORKER, Known

if TYPE_CHECKING:
    from makegood.backend.protocol import Backend

ACTIVE = frozenset({OPEN, PROBING, UNDOING})
HELD = frozenset({Status.PARKED, Status.PAUSED})
CHILDREN_LIMIT = 100


async def described(backend: Backend, run_id: str, now: float) -> Description:
    """What a run has done, undone and left, and what it and its children wait for.

    Raises:
        RunNotFound, JournalCorrupt
    """
    children: dict[str, str] = {}
    description = await _described(backend, run_id, now, children)
    return msgspec.structs.replace(description, children=children)


async def _described(backend: Backend, run_id: str, now: float, seen: dict[str, str]) -> Description:
    """The same of one run; notes in ``seen`` how the children stand that it waits for, and theirs."""
    entries = await backend.entries(run_id)
    held = backend.held(run_id)
    run = describe(entries, Known(now, held))
    reasons: dict[str, str] = {}
    active = [step for step in run.steps if step.state in ACTIVE]
    stands = run.status in HELD or bool(active)
    for step in active:
        row = await backend.find(step.child) if step.child and len(seen) < CHILDREN_LIMIT else None
        if row is None:
            stands = False
            continue
        seen[row.id] = row.status
        child = await _described(backend, row.id, now, seen)
        reasons[row.id] = child.waiting_for
        stands = stands and child.held_up
    if reasons:
        run = describe(entries, Known(now, held, reasons))
    if run.ended_at is None and run.status not in HELD:
        needs_worker = any(not step.child for step in active) or not (run.steps or len(entries) > 1)
        if needs_worker and not await backend.is_worked():
            why_not = NO_WORKER.format(run.waiting_for)
        else:
            why_not = await backend.waiting_for(run_id)
        run = msgspec.structs.replace(run, waiting_for=why_not or run.waiting_for)
    return msgspec.structs.replace(run, held_up=stands)


async def exported(backend: Backend, run_id: str, *, children: bool) -> Export:
    """A run as plain data; with ``children`` also the runs that it called, and those that they did.

    Raises:
        RunNotFound, JournalCorrupt
    """
    alone = export(run_id, await backend.sealed(run_id), [])
    if not children:
        return alone
    called = dict.fromkeys(item.fields["child"] for item in alone.events if item.event == "ChildScheduled")
    found = [
        await exported(backend, child, children=True)
        for child in called
        if await backend.find(child) is not None
    ]
    return msgspec.structs.replace(alone, children=found)
