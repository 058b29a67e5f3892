"""Why a run is not moving, in one sentence, told from its state, and from what a worker and its children know."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from makegood.engine.folds import DEADLINE
from makegood.engine.late import still_running
from makegood.engine.run import OPEN, PENDING, PROBING, UNDOING
from makegood.times import duration, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from makegood.engine.run import RunState, StepRecord
    from makegood.worker.gates import Holding

WAITS_SHOWN = 5
NO_WORKER = (
    "a live worker, as none works on this store (makegood worker MODULE starts one); by its journal for {}"
)


class Known(msgspec.Struct, frozen=True):
    """What is known of a run beyond its journal.

    ``now``: seconds since 1970, to say how long something still takes; ``held``: what holds steps, by their numbers, as
    their worker knows; ``children``: what child runs wait for, by their ids.
    """

    now: float | None = None
    held: Mapping[int, Holding] = MappingProxyType({})
    children: Mapping[str, str] = MappingProxyType({})


NOTHING_KNOWN = Known()


def waiting_for(run: RunState, began: Mapping[int, float], known: Known) -> str:
    """What has to happen before the run goes on; "" if it has ended.

    ``began``: since when each step, or its compensation, is under way.
    """
    if run.status_ is not None:
        return ""
    if run.paused is not None:
        return f"an operator to resume it: paused by {run.paused[0]} since {moment(run.paused[1])}"
    if run.parked:
        reasons = (f"parked since {moment(since)} because {reason}" for reason, since in run.parked.values())
        return listed([f"an operator: {reason}" for reason in reasons])
    waits = [_step(run, step, began, known) for step in run.steps.values() if _is_active(step)]
    waits += [f"signal {name}" for name in run.awaited]
    waits += [
        f"timer {_until(due, known.now)}" for timer, due in sorted(run.timers.items()) if timer != DEADLINE
    ]
    if not waits:
        waits = [f"an attempt of step {step.name} that cannot be stopped" for step in still_running(run)]
    sentence = listed(waits)
    if DEADLINE in run.timers and not run.rolling_back:
        limit = f"its time limit {_until(run.timers[DEADLINE], known.now)}"
        sentence = f"{sentence}, {limit}" if sentence else limit
    return sentence or "an update, or its worker"


def listed(waits: list[str]) -> str:
    """Some of them in words, and how many others there are."""
    rest = len(waits) - WAITS_SHOWN
    return ", ".join(waits[:WAITS_SHOWN]) + (f", and {rest:,} more" if rest > 0 else "")


def _is_active(step: StepRecord) -> bool:
    return step.state in (OPEN, PENDING, PROBING, UNDOING)


def _step(run: RunState, step: StepRecord, began: Mapping[int, float], known: Known) -> str:
    undoing = "undoing " if step.state is UNDOING else ""
    if step.child:
        reason = known.children.get(step.child, "")
        return f"{undoing}child run {step.child}{f' ({reason})' if reason else ''}"
    called = f"{undoing}step {step.name}"
    failed = f", after attempt {step.attempts} failed: {step.failure}" if step.failure is not None else ""
    if step.state is PENDING:
        until = f" {_until(step.retry_at, known.now)}" if step.retry_at else ""
        return f"{called}: completion from outside{until}"
    held_by = _held(step, known.held.get(step.number))
    if step.state is PROBING:
        return f"{called}: its probe{f' held by {held_by}' if held_by else ''}{failed}"
    number = step.attempts + 1
    if held_by:
        return f"{called}: attempt {number} held by {held_by}{failed}"
    if step.retry_at > (run.clock if known.now is None else known.now):
        left = f" (in {duration(step.retry_at - known.now)})" if known.now is not None else ""
        return f"{called}: attempt {number} at {moment(step.retry_at)}{left}{failed}"
    since = moment(max(began.get(step.number, 0.0), step.retry_at))
    return f"{called}: attempt {number} under way since {since}{failed}"


def _held(step: StepRecord, holding: Holding | None) -> str:
    """What holds its next attempt: as its worker knows, or else as the journal tells."""
    if holding is None:
        return "" if step.held is None else f"{step.held[0]} since {moment(step.held[1])}"
    if holding.opened_at is None:
        return holding.gate
    trial = "being tried" if holding.next_try_at is None else f"next try {moment(holding.next_try_at)}"
    return (
        f"{holding.gate}, open since {moment(holding.opened_at)} after {holding.failures} failures, {trial}"
    )


def _until(due: float, now: float | None) -> str:
    if now is None:
        return f"until {moment(due)}"
    return f"until {moment(due)} ({f'in {duration(due - now)}' if due > now else 'due'})"
