"""Schedules: when a workflow starts by itself. Pure arithmetic: the worker tells the time and carries the plan out.

cronsim finds the minutes that an expression matches, on a clock that is never set. What a time zone's clock makes of
them, when it is set forward or back, is decided here (``_instants``), by the rules of Debian's cron. cronsim knows these
rules, too, but what it finds then depends on where it starts to look, and a worker may start anywhere.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from makegood.definition.retry import seconds
from makegood.definition.validation import checked_choice
from makegood.errors import DefinitionError, UsageError

Overlap = Literal["skip", "buffer one", "allow"]

SHORTEST_CATCH_UP_SECONDS = 10.0
FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31, L (the last day) or LW (the last working day)",
    "month": "1-12 or JAN-DEC",
    "day of week": "0-7 (0 and 7 are Sunday) or SUN-SAT, 5L (the last Friday) or 5#2 (the second Friday)",
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """Ticks that start no run: all from ``first`` up to and including the moment ``until``.

    ``too late``: missed for longer than the catch-up window. ``still running``: an earlier tick's run was in the way.
    """

    first: float
    until: float
    reason: Literal["too late", "still running"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and what to remember: to be stored in one transaction with the starts.

    Attributes:
        start: ticks whose runs start now, in this order.
        skipped: ticks that start no run, and why.
        handled_until: every tick up to here is started, buffered or skipped; the next plan goes on from here.
        buffered: the tick that waits for the end of the run that is going on.
        wake_at: when to plan again; in the past if more ticks are due already; None while paused. Besides: when a run
            ends while a tick is buffered, and on unpause.
    """

    start: tuple[float, ...]
    skipped: tuple[Skipped, ...]
    handled_until: float
    buffered: float | None
    wake_at: float | None


class Schedule:
    """When to start a workflow by itself.

    Args:
        cron: minute, hour, day of month, month and day of week, as in ``"0 2 * * *"`` or ``"*/15 8-17 * * MON-FRI"``;
            also ``L`` and ``LW`` as the day of month, ``5L`` and ``5#2`` as the day of week. If both days are given,
            either may match, as in every cron.
        timezone: where the clock hangs that ``cron`` means, such as ``"Europe/Berlin"``. When it is set forward, a tick
            at a time left out comes right after the change; when it is set back, a tick in the repeated hour comes once.
            With a minute or an hour that begins with ``*``, ticks just follow the clock: none in the hour left out, and
            again in the repeated one.
        overlap: what happens to a tick while an earlier tick's run is going on. ``"skip"`` drops it, ``"buffer one"``
            lets the first such tick wait for the end of the run and drops further ones, ``"allow"`` starts it at once.
        catch_up: how late (seconds, or a timedelta) a tick may start that came while no worker was alive or the
            schedule was paused; older ones are skipped. Missed ticks come in their order, and ``overlap`` counts for them
            too. At least 10 seconds: within these, a tick is in time.

    Raises:
        DefinitionError: the expression cannot be read or never fires, or another argument makes no sense.
    """

    __slots__ = ("_zone", "catch_up_seconds", "cron", "overlap", "timezone")

    def __init__(
        self,
        cron: str,
        *,
        timezone: str = "UTC",
        overlap: Overlap = "skip",
        catch_up: float | timedelta = timedelta(days=1),
    ) -> None:
        self.cron = _checked_cron(cron)
        self.timezone = timezone
        self._zone = _zone(timezone)
        checked_choice(overlap, get_args(Overlap), "Schedule(overlap=…)")
        self.overlap: Overlap = overlap
        self.catch_up_seconds = seconds(catch_up, "Schedule(catch_up=…)")
        if self.catch_up_seconds < SHORTEST_CATCH_UP_SECONDS:
            raise DefinitionError(
                f"Schedule(catch_up={catch_up!r}) would skip ticks that a busy worker notices a moment late: "
                f"give at least {SHORTEST_CATCH_UP_SECONDS:g} seconds."
            )

    def next_after(self, at: float) -> float:
        """The first tick later than this moment; both in seconds since 1970, UTC.

        Raises:
            UsageError: the moment is no number, or beyond the calendar.
        """
        try:
            return self._next_after(at)
        except (OverflowError, ValueError, TypeError, OSError):
            raise UsageError(
                f"{at!r} is no moment that a schedule can count from: seconds since 1970."
            ) from None

    def ticks(self, after: float, until: float, limit: int) -> list[float]:
        """The ticks later than ``after``, up to and including ``until``, in order; at most ``limit``, the first ones."""
        found: list[float] = []
        at = after
        while len(found) < limit and (at := self.next_after(at)) <= until:
            found.append(at)
        return found

    def tick_id(self, workflow: str, tick: float) -> str:
        """The id of this tick's run, the same on every worker: ``nightly@2026-11-23T02:00:00+01:00``."""
        return f"{workflow}@{self.local(tick).isoformat()}"

    def local(self, at: float) -> datetime:
        """This moment on the schedule's clock, with the clock's offset from UTC."""
        local = datetime.fromtimestamp(at, self._zone)
        # Not with the zone itself: in a repeated hour, such a datetime equals none that comes back from JSON (PEP 495).
        return datetime.fromtimestamp(at, timezone(local.utcoffset() or timedelta(0)))

    def moment(self, when: datetime) -> float:
        """Seconds since 1970, UTC. A datetime without a time zone is a time on the schedule's clock.

        Raises:
            UsageError: it is no datetime.
        """
        if not isinstance(when, datetime):
            raise UsageError(f"{when!r} is no moment: give a datetime.")
        return (when if when.tzinfo is not None else when.replace(tzinfo=self._zone)).timestamp()

    def plan(
        self,
        now: float,
        handled_until: float,
        *,
        running: bool,
        buffered: float | None = None,
        paused: bool = False,
        limit: int = 100,
    ) -> Plan:
        """What to do at this moment. Planned again from what it answers, it never starts a tick twice.

        Args:
            now: the time, in seconds since 1970, UTC. It may have been set back since the last plan.
            handled_until: as the last plan said; at first, when the schedule was first seen.
            running: whether a run of an earlier tick is going on.
            buffered: as the last plan said.
            paused: whether an operator has paused the schedule.
            limit: how many ticks to start in one plan, at most.
        """
        if paused:
            return Plan((), (), handled_until, buffered, None)
        start: list[float] = []
        skipped: list[Skipped] = []
        if buffered is not None and not running:
            start.append(buffered)
            buffered, running = None, True
        due, oldest = self.next_after(handled_until), now - self.catch_up_seconds
        if due <= oldest:
            skipped.append(Skipped(due, oldest, "too late"))
            handled_until, due = oldest, self.next_after(oldest)
        while due <= now and len(start) < limit:
            if self.overlap == "allow" or not running:
                start.append(due)
                handled_until, running = due, True
            elif self.overlap == "buffer one" and buffered is None:
                handled_until = buffered = due
            else:
                skipped.append(Skipped(due, now, "still running"))
                handled_until = now
            due = self.next_after(handled_until)
        return Plan(tuple(start), tuple(skipped), handled_until, buffered, wake_at=due)

    def __repr__(self) -> str:
        return (
            f"Schedule({self.cron!r}, timezone={self.timezone!r}, overlap={self.overlap!r}, "
            f"catch_up={self.catch_up_seconds})"
        )

    def _next_after(self, at: float) -> float:
        # A clock that is about to be set back will show times again that it has shown already.
        second, day = math.floor(at), timedelta(days=1)
        now, tomorrow = _clock(second, self._zone), _clock(second + day.total_seconds(), self._zone)
        set_back = max(now + day - tomorrow, timedelta(0))
        found = math.inf
        for minute in CronSim(self.cron, now - set_back):
            instants = self._instants(minute)
            found = min([found, *(instant for instant in instants if instant > at)])
            if instants and instants[0] >= found:  # later minutes are first shown later still
                return found
        raise OverflowError

    def _instants(self, minute: datetime) -> list[float]:
        """When the ticks are that the expression has at this minute of the zone's clock, in order."""
        shown = _shown(minute, self._zone)
        if any(field.startswith("*") for field in self.cron.split()[:2]):
            return shown
        while not shown:
            minute += timedelta(minutes=1)
            shown = _shown(minute, self._zone)
        return shown[:1]


def checked_schedule(schedule: str | Schedule | None) -> Schedule | None:
    """The schedule, if it is one; a bare string is an expression in UTC."""
    if isinstance(schedule, str):
        return Schedule(schedule)
    if schedule is not None and not isinstance(schedule, Schedule):
        raise DefinitionError(
            f"schedule={schedule!r} is no schedule: use schedule='0 2 * * *', "
            "or mg.Schedule('0 2 * * *', timezone='Europe/Berlin')."
        )
    return schedule


def _shown(minute: datetime, zone: tzinfo) -> list[float]:
    """When the zone's clock shows this: once; twice when it is set back; never when it is set forward over it."""
    instants = {minute.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)}
    return sorted(instant for instant in instants if _clock(instant, zone) == minute)


def _clock(instant: float, zone: tzinfo) -> datetime:
    """What the zone's clock shows at this moment."""
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)


def _checked_cron(cron: str) -> str:
    if not isinstance(cron, str):
        raise DefinitionError(f"schedule {cron!r} is no cron expression: give a string such as '0 2 * * *'.")
    values = cron.split()
    if len(values) != len(FIELDS):
        raise DefinitionError(
            f"schedule {cron!r} has {len(values)} fields, and needs {len(FIELDS)}: {', '.join(FIELDS)}, as in "
            "'0 2 * * *' (daily at 02:00). There are no seconds, and no names such as @daily."
        )
    for position, (name, allowed) in enumerate(FIELDS.items()):
        for term in values[position].split(","):
            alone = ["*"] * len(FIELDS)
            alone[position] = term
            if not _readable(" ".join(alone)):
                raise DefinitionError(
                    f"schedule {cron!r}: {name} {term!r} cannot be read. Allowed are {allowed}; "
                    "'*', lists as 1,2, ranges upwards as 1-5, steps as */2."
                )
    if not _fires(" ".join(values)):
        days = ", ".join(f"{name} {value!r}" for name, value in list(zip(FIELDS, values, strict=True))[2:])
        raise DefinitionError(f"schedule {cron!r} never fires: no date has {days}.")
    return " ".join(values)


def _readable(cron: str) -> bool:
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError):
        return False
    return True


def _fires(cron: str) -> bool:
    """Whether it matches within 50 years; 29 February comes on each day of the week within 40."""
    try:
        return any(True for _ in CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError:  # a day of month that none of the months has
        return False


def _zone(timezone: str) -> tzinfo:
    if timezone == "UTC":
        return UTC
    if not isinstance(timezone, str):
        raise DefinitionError(f"Schedule(timezone={timezone!r}): give a name such as 'Europe/Berlin'.")
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
    if not known:
        raise DefinitionError(
            f"Schedule(timezone={timezone!r}): this machine has no time zone data. Install it: pip install tzdata."
        )
    alike = difflib.get_close_matches(timezone, known, n=1)
    hint = f"Did you mean {alike[0]!r}?" if alike else "Give a name such as 'Europe/Berlin'."
    raise DefinitionError(f"Schedule(timezone={timezone!r}): there is no such time zone. {hint}")
