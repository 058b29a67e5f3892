"""``timers`` and ``sleepers``: many runs that wait, most of them in the store only, and go on all at once."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import makegood as mg
from benchmarks import workflows
from benchmarks.measure import Measurement, drive
from makegood.backend.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.02
MARGIN_SECONDS = 5.0
RESIDENT_RUNS = 1_000  # what an engine keeps in memory by default


async def timers(store: str, runs: int, in_flight: int) -> Measurement:
    """Runs that all wait for the same moment: the seconds from then until the last has gone on and ended."""
    measurement = Measurement("timers", store, runs, in_flight, steps_per_run=0)
    started = Measurement("timers", store, runs, in_flight, steps_per_run=0)
    due = datetime.now(UTC) + timedelta(seconds=runs / 1_000 + MARGIN_SECONDS)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            await engine.start(workflows.timer, due, id=f"timer-{number}")

        await drive(started, range(runs), one)
        left_seconds = due.timestamp() - time.time()
        if left_seconds < 0:
            raise AssertionError(f"starting took {-left_seconds:.1f} s longer than the timers")
        await asyncio.sleep(left_seconds)
        with measurement:
            await _all_ended(engine)
        rows = await engine.list(status="COMPLETED", limit=runs)
    lateness = [row.ended_at - due.timestamp() for row in rows if row.ended_at is not None]
    if len(lateness) != runs or min(lateness) < 0:
        raise AssertionError(
            f"{len(lateness)} of {runs} ended, the first {min(lateness):.3f} s after its time"
        )
    measurement.latencies = lateness
    measurement.more = {"starts_per_s": round(started.runs_per_second, 1)}
    return measurement


async def sleepers(store: str, runs: int, in_flight: int) -> Measurement:
    """Runs that wait for a signal: start them all, weigh them once they are out of memory, signal and finish them all."""
    measurement = Measurement("sleepers", store, runs, in_flight, steps_per_run=0)
    started = Measurement("sleepers", store, runs, in_flight, steps_per_run=0)
    async with mg.Engine(store) as engine:

        async def start(number: int) -> None:
            await engine.start(workflows.sleeper, number, id=f"sleeper-{number}")

        async def finish(number: int) -> None:
            run = await engine.get(f"sleeper-{number}")
            await run.signal(workflows.Wake, number)

        await drive(
            started, range(min(runs, RESIDENT_RUNS)), start
        )  # whatever is allocated once is not theirs
        before_bytes = _resident_bytes()
        started = Measurement("sleepers", store, runs, in_flight, steps_per_run=0)
        await drive(started, range(min(runs, RESIDENT_RUNS), runs), start)
        await _most_asleep(engine)
        gc.collect()
        bytes_per_run = (_resident_bytes() - before_bytes) / max(1, runs - RESIDENT_RUNS)
        with measurement:
            await drive(Measurement("signals", store, runs, in_flight, steps_per_run=0), range(runs), finish)
            await _all_ended(engine)
    measurement.more = {
        "starts_per_s": round((runs - RESIDENT_RUNS) / started.seconds, 1),
        "bytes_per_waiting_run": round(bytes_per_run),
    }
    return measurement


async def _most_asleep(engine: mg.Engine) -> None:
    assert isinstance(engine.backend, LocalBackend)
    assert engine.backend.worker is not None
    while len(engine.backend.worker.runs) > RESIDENT_RUNS:  # noqa: ASYNC110 - nothing announces an eviction
        await asyncio.sleep(POLL_SECONDS)


async def _all_ended(engine: mg.Engine) -> None:
    while await _unfinished(engine):  # noqa: ASYNC110 - nothing announces that all have ended
        await asyncio.sleep(POLL_SECONDS)


async def _unfinished(engine: mg.Engine) -> Sequence[object]:
    return await engine.list(status="RUNNING", limit=1)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
