"""``order``, ``compensate``, ``fanout`` and ``limit``: workloads within one process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import makegood as mg
from benchmarks import workflows
from benchmarks.limit import RecordingStore, write_again
from benchmarks.measure import Measurement
from makegood.client import store_at

if TYPE_CHECKING:
    from collections.abc import Callable

FANOUT_WIDTH = 500


async def drive(engine: mg.Engine, measurement: Measurement, one: Callable[[int], Any]) -> None:
    """Keep ``in_flight`` runs going until all are through."""
    numbers = iter(range(measurement.runs))

    async def customer() -> None:
        for number in numbers:
            started = time.perf_counter()
            await one(number)
            measurement.latencies.append(time.perf_counter() - started)

    with measurement:
        await asyncio.gather(*(customer() for _ in range(min(measurement.in_flight, measurement.runs))))


async def order(store: str, runs: int, in_flight: int) -> Measurement:
    """Sagas of three steps that complete."""
    measurement = Measurement("order", store, runs, in_flight, steps_per_run=3)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            await engine.run(workflows.order, number, id=f"order-{number}")

        await drive(engine, measurement, one)
    return measurement


async def compensate(store: str, runs: int, in_flight: int) -> Measurement:
    """Sagas of three steps whose third fails: two are undone."""
    measurement = Measurement("compensate", store, runs, in_flight, steps_per_run=5)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            run = await engine.start(workflows.compensate, number, id=f"order-{number}")
            try:
                await run.result()
            except mg.RunCompensated:
                return
            raise AssertionError(f"{run} was to be compensated")

        await drive(engine, measurement, one)
    return measurement


async def fanout(store: str, runs: int, in_flight: int) -> Measurement:
    """One run with 500 steps at once, ``runs`` times."""
    measurement = Measurement("fanout", store, runs, in_flight, steps_per_run=FANOUT_WIDTH)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            await engine.run(workflows.fanout, FANOUT_WIDTH, id=f"fanout-{number}")

        await drive(engine, measurement, one)
    return measurement


async def limit(store: str, runs: int, in_flight: int) -> Measurement:
    """Run ``order``, then write the same rows in the same batches to a second, empty store with no engine above it."""
    recording = RecordingStore(store_at(store))
    ordered = Measurement("order", store, runs, in_flight, steps_per_run=3)
    engine = mg.Engine(recording)
    async with engine:

        async def one(number: int) -> None:
            await engine.run(workflows.order, number, id=f"order-{number}")

        await drive(engine, ordered, one)
    measurement = Measurement("limit", store, runs, in_flight, steps_per_run=3)
    await write_again(store_at(f"{store}-limit"), recording.commits, measurement)
    measurement.more = {
        "commits": len(recording.commits),
        "order_runs_per_s": round(ordered.runs_per_second, 1),
        "order_of_limit": round(ordered.runs_per_second / measurement.runs_per_second, 3),
    }
    return measurement
