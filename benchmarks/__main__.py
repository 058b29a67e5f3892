"""``python -m benchmarks WORKLOAD [--store URL] [--runs N] [--in-flight C]``: prints one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import tempfile
from pathlib import Path

from benchmarks import alone, crash, operate, positions, signals, sleepers, workloads

WORKLOADS = {
    "order": (workloads.order, 20_000, 1_000),
    "alone": (alone.alone, 1_000, 1),
    "compensate": (workloads.compensate, 10_000, 1_000),
    "fanout": (workloads.fanout, 5, 1),
    "limit": (workloads.limit, 20_000, 1_000),
    "crash": (crash.crash, 500, 100),
    "long": (alone.long, 3, 1),
    "operate": (operate.operate, 1_000_000, 200),
    "timers": (sleepers.timers, 10_000, 1_000),
    "sleepers": (sleepers.sleepers, 100_000, 1_000),
    "signals": (signals.signals, 10_000, 1_000),
    "positions": (positions.positions, 100_000, 100),
}


def main() -> None:
    """Run one workload on a fresh store."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Workloads of the goals; one JSON line each."
    )
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--store", help="store URL; by default a fresh SQLite file in a temporary folder")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--in-flight", type=int)
    arguments = parser.parse_args()
    workload, runs, in_flight = WORKLOADS[arguments.workload]
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as in `makegood worker`
    folder = Path(tempfile.mkdtemp(prefix="makegood-benchmark-", dir=Path.cwd()))
    try:
        store = arguments.store or f"sqlite:///{folder / 'benchmark.db'}"
        measurement = asyncio.run(
            workload(
                store,
                runs if arguments.runs is None else arguments.runs,
                in_flight if arguments.in_flight is None else arguments.in_flight,
            )
        )
        print(measurement.line())
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
