"""Schedules as people see and steer them. Straight through the store, from any process: the worker sees the change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from makegood.definition.schedule import Overlap
from makegood.engine.schedule_state import GONE, ScheduleAct, SkippedTicks, acted
from makegood.errors import MakegoodError, NotPossible, ScheduleNotFound, UsageError
from makegood.store.codec import schedule_row, schedule_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from makegood.engine.schedule_state import ScheduleState
    from makegood.store.protocol import ScheduleRow, Store

BACKFILL_LIMIT = 1_000


class ScheduleSummary(msgspec.Struct, frozen=True):
    """A schedule as listed. Times in seconds since 1970.

    Attributes:
        workflow: the name of the workflow, and of the schedule.
        cron, timezone, overlap, catch_up_seconds: see ``mg.Schedule``.
        next_tick: None if none will come: it is paused, or has a problem.
        last_tick, last_run, last_status: the tick started last, its run's id, and how that run stands.
        running: ids of ticks' runs that go on.
        waiting: ticks that wait for the end of a run: buffered or backfilled ones.
        skipped: the latest ticks that started no run, and why, the newest last.
        acts: what operators did to it lately, the newest last.
        paused: who paused it, when and why; None if it is not paused.
        problem: why it starts nothing, "" if it does.
    """

    workflow: str
    cron: str
    timezone: str
    overlap: Overlap
    catch_up_seconds: float
    next_tick: float | None
    last_tick: float | None
    last_run: str
    last_status: str
    running: tuple[str, ...]
    waiting: tuple[float, ...]
    skipped: tuple[SkippedTicks, ...]
    acts: tuple[ScheduleAct, ...]
    paused: ScheduleAct | None
    problem: str


class Worker(Protocol):
    """What is needed of the worker in this process, if it is here."""

    def look(self) -> None: ...

    async def settled(self) -> None: ...


class Schedules:
    """The schedules of one store."""

    def __init__(self, store: Store, now: Callable[[], float], worker: Callable[[], Worker | None]) -> None:
        self._store = store
        self._now = now
        self._worker = worker

    async def summaries(self) -> list[ScheduleSummary]:
        return [await self._summary(row.workflow, schedule_state(row)) for row in await self._rows()]

    async def pause(self, name: str, by: str, why: str) -> None:
        """Start nothing until it is resumed.

        Raises:
            NotPossible: it is paused already.
        """

        def paused(state: ScheduleState) -> ScheduleState:
            if state.paused is not None:
                raise NotPossible(
                    f"schedule {name} is paused already, by {state.paused.by}: {state.paused.why or 'no reason given'}"
                )
            return acted(state, ScheduleAct("pause", self._now(), by, why))

        await self._change(name, paused)

    async def resume(self, name: str, by: str, why: str) -> None:
        """Go on; ticks missed meanwhile start within the catch-up window.

        Raises:
            NotPossible: it is not paused.
        """

        def resumed(state: ScheduleState) -> ScheduleState:
            if state.paused is None:
                raise NotPossible(f"schedule {name} is not paused.")
            return acted(state, ScheduleAct("resume", self._now(), by, why))

        await self._change(name, resumed)

    async def backfill(
        self, name: str, since: datetime, until: datetime | None, by: str, why: str
    ) -> list[str]:
        """Have the ticks of the past that have no run run after all; their runs' ids."""
        row = await self._row(name)
        schedule, now = schedule_state(row).schedule, self._now()
        first, last = schedule.moment(since), now if until is None else schedule.moment(until)
        if first > last or last > now:
            raise UsageError(
                f"backfill of {name}: give a span of the past; not {since} to {until or 'now'}. "
                "The ticks to come start by themselves."
            )
        ticks = schedule.ticks(math.nextafter(first, -math.inf), last, BACKFILL_LIMIT + 1)
        if len(ticks) > BACKFILL_LIMIT:
            reached = schedule.local(ticks[-2]).isoformat()
            raise UsageError(
                f"backfill of {name}: over {BACKFILL_LIMIT:,} ticks at once. Take smaller spans, the first until {reached}."
            )
        missed = [tick for tick in ticks if await self._store.find(schedule.tick_id(name, tick)) is None]

        def backfilled(state: ScheduleState) -> ScheduleState:
            backlog = {*state.backlog, *missed} - {state.buffered}
            return acted(
                replace(state, backlog=tuple(sorted(backlog))), ScheduleAct("backfill", now, by, why)
            )

        if missed:
            await self._change(name, backfilled)
        return [schedule.tick_id(name, tick) for tick in missed]

    async def remove(self, name: str) -> None:
        """Forget a schedule whose workflow is no longer in the code. Its runs stay.

        Raises:
            NotPossible: the worker has it, or no worker has looked since it was taken out of the code.
        """
        while True:
            row = await self._row(name)
            if schedule_state(row).problem != GONE.format(name):
                raise NotPossible(
                    f"schedule {name} is in the code of the worker that looked last, and would be entered again. "
                    "Take it out of the code and restart the worker, or pause it."
                )
            if await self._store.remove_schedule(row):
                return

    async def _change(self, name: str, change: Callable[[ScheduleState], ScheduleState]) -> None:
        while True:
            row = await self._row(name)
            if await self._store.change_schedule(schedule_row(name, row, change(schedule_state(row)))):
                break
        worker = self._worker()
        if worker is not None:
            worker.look()
            await worker.settled()

    async def _rows(self) -> Sequence[ScheduleRow]:
        worker = self._worker()
        if worker is not None:
            await worker.settled()
        return await self._store.schedules()

    async def _row(self, name: str) -> ScheduleRow:
        rows = {row.workflow: row for row in await self._rows()}
        if name not in rows:
            known = ", ".join(rows) or "none yet: a worker enters those of its code"
            raise ScheduleNotFound(f"there is no schedule {name} in this store (there are: {known}).")
        return rows[name]

    async def _summary(self, name: str, state: ScheduleState) -> ScheduleSummary:
        last = await self._store.find(state.last_run) if state.last_run else None
        running = [await self._store.find(run_id) for run_id in state.running]
        next_tick, problem = None, state.problem
        if not problem and state.paused is None:
            try:
                next_tick = state.schedule.next_after(state.handled_until)
            except MakegoodError as error:
                problem = str(error)
        return ScheduleSummary(
            name,
            state.cron,
            state.timezone,
            state.overlap,
            state.catch_up_seconds,
            next_tick,
            state.last_tick,
            state.last_run,
            "" if last is None else last.status,
            tuple(run.id for run in running if run is not None and run.ended_at is None),
            state.waiting,
            state.skipped,
            state.acts,
            state.paused,
            problem,
        )
