"""Starts workflows by themselves: looks at the schedules, creates the ticks' runs, and sleeps until the next tick.

look ──▶ plan ──▶ [ advance the schedule + create the runs: one transaction ] ──▶ recovery adopts the runs
 ▲ the next tick is due · a run in the way has ended · somebody else wrote to the store · a workflow was added
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from makegood.engine.schedule_state import GONE, Next, agreed, planned
from makegood.errors import MakegoodError, StoreError, StoreFull, StoreLocked
from makegood.store.codec import schedule_row, schedule_state, submission
from makegood.worker.timers import Alarm

if TYPE_CHECKING:
    from makegood.definition.schedule import Schedule
    from makegood.definition.workflow import Workflow
    from makegood.engine.schedule_state import ScheduleState
    from makegood.store.protocol import ScheduleRow, Write
    from makegood.worker.worker import Worker

log = logging.getLogger("makegood")

REFUSED_WAIT_SECONDS = 0.5
LONGEST_SLEEP_SECONDS = 60.0  # while a tick waits, or cannot be started
SKIPPED = "schedule %s: skipped what was due from %s to %s: %s."


class Scheduler:
    """The part of a worker that looks at the calendar."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False
        self._in_the_way: set[str] = set()  # runs whose end may let a tick start
        self._seen_to: dict[
            str, tuple[int, float | None]
        ] = {}  # which revision of a schedule, and until when

    def look(self) -> None:
        """Look at the schedules at once."""
        if not self._closed:
            self._settled.clear()
            self._wanted.set()

    def ended(self, run_id: str) -> None:
        """A run has ended: a tick may have waited for it."""
        if run_id in self._in_the_way:
            self._in_the_way.discard(run_id)
            self._seen_to.clear()
            self.look()

    def close(self) -> None:
        """Start nothing any more."""
        self._closed = True
        self._settled.set()

    async def settled(self) -> None:
        """Wait until the store knows the schedules of this worker's code, and nothing is due.

        Raises:
            StoreError: the worker has stopped.
        """
        await self._settled.wait()
        self._worker.check()

    async def serve(self) -> None:
        """Start what is due until cancelled."""
        worker = self._worker
        try:
            while not self._closed:
                self._wanted.clear()
                wake_at = await self._look()
                if not self._wanted.is_set() and (wake_at is None or wake_at > worker.now()):
                    self._settled.set()
                alarm = None if wake_at is None else Alarm(worker.loop, worker.now, wake_at, self.look)
                try:
                    await self._wanted.wait()
                finally:
                    if alarm is not None:
                        alarm.cancel()
        finally:
            self.close()

    async def _look(self) -> float | None:
        """Start what is due; when to look again."""
        worker = self._worker
        try:
            rows = {row.workflow: row for row in await worker.store.schedules()}
            wake_ats = [
                await self._see_to(workflow, rows.pop(workflow.name, None))
                for workflow in worker.registry.scheduled
            ]
            for row in rows.values():
                await self._set_aside(row)
        except (StoreFull, StoreLocked) as refused:
            log.error("%s", refused)
            return worker.now() + REFUSED_WAIT_SECONDS
        return min((at for at in wake_ats if at is not None), default=None)

    async def _see_to(self, workflow: Workflow[..., Any], row: ScheduleRow | None) -> float | None:
        """Start what is due of one schedule; when to look at it again. Nothing is due before that, unless it is written."""
        schedule, now = workflow.schedule, self._worker.now()
        assert schedule is not None
        if row is not None and row.workflow in self._seen_to:
            revision, wake_at = self._seen_to[row.workflow]
            if revision == row.revision and (wake_at is None or now < wake_at):
                return wake_at
        try:
            before = None if row is None else schedule_state(row)
        except StoreError as unreadable:
            log.error("%s", unreadable)
            return None
        state = agreed(before, schedule, now)
        state = replace(state, running=await self._going_on(state.running, schedule))
        plan, starts = self._planned(workflow, schedule, state, now)
        after = schedule_row(workflow.name, row, plan.state)
        changed = before is None or replace(plan.state, running=before.running) != before
        if schedule.overlap != "allow":
            self._in_the_way.update(plan.state.running)  # before they can end
        if changed:
            if not await self._worker.store.advance_schedule(self._worker.epoch, after, starts):
                return now  # somebody else wrote it in between
            self._tell(workflow.name, schedule, plan, starts)
        if any(write.key is None for write in starts):
            return now  # runs of these ids exist: they may be over
        wake_at = plan.wake_at
        if wake_at is not None and plan.state.waiting:
            wake_at = min(wake_at, now + LONGEST_SLEEP_SECONDS)
        if schedule.overlap == "allow" or self._in_the_way.issuperset(plan.state.running):
            self._seen_to[workflow.name] = after.revision + changed, wake_at
        return wake_at

    def _planned(
        self, workflow: Workflow[..., Any], schedule: Schedule, state: ScheduleState, now: float
    ) -> tuple[Next, list[Write]]:
        """What to do now; nothing, if that is impossible for a reason that only harms this schedule."""
        try:
            plan = planned(state, schedule, workflow.name, now)
            return plan, [
                submission(
                    workflow,
                    schedule.tick_id(workflow.name, tick),
                    workflow.arguments_at(schedule.local(tick)),
                    now,
                )
                for tick in plan.start
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other schedules go on
            problem = str(error) if isinstance(error, MakegoodError) else f"{type(error).__name__}: {error}"
            return Next(replace(state, problem=problem), (), (), now + LONGEST_SLEEP_SECONDS), []

    def _tell(self, name: str, schedule: Schedule, plan: Next, starts: list[Write]) -> None:
        """The store holds it now: have the runs adopted, and say what happened."""
        if starts:
            self._worker.recovery.look()
        if plan.state.problem:
            log.error("schedule %s starts nothing: %s", name, plan.state.problem)
        for write in starts:
            log.info(
                "schedule %s: run %s %s.",
                name,
                write.id,
                "exists already" if write.key is None else "started",
            )
        for one in plan.skipped:
            first, until = schedule.local(one.first), schedule.local(one.until)
            log.warning(SKIPPED, name, first.isoformat(), until.isoformat(), one.reason)

    async def _going_on(self, run_ids: tuple[str, ...], schedule: Schedule) -> tuple[str, ...]:
        """Those of the runs that have not ended."""
        if schedule.overlap != "allow":
            self._in_the_way.update(run_ids)  # before looking: no end is missed
        found = [await self._worker.store.find(run_id) for run_id in run_ids]
        return tuple(row.id for row in found if row is not None and row.ended_at is None)

    async def _set_aside(self, row: ScheduleRow) -> None:
        """A schedule that this worker's code does not have: it stays, and says so."""
        problem = GONE.format(row.workflow)
        try:
            state = schedule_state(row)
        except StoreError as unreadable:
            log.error("%s", unreadable)
            return
        if state.problem != problem:
            log.warning("schedule %s: %s", row.workflow, problem)
            after = schedule_row(row.workflow, row, replace(state, problem=problem))
            await self._worker.store.advance_schedule(self._worker.epoch, after, ())
