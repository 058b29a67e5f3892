"""Children: begins the runs that runs call, tells parents how they ended, cancels and undoes them.

    ChildScheduled ─▶ begin ─▶ … the child runs … ─▶ its ending is durable ─▶ ended ─▶ the parent is told

Whenever that chain may be broken (a restart, an id that is taken, a parent that is not in memory) or something else is
wanted of a child (a cancellation, an undo), one task looks at what the parent's journal wants and what the child's
journal tells. Looking once more does no harm, so that nothing depends on being told.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from makegood.definition.child import ChildStep
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.operator import Request
from makegood.engine.run import OPEN, UNDOING, Status
from makegood.errors import DefinitionError, JournalCorrupt, NotPossible, RunConflict, StoreFull, StoreLocked
from makegood.failure import Failure
from makegood.store.codec import seal, unseal_leg
from makegood.store.protocol import Write

if TYPE_CHECKING:
    from typing import Any

    from makegood.definition.workflow import Workflow
    from makegood.engine.run import RunState, StepRecord
    from makegood.store.protocol import RunRow
    from makegood.worker.live import LiveRun
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5
TAKEN = (
    "the id {0} is taken by another run, which is no child of this one (workflow {1}). "
    "Give the child another id: mg.start_child(…, id=…)."
)


class Children:
    """The part of a worker that minds children."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._to_look_at: dict[tuple[str, int], None] = {}  # parents and their steps, in order
        self._looking_at: tuple[str, int] | None = None
        self._wanted = asyncio.Event()

    def look(self, parent: str, step: int) -> None:
        """See soon to the child that is this step of its parent."""
        self._to_look_at[parent, step] = None
        self._wanted.set()

    def begin(self, parent: LiveRun, record: StepRecord) -> None:
        """Start a child, now that its parent's intent is durable."""
        worker = self._worker
        child = record.child
        if not self._knows_workflow(parent, record):
            return
        if child in worker.runs or child in worker.starting:
            self.look(parent.id, record.number)
            return
        worker.begin(self._workflow(parent, record), child, record.arguments, (parent.id, record.number))
        if child not in worker.starting:
            reason = worker.recovery.unfit.pop(child, "it could not begin")
            self._refuse(parent, record, Failure("SetAside", reason))

    def returned(self, child: LiveRun) -> None:
        """A child was recovered: a cancellation may not have reached it."""
        self.look(child.state.parent, child.state.parent_step)

    def rejected(self, child: LiveRun) -> None:
        """A child's id was taken: perhaps by itself, in an earlier life of its parent."""
        self.look(child.state.parent, child.state.parent_step)

    def awake(self, parent: LiveRun) -> bool:
        """Whether a child that it waits for is in memory, or still to be looked at."""
        state, worker = parent.state, self._worker
        return state.has_children and any(
            record.child in worker.runs
            or record.child in worker.starting
            or (parent.id, record.number) in self._to_look_at
            or (parent.id, record.number) == self._looking_at
            for record in state.steps.values()
            if record.child and record.state in (OPEN, UNDOING)
        )

    def ended(self, child: LiveRun) -> None:
        """A child's ending is durable."""
        state = child.state
        parent = self._worker.runs.get(state.parent)
        if parent is None or state.late is not None:  # it may have ended once more
            self.look(state.parent, state.parent_step)
        else:
            self._tell(parent, state.parent_step, state)

    def abandoned(self, parent: RunState) -> None:
        """A run was terminated: so are the children that it leaves behind."""
        for record in parent.steps.values():
            if record.child and record.state in (OPEN, UNDOING):
                self.look(parent.id, record.number)

    async def serve(self) -> None:
        """Look until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._to_look_at:
                parent, step = self._looking_at = next(iter(self._to_look_at))
                del self._to_look_at[parent, step]
                try:
                    await self._look(parent, step)
                except (StoreFull, StoreLocked) as refused:
                    log.error("%s A child of run %s waits.", refused, parent)
                    await asyncio.sleep(REFUSED_WAIT_SECONDS)
                    self.look(parent, step)
                except (JournalCorrupt, NotPossible) as error:
                    log.warning("step %d of run %s, a child: %s", step, parent, error)
            self._looking_at = None

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _look(self, parent_id: str, step: int) -> None:
        worker = self._worker
        parent = await self._parent(parent_id)
        if parent is None:
            await self._look_after_orphan(parent_id, step)
            return
        record = parent.state.steps.get(step)
        if record is None or record.state not in (OPEN, UNDOING) or is_ended(parent):
            return
        if not self._knows_workflow(parent, record):
            return
        if record.child in worker.starting:
            await worker.started(worker.starting[record.child])
        row = await worker.store.find(record.child)
        if row is not None:
            await self._compare(parent, record, row)
        elif worker.runs.get(parent_id) is not parent:
            self.look(parent_id, step)
        elif is_ended(parent):
            return
        elif record.cancelled:
            worker.tell(parent, parent.execution.step_stopped, step)
        elif record.state is OPEN:
            self.begin(parent, record)

    async def _parent(self, run_id: str) -> LiveRun | None:
        """The run, loaded if it was not in memory; None if it has ended, or cannot go on now."""
        worker = self._worker
        if run_id not in worker.runs and run_id not in worker.recovery.unfit:
            await self._load(run_id)
        return worker.runs.get(run_id)

    async def _load(self, run_id: str) -> None:
        worker = self._worker
        async with worker.eviction.under_way:
            row = await worker.store.find(run_id)
        if row is not None and row.ended_at is None and worker.registry.knows(row.workflow, row.version):
            await worker.recovery.load(row)

    async def _look_after_orphan(self, parent_id: str, step: int) -> None:
        worker = self._worker
        row = await worker.store.find(parent_id)
        if row is None or row.status != Status.TERMINATED:
            return
        record = (await self._told(row)).steps.get(step)
        if record is not None and record.state in (OPEN, UNDOING):
            by = f"run {parent_id}"
            request = Request("terminate", by, f"{by}, of which this one is a part, was terminated")
            await worker.recovery.request(record.child, request, [])

    async def _compare(self, parent: LiveRun, record: StepRecord, row: RunRow) -> None:
        """What the parent wants, beside what has become of the child."""
        worker = self._worker
        if row.pruned_at is not None:
            self._refuse(
                parent,
                record,
                Failure.of(RunConflict(TAKEN.format(row.id, row.workflow)), with_traceback=False),
            )
            return
        live = worker.runs.get(row.id)
        child = live.state if live is not None else await self._told(row)
        if is_ended(parent):
            return
        if (child.parent, child.parent_step) != (parent.id, record.number):
            error = RunConflict(TAKEN.format(row.id, row.workflow))
            self._refuse(parent, record, Failure.of(error, with_traceback=False))
        elif live is not None or child.status_ is None:
            if record.cancelled and not child.cancel_requested:
                why = f"run {parent.id}, of which this one is a part, no longer waits for it"
                await worker.recovery.request(row.id, Request("cancel", f"run {parent.id}", why), [])
        elif record.state is UNDOING and child.status_ is Status.COMPLETED:
            await self._reopen(parent, row, child)
        else:
            self._tell(parent, record.number, child)

    async def _told(self, row: RunRow) -> RunState:
        """The state of a run, as its journal tells it."""
        sealed = await self._worker.store.journal(row.key, after=row.leg_entry - 2)
        return folded(unseal_leg(row.id, sealed, row.leg_entry))

    async def _reopen(self, parent: LiveRun, row: RunRow, child: RunState) -> None:
        """Record in an ended child's journal that it is to be undone, whether or not its code still fits; then load it."""
        worker = self._worker
        async with worker.recovery.alone(row.id):
            newest = await worker.store.find(row.id)
            if newest is None or newest.ended_at is None:
                return  # reopened already, because of a late result: this is looked at again when it has ended
            last = (await worker.store.journal(row.key, after=await worker.store.length(row.key) - 1))[0]
            at = max(worker.now(), child.clock)
            entry = journal.Entry(at, worker.epoch, [journal.UndoRequested(parent.id)])
            sealed = seal(entry, last.number + 1, last.hash)
            status = Status.COMPENSATING
            write = Write(
                row.key,
                row.id,
                row.workflow,
                status,
                row.started_at,
                None,
                True,
                sealed,
                before=newest.status,
            )
            await worker.store.commit(worker.epoch, [write])
        await self._load(row.id)

    def _knows_workflow(self, parent: LiveRun, record: StepRecord) -> bool:
        """Have the worker know the child's workflow; False if it cannot."""
        try:
            if self._worker.registry.add_called(self._workflow(parent, record)):
                self._worker.recovery.look()
        except DefinitionError as error:
            self._refuse(parent, record, Failure.of(error, with_traceback=False))
            return False
        return True

    def _workflow(self, parent: LiveRun, record: StepRecord) -> Workflow[..., Any]:
        declared = parent.execution.program.steps[record.number]
        assert isinstance(declared, ChildStep)
        return declared.workflow

    def _tell(self, parent: LiveRun, step: int, child: RunState) -> None:
        if is_ended(parent):
            return
        if self._worker.runs.get(parent.id) is parent:
            self._worker.tell(parent, parent.execution.child_ended, step, child)
        else:  # it has left while its child was looked at
            self.look(parent.id, step)

    def _refuse(self, parent: LiveRun, record: StepRecord, failure: Failure) -> None:
        if self._worker.runs.get(parent.id) is parent:
            self._worker.tell(parent, parent.execution.child_refused, record.number, failure)


def is_ended(parent: LiveRun) -> bool:
    """Whether it was terminated, perhaps not yet durably: it hears nothing more of its children."""
    return parent.state.status_ is not None
