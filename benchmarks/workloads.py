"""``order``, ``compensate``, ``fanout`` and ``limit``: workloads within one process."""

from __future__ import annotations

from statistics import median

import makegood as mg
from benchmarks import workflows
from benchmarks.limit import BareStore, RecordingStore, unsealed
from benchmarks.measure import Measurement, drive
from makegood.store.address import store_at

FANOUT_WIDTH = 500
LIMIT_PARTS = 5


async def order(store: str, runs: int, in_flight: int) -> Measurement:
    """Sagas of three steps that complete."""
    measurement = Measurement("order", store, runs, in_flight, steps_per_run=3)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            await engine.run(workflows.order, number, id=f"order-{number}")

        await drive(measurement, range(runs), one)
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

        await drive(measurement, range(runs), one)
    return measurement


async def fanout(store: str, runs: int, in_flight: int) -> Measurement:
    """One run with 500 steps at once, ``runs`` times."""
    measurement = Measurement("fanout", store, runs, in_flight, steps_per_run=FANOUT_WIDTH)
    async with mg.Engine(store) as engine:

        async def one(number: int) -> None:
            await engine.run(workflows.fanout, FANOUT_WIDTH, id=f"fanout-{number}")

        await drive(measurement, range(runs), one)
    return measurement


async def limit(store: str, runs: int, in_flight: int) -> Measurement:
    """``order`` by turns with the same commits on empty stores with no engine above them.

    Twice: with rows that are ready, and with the store's codec at work, which encodes and hashes every entry.
    """
    limited = Measurement("limit", store, runs, in_flight, steps_per_run=3)
    order_rates, ready_rates, sealed_rates = [], [], []
    recording, commits_count = RecordingStore(store_at(store)), 0
    async with (
        mg.Engine(recording) as engine,
        BareStore(store_at(f"{store}-ready")) as ready_store,
        BareStore(store_at(f"{store}-sealed")) as sealed_store,
    ):

        async def one(number: int) -> None:
            await engine.run(workflows.order, number, id=f"order-{number}")

        for part in range(LIMIT_PARTS):
            numbers = range(runs * part // LIMIT_PARTS, runs * (part + 1) // LIMIT_PARTS)
            ordered, ready, sealed = (
                Measurement(name, store, len(numbers), in_flight, steps_per_run=3)
                for name in ("order", "limit", "limit, sealed")
            )
            await drive(ordered, numbers, one)
            commits = recording.take()
            entries = unsealed(commits)
            with limited, ready:
                for writes in commits:
                    await ready_store.write(writes)
            with sealed:
                for writes, of_commit in zip(commits, entries, strict=True):
                    await sealed_store.seal_and_write(writes, of_commit)
            order_rates.append(ordered.runs_per_second)
            ready_rates.append(ready.runs_per_second)
            sealed_rates.append(sealed.runs_per_second)
            commits_count += len(commits)
    limited.more = {
        "commits": commits_count,
        "order_runs_per_s": round(median(order_rates), 1),
        "limit_runs_per_s": round(median(ready_rates), 1),
        "limit_sealed_runs_per_s": round(median(sealed_rates), 1),
        "order_of_limit": round(_median_ratio(order_rates, ready_rates), 3),
        "order_of_limit_sealed": round(_median_ratio(order_rates, sealed_rates), 3),
    }
    return limited


def _median_ratio(these: list[float], those: list[float]) -> float:
    return median(this / that for this, that in zip(these, those, strict=True))
