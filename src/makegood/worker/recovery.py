"""Recovery: adopt unfinished runs, replay them, and set those aside that cannot go on. At the start and all the time.

Also where requests arrive, this process's and (``worker.inbox``) others'; and new runs, found by looking at the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING

from makegood.engine import journal
from makegood.engine.coroutine import CoroutineProgram
from makegood.engine.execution import Execution
from makegood.engine.folds import folded
from makegood.engine.operator import has_ended
from makegood.engine.trial import objection
from makegood.errors import (
    DeterminismError,
    JournalCorrupt,
    MakegoodError,
    NotPossible,
    StoreFull,
    StoreLocked,
    not_found,
)
from makegood.store.codec import seal, unseal_leg
from makegood.store.protocol import Write
from makegood.worker.dispatch import resume
from makegood.worker.inbox import Inbox, NotYet
from makegood.worker.live import LiveRun
from makegood.worker.reader import Reader
from makegood.worker.termination import abandoned, is_being_undone, record_after_end, terminate
from makegood.worker.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from makegood.engine.operator import Request
    from makegood.store.protocol import InboxAnswer, RunRow, SealedEntry
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.05
ADOPT_AT_ONCE = 200
UNDOING = ("COMPENSATING", "PARKED", "PAUSED")


class Recovery:
    """The part of a worker that takes runs in."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._wanted = asyncio.Event()
        self._reader = Reader(worker)
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._alarm: Alarm | None = None  # for the next sleeping run that is due
        self.inbox = Inbox(worker, self)
        self.unfit: dict[str, str] = {}
        """Runs that this worker owns and cannot drive, and why."""

    def look(self) -> None:
        """Look for runs at once: a workflow was added."""
        self._wanted.set()

    def wake_by(self, due: float) -> None:
        """Look again when the clock has reached ``due``, if not before."""
        if math.isinf(due) or (self._alarm is not None and self._alarm.due <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = Alarm(self._worker.loop, self._worker.now, due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wanted.set()

    async def serve(self) -> None:
        """Adopt and answer until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._look()

    async def listen(self) -> None:
        """Have a look whenever another process may have written, until cancelled."""
        version = -1
        while True:
            version = await self._worker.store.next_change(version)
            self._wanted.set()

    async def _look(self) -> None:
        try:
            await self.inbox.answer(terminations=True)  # before a poisonous run is taken in
            await self._adopt()
            await self.inbox.answer()
            self._worker.scheduler.look()
        except (StoreFull, StoreLocked) as refused:
            log.error("%s", refused)
            await asyncio.sleep(REFUSED_WAIT_SECONDS)
            self._wanted.set()

    def set_aside(self, run: LiveRun, error: BaseException) -> None:
        """Stop driving a run that cannot go on. Nothing is written: its journal is what it was."""
        log.error("run %s is set aside: %s", run.id, error)
        self.unfit[run.id] = str(error)
        self._worker.drop(run, error)

    def stand(self, run: LiveRun, reason: str) -> None:
        """Stop driving a run until its code is corrected; that is recorded."""
        log.error("run %s is parked: %s", run.id, reason)
        self.unfit[run.id] = reason
        self._worker.let_sleep(run)

    # ---- adopting ------------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        worker = self._worker
        while True:
            now = worker.now()
            async with worker.eviction.under_way:
                rows = await worker.store.adopt(worker.epoch, worker.registry.known, ADOPT_AT_ONCE, now)
            for row in rows:
                await self.load(row, woken=True)
            if len(rows) < ADOPT_AT_ONCE:
                break
            await asyncio.sleep(0)
        self.wake_by(await worker.store.next_wake(now))

    async def load(self, row: RunRow, *, woken: bool = False) -> LiveRun | None:
        """The run in memory, taken in if need be; None if it cannot go on. ``woken``: its row was asleep, and is not now."""
        async with self.alone(row.id) as waited:
            newest = await self._worker.store.find(row.id) if waited or woken else row
            gone = newest is None or newest.ended_at is not None
            asleep_again = woken and newest is not None and newest.wake_at is not None
            if row.id not in self._worker.runs and not (gone or asleep_again):
                await self.take_in(row, woken=woken)
        return self._worker.runs.get(row.id)

    @contextlib.asynccontextmanager
    async def alone(self, run_id: str) -> AsyncIterator[bool]:
        """While a run that is not in memory is seen to, nobody else does; whether somebody else just has."""
        waited = False
        while run_id in self._loading:
            waited = True
            await asyncio.shield(self._loading[run_id])
        self._loading[run_id] = done = self._worker.loop.create_future()
        try:
            yield waited
        finally:
            del self._loading[run_id]
            done.set_result(None)

    async def take_in(
        self,
        row: RunRow,
        retried: journal.OperatorActed | None = None,
        *,
        woken: bool = False,
        sealed: Sequence[SealedEntry] | None = None,
    ) -> None:
        """Replay a run and go on with it; park it if the code does not fit. ``retried``: an operator asked for another try.

        ``sealed``: its last leg, if that has been read.

        Raises:
            NotPossible: an operator asked, and it still does not fit.
        """
        worker = self._worker
        if sealed is None:
            sealed = await worker.store.journal(row.key, after=row.leg_entry - 2)
        try:
            entries = unseal_leg(row.id, sealed, row.leg_entry)
        except JournalCorrupt as error:
            log.error("%s The run is not continued; restore the database from a backup.", error)
            self.unfit[row.id] = str(error)
            if retried is not None:
                raise NotPossible(f"The run cannot be continued. {error}") from error
            return
        if row.status in UNDOING and is_being_undone(entries):
            with contextlib.suppress(NotPossible):
                self._go_on(abandoned(worker, row, sealed), slept=False)
                return
        run = self._revive(row, sealed[-1].number, sealed[-1].hash)
        try:
            if self._relived(run, entries, retried):
                slept = row.wake_at is not None
                run.asleep = slept and not woken
                if run.asleep and (run.state.in_flight or run.state.rolling_back):
                    await worker.store.set_wake(
                        worker.epoch, [(row.key, None)]
                    )  # before an attempt may begin
                    run.asleep = False
                self._go_on(run, slept=slept)
        except Exception as error:
            worker.drop(run, error)
            await self._unfit(row, entries, sealed[-1], error)
            if retried is not None:
                raise NotPossible(f"The run still cannot go on. {error}") from error

    async def reload(self, run: LiveRun, lost: Write) -> None:
        """Take a run in anew from its journal: ``lost``, which it was told, can no longer be written."""
        run.overtaken = True
        self._worker.let_sleep(run)
        self.inbox.ask_again(*lost.answered, *run.answers)
        row = await self._worker.store.find(run.id)
        if row is not None and row.ended_at is None:
            await self.load(row)
        self.look()

    def _relived(
        self, run: LiveRun, entries: list[journal.Entry], retried: journal.OperatorActed | None
    ) -> bool:
        """Replay; False if the run stays parked because of its code."""
        first = entries[0].events[0]
        run.leg = first.leg if isinstance(first, journal.RunContinued) else 1
        run.execution.replay(entries)
        if 0 not in run.state.parked:
            return True
        if retried is None:
            self.unfit[run.id] = run.state.parked[0][0]
            run.execution.program.close()
            return False
        run.execution.resumed(retried, self._worker.now())
        return True

    def _revive(self, row: RunRow, number: int, previous_hash: bytes) -> LiveRun:
        workflow = self._worker.registry.get(row.workflow, row.version)
        run = LiveRun(row.id, Execution(workflow, CoroutineProgram(workflow)))
        run.key, run.entry_number, run.hash, run.last_status = row.key, number, previous_hash, row.status
        run.leg_entry = row.leg_entry
        return run

    def _go_on(self, run: LiveRun, *, slept: bool) -> None:
        worker = self._worker
        self.unfit.pop(run.id, None)
        at = worker.now()
        if worker.changes.begins is not None:
            worker.changes.begins()
        worker.take_up(run)
        resume(worker, run, at, slept=slept)
        if run.state.parent and not slept:
            worker.children.returned(run)
        if slept:
            worker.eviction.waits(run)
            worker.committer.enqueue(run)  # what changed code decides beyond its journal
        else:
            worker.tell(run, lambda _: run.execution.recover(at, worker.dice()))

    async def _unfit(
        self, row: RunRow, entries: list[journal.Entry], last: SealedEntry, error: Exception
    ) -> None:
        """Set aside a run that cannot go on. That its code does not fit is recorded, once; nothing else is written."""
        worker = self._worker
        self.unfit[row.id] = reason = str(error)
        log.error("run %s cannot go on: %s", row.id, reason, exc_info=not isinstance(error, MakegoodError))
        if not isinstance(error, DeterminismError):
            return
        try:
            state = folded(entries)
        except JournalCorrupt:
            return
        if 0 in state.parked:
            return
        entry = journal.Entry(max(worker.now(), state.clock), worker.epoch, [journal.RunParked(0, reason)])
        sealed = seal(entry, last.number + 1, last.hash)
        parked = Write(
            row.key, row.id, row.workflow, "PARKED", row.started_at, None, True, sealed, before=row.status
        )
        await worker.store.commit(worker.epoch, [parked])
        worker.changes.tell(row.id)

    # ---- requests --------------------------------------------------------------------------------------------------

    async def request(self, run_id: str, request: Request, answers: list[InboxAnswer]) -> bool:
        """Carry out an operator's request to any run; True if it recorded something.

        Raises:
            NotPossible: the run's state does not admit it; nothing was changed.
        """
        worker = self._worker
        if request.action == "skip":
            await self._try_out(run_id, request)
        run = worker.runs.get(run_id)
        if request.action == "late" and run is not None and run.state.status_ is not None:
            await worker.committer.flushed()
            run = worker.runs.get(run_id)
        if run is None:
            found = await self._found(run_id, request)
            if not isinstance(found, LiveRun) and found.ended_at is not None:
                return await self._request_ended(found, request, answers)
            if not isinstance(found, LiveRun):
                return await self._request_unfit(found, request, answers)
            run = found
        worker.request(run, request, answers)
        return bool(run.execution.events)

    async def _try_out(self, run_id: str, request: Request) -> None:
        """Whether the workflow goes on without a step; what else may stand in the way of it is seen when it is carried out.

        Raises:
            NotPossible: it needs the result.
        """
        worker = self._worker
        await worker.committer.flushed()
        row = await worker.store.find(run_id)
        if row is None or row.status != "PARKED" or run_id in self.unfit:
            return
        if not worker.registry.knows(row.workflow, row.version):
            return
        sealed = await worker.store.journal(row.key, after=row.leg_entry - 2)
        failure = None
        with contextlib.suppress(JournalCorrupt, DeterminismError):
            entries = unseal_leg(run_id, sealed, row.leg_entry)
            if is_being_undone(entries):  # none of its workflow's code is run any more
                return
            failure = objection(self._revive(row, 0, b"").execution, entries, request, worker.now())
        if failure is not None:
            raise NotPossible(
                f"run {run_id} cannot skip {request.step or 'its parked step'}: its workflow does not go on without the "
                f"result: {failure}. What is possible: retry, resolve with a result, cancel, rollback."
            )

    async def _found(self, run_id: str, request: Request) -> LiveRun | RunRow:
        """A run that was not in memory, taken in; or its row, if it cannot or need not be.

        Its journal is read while nobody else may take it in, so that nothing is added to it meanwhile.
        """
        worker = self._worker
        async with self.alone(run_id):
            run = worker.runs.get(run_id)
            if run is not None:
                return run
            stored = await self._reader.read(run_id)
            if stored is None:
                raise not_found(run_id)
            row = stored.row
            if row.ended_at is not None:
                if request.action == "late" and row.pruned_at is None:
                    return row
                raise has_ended(request, run_id, row.status)
            known = worker.registry.knows(row.workflow, row.version) and run_id not in self.unfit
            if known and request.action != "terminate":
                await self.take_in(row, sealed=stored.leg)
        return worker.runs.get(run_id, row)

    async def _request_ended(self, row: RunRow, request: Request, answers: list[InboxAnswer]) -> bool:
        """Record what became of an attempt after its run had ended, and go on with the run if that changes anything."""
        store = self._worker.store
        async with self.alone(row.id):
            newest = await store.find(row.id)
            if newest is not None and newest.ended_at is not None:
                recorded = await record_after_end(self._worker, newest, request, answers)
                newest = await store.find(row.id)
            else:
                recorded = None
        if recorded is None:
            return await self.request(row.id, request, answers)
        known = self._worker.registry.knows(row.workflow, row.version)
        if newest is not None and newest.ended_at is None and known:
            await self.load(newest)
        return recorded

    async def _request_unfit(self, row: RunRow, request: Request, answers: list[InboxAnswer]) -> bool:
        """The same for a run that cannot be driven: its code is not here, or does not fit."""
        if request.action == "terminate":
            return await self._terminate(row, request, answers)
        if request.action in ("signal", "late"):
            raise NotYet
        if request.action not in ("resume", "retry") or not self._worker.registry.knows(
            row.workflow, row.version
        ):
            raise NotPossible(
                f"run {row.id} cannot {request.action}: {self.why_not(row)} "
                "What is possible in every state: terminate."
            )
        async with self.alone(row.id):
            await self.take_in(row, journal.OperatorActed("resume", request.by, request.why))
        self.look()
        return False

    async def _terminate(self, row: RunRow, request: Request, answers: list[InboxAnswer]) -> bool:
        async with self.alone(row.id):
            run = self._worker.runs.get(row.id)
            if run is not None:
                self._worker.request(run, request, answers)
                return bool(run.execution.events)
            if request.compensate:
                return await self._undo(row, request, answers)
            await terminate(self._worker, row, request, answers)
        self.unfit.pop(row.id, None)
        self._worker.awaiting.wake(row.id)
        return True

    async def _undo(self, row: RunRow, request: Request, answers: list[InboxAnswer]) -> bool:
        worker = self._worker
        try:
            run = abandoned(worker, row, await worker.store.journal(row.key))
        except NotPossible:
            if row.id not in self.unfit and worker.registry.knows(row.workflow, row.version):
                await self.take_in(row)  # a replay finds every step
            if row.id not in worker.runs:
                raise
            worker.request(worker.runs[row.id], request, answers)
            return True
        if row.wake_at is not None:
            await worker.store.set_wake(worker.epoch, [(row.key, None)])  # before an attempt may begin
        run.execution.act(request, worker.now())
        run.answers.extend(answers)
        self._go_on(run, slept=False)
        return True

    def why_not(self, row: RunRow) -> str:
        """Why a run that has not ended is not being driven."""
        if row.id in self.unfit:
            return self.unfit[row.id]
        versions = ", ".join(map(str, self._worker.registry.versions(row.workflow)))
        if not versions:
            return f"no live worker knows its workflow {row.workflow}."
        return (
            f"no live worker knows version {row.version} of its workflow {row.workflow} (known: {versions}). "
            f"Keep the old function beside the new one: @mg.workflow(name={row.workflow!r}, version={row.version})."
        )
