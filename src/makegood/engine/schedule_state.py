"""What is remembered of a schedule from one look at it to the next, and how that changes. Pure data, kept as JSON.

``worker.scheduler`` looks, ``backend.schedules`` changes it for operators; both write it back only if nobody else did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from makegood.definition.keys import checked_text
from makegood.definition.schedule import Overlap, Schedule, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REMEMBERED = 20
"""How many of the latest skipped ticks and operators' acts are kept."""
AT_ONCE = 100
GONE = "no schedule of workflow {} is in the worker's code any more. Its ticks wait until it is back, or it is removed."


class SkippedTicks(msgspec.Struct, frozen=True):
    """Ticks that started no run, from ``first`` up to the moment ``until``, and why."""

    first: float
    until: float
    reason: str


class ScheduleAct(msgspec.Struct, frozen=True):
    """What an operator did to a schedule: ``pause``, ``resume`` or ``backfill``; when, who and why."""

    action: str
    at: float
    by: str
    why: str

    def __post_init__(self) -> None:
        """Refuse texts that cannot be stored: UsageError."""
        checked_text(self.by, "by")
        checked_text(self.why, "why")


class ScheduleState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule as it stands.

    Attributes:
        cron, timezone, overlap, catch_up_seconds: as the code said last.
        handled_until, buffered: see ``definition.schedule.Plan``.
        backlog: ticks that an operator wants to have run after all, in order.
        running: ids of ticks' runs that had not ended when this was written.
        last_tick, last_run: the tick started last, and its run.
        skipped, acts: the latest ones, the newest last.
        paused: the act that paused it, while it is paused.
        problem: why it starts nothing at all, "" if it does.
    """

    cron: str
    timezone: str
    overlap: Overlap
    catch_up_seconds: float
    handled_until: float
    buffered: float | None = None
    backlog: tuple[float, ...] = ()
    running: tuple[str, ...] = ()
    last_tick: float | None = None
    last_run: str = ""
    skipped: tuple[SkippedTicks, ...] = ()
    acts: tuple[ScheduleAct, ...] = ()
    paused: ScheduleAct | None = None
    problem: str = ""

    @property
    def schedule(self) -> Schedule:
        """What the code said last.

        Raises:
            DefinitionError: this machine does not know its time zone.
        """
        return Schedule(
            self.cron, timezone=self.timezone, overlap=self.overlap, catch_up=self.catch_up_seconds
        )

    @property
    def waiting(self) -> tuple[float, ...]:
        """Ticks that wait for the end of a run."""
        return self.backlog if self.buffered is None else (self.buffered, *self.backlog)


class Next(msgspec.Struct, frozen=True):
    """What a look at a schedule came to: the ticks to start, in the transaction that stores ``state``."""

    state: ScheduleState
    start: Sequence[float]
    skipped: Sequence[Skipped]
    wake_at: float | None


def agreed(state: ScheduleState | None, schedule: Schedule, now: float) -> ScheduleState:
    """The state after the code was asked. Ticks count from when a schedule is first seen; a changed one begins anew."""
    if state is None:
        return ScheduleState(
            schedule.cron, schedule.timezone, schedule.overlap, schedule.catch_up_seconds, handled_until=now
        )
    same_ticks = (state.cron, state.timezone) == (schedule.cron, schedule.timezone)
    return replace(
        state,
        cron=schedule.cron,
        timezone=schedule.timezone,
        overlap=schedule.overlap,
        catch_up_seconds=schedule.catch_up_seconds,
        handled_until=state.handled_until if same_ticks else max(state.handled_until, now),
        problem="",
    )


def planned(state: ScheduleState, schedule: Schedule, workflow: str, now: float) -> Next:
    """What to do now; ``state.running`` holds only runs that go on."""
    paused = state.paused is not None
    plan = schedule.plan(
        now,
        state.handled_until,
        running=bool(state.running),
        buffered=state.buffered,
        paused=paused,
        limit=AT_ONCE,
    )
    backfilled = 0
    if not paused and (schedule.overlap == "allow" or not (state.running or plan.start)):
        backfilled = AT_ONCE if schedule.overlap == "allow" else 1
    start = (*plan.start, *state.backlog[:backfilled])
    backlog = state.backlog[backfilled:]
    ids = [schedule.tick_id(workflow, tick) for tick in start]
    after = replace(
        state,
        handled_until=plan.handled_until,
        buffered=plan.buffered,
        backlog=backlog,
        running=(*state.running, *ids),
        last_tick=start[-1] if start else state.last_tick,
        last_run=ids[-1] if ids else state.last_run,
        skipped=_remembered(state.skipped, plan.skipped, schedule),
    )
    more = backlog and schedule.overlap == "allow" and not paused
    return Next(after, start, plan.skipped, now if more else plan.wake_at)


def _remembered(
    before: tuple[SkippedTicks, ...], skipped: Iterable[Skipped], schedule: Schedule
) -> tuple[SkippedTicks, ...]:
    """The latest ones; ticks skipped one after the other, with no other tick in between, are one line."""
    kept = list(before)
    for one in skipped:
        last = kept[-1] if kept else None
        if last is not None and last.reason == one.reason and schedule.next_after(last.until) == one.first:
            kept[-1] = replace(last, until=one.until)
        else:
            kept.append(SkippedTicks(one.first, one.until, one.reason))
    return tuple(kept[-REMEMBERED:])


def acted(state: ScheduleState, act: ScheduleAct) -> ScheduleState:
    """The state after an operator's act."""
    paused = act if act.action == "pause" else None if act.action == "resume" else state.paused
    return replace(state, paused=paused, acts=(*state.acts, act)[-REMEMBERED:])
