"""``alone`` and ``long``: what one run takes beside the commits that it cannot do without, measured by turns."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING

import makegood as mg
from benchmarks import workflows
from benchmarks.crash import LONG_LENGTH, resume_seconds
from benchmarks.limit import BareStore, Floor, RawSqlite, RecordingStore
from benchmarks.measure import Measurement, drive
from makegood.client import store_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK_RUNS = 20
COMMITS_PER_ORDER = 4


async def alone(store: str, runs: int, in_flight: int) -> Measurement:
    """Sagas of three steps, one at a time: blocks of 20 by turns with their commits made without the engine.

    The disk's moods outlast a block, so that the ratios are those of the middle block.
    """
    del in_flight
    measurement = Measurement("alone", store, runs, 1, steps_per_run=3)
    blocks = []
    async with _beside(store) as (engine, recording, floor):

        async def one(number: int) -> None:
            await engine.run(workflows.order, number, id=f"order-{number}")

        for first in range(0, runs, BLOCK_RUNS):
            numbers = range(first, min(first + BLOCK_RUNS, runs))
            await drive(measurement, numbers, one)
            commits = recording.take()
            assert len(commits) == COMMITS_PER_ORDER * len(numbers)
            sagas = [commits[at : at + COMMITS_PER_ORDER] for at in range(0, len(commits), COMMITS_PER_ORDER)]
            blocks.append(
                (
                    median(measurement.latencies[first:]),
                    median([await floor.commits_seconds(saga) for saga in sagas]),
                    median([floor.raw_seconds(saga) for saga in sagas]),
                )
            )
    measurement.more = {
        "four_commits_p50_ms": round(median(commits for _, commits, _ in blocks) * 1000, 3),
        "four_raw_p50_ms": round(median(raw for _, _, raw in blocks) * 1000, 3),
        "of_four_commits": round(median(order / commits for order, commits, _ in blocks), 3),
        "of_four_raw": round(median(order / raw for order, _, raw in blocks), 3),
    }
    return measurement


async def long(store: str, runs: int, in_flight: int) -> Measurement:
    """Runs of 2,000 steps in sequence, each between two times its commits; then one that is killed and resumed.

    A first run, which is not measured, supplies the first commits.
    """
    del in_flight
    measurement = Measurement("long", store, runs, 1, steps_per_run=LONG_LENGTH)
    commits_seconds, raw_seconds = [], []
    async with _beside(store) as (engine, recording, floor):

        async def one(number: int) -> None:
            await engine.run(workflows.long, LONG_LENGTH, id=f"long-{number}")

        await one(0)
        for number in range(1, runs + 2):
            commits = recording.take()
            assert len(commits) == LONG_LENGTH + 1
            commits_seconds.append(await floor.commits_seconds(commits))
            raw_seconds.append(floor.raw_seconds(commits))
            if number <= runs:
                await drive(measurement, [number], one)
    measurement.more = {
        "commits": LONG_LENGTH + 1,
        "commits_s": round(median(commits_seconds), 4),
        "raw_s": round(median(raw_seconds), 4),
        "of_commits": round(_of_neighbours(measurement.latencies, commits_seconds), 3),
        "of_raw": round(_of_neighbours(measurement.latencies, raw_seconds), 3),
        "resume_s": round(await resume_seconds(f"{store}-killed"), 4),
    }
    return measurement


@asynccontextmanager
async def _beside(store: str) -> AsyncIterator[tuple[mg.Engine, RecordingStore, Floor]]:
    """An engine on the store, and beside it, on the same disk, the same writes without an engine."""
    recording = RecordingStore(store_at(store))
    path = store.partition("sqlite:///")[2]
    if not path:
        raise ValueError(f"this workload compares with SQLite on a disk; {store} is none.")
    raw = RawSqlite(f"{path}-raw")
    async with mg.Engine(recording) as engine, BareStore(store_at(f"{store}-commits")) as bare:
        yield engine, recording, Floor(bare, raw)


def _of_neighbours(runs_seconds: list[float], floor_seconds: list[float]) -> float:
    """The middle ratio of a run to the mean of the two measurements around it."""
    around = pairwise(floor_seconds)
    return median(run / fmean(pair) for run, pair in zip(runs_seconds, around, strict=True))
