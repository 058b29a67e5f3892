"""``crash``, and the end of ``long``: a process is killed with SIGKILL and another takes up its runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import makegood as mg
from benchmarks import workflows
from benchmarks.measure import Measurement

STEPS = 3
LONG_LENGTH = 2_000
LONG_KILLED_AT = 1_900


async def crash(store: str, runs: int, in_flight: int) -> Measurement:
    """Kill a process halfway through ``runs`` traced sagas; measured: from the restart until all are complete."""
    trace = _trace(store)
    _run_until(store, trace, effects=runs * STEPS // 2, arguments=["crash", str(runs), str(in_flight)])
    before = _keys(trace)
    measurement = Measurement("crash", store, runs, in_flight, steps_per_run=STEPS)
    async with mg.Engine(store, [workflows]) as engine:
        with measurement:
            await asyncio.gather(
                *(engine.run(workflows.traced, n, STEPS, id=f"traced-{n}") for n in range(runs))
            )
        again = [key for key, count in _keys(trace).items() if count > 1]
        recorded = await _recorded_before_the_kill(engine, runs)
    measurement.more = {
        "effects_before_kill": sum(before.values()),
        "steps_run_twice": len(again),
        "recorded_steps_run_twice": len(recorded.intersection(again)),
    }
    return measurement


async def resume_seconds(store: str) -> float:
    """Kill one run of 2,000 steps at step 1,900; the time from the restart until its next step takes effect."""
    trace = _trace(store)
    _run_until(store, trace, effects=LONG_KILLED_AT, arguments=["long", "1", "1"])
    effects = trace.stat().st_size
    started = time.perf_counter()
    async with mg.Engine(store, [workflows]) as engine:
        while trace.stat().st_size == effects:  # noqa: ASYNC110 - the sign of life is a file
            await asyncio.sleep(0)
        seconds = time.perf_counter() - started
        await (await engine.get("traced-0")).result()
    return seconds


async def victim(store: str, workload: str, runs: int, in_flight: int) -> None:
    """What the process to be killed does."""
    length = STEPS if workload == "crash" else LONG_LENGTH
    async with mg.Engine(store, [workflows]) as engine:
        turn = asyncio.Semaphore(in_flight)

        async def one(number: int) -> None:
            async with turn:
                await engine.run(workflows.traced, number, length, id=f"traced-{number}")

        await asyncio.gather(*(one(number) for number in range(runs)))


def _trace(store: str) -> Path:
    trace = Path(store.partition(":///")[2] + "-trace")
    trace.touch()
    os.environ["BENCHMARK_TRACE"] = str(trace)
    return trace


def _run_until(store: str, trace: Path, effects: int, arguments: list[str]) -> None:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.crash", store, *arguments])
    while sum(_keys(trace).values()) < effects:
        if process.poll() is not None:
            raise RuntimeError(f"the process to be killed ended by itself, with {process.returncode}")
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _keys(trace: Path) -> Counter[str]:
    return Counter(trace.read_text().split())


async def _recorded_before_the_kill(engine: mg.Engine, runs: int) -> set[str]:
    recorded = set()
    for number in range(runs):
        for item in await (await engine.get(f"traced-{number}")).history():
            if item.event == "StepCompleted" and item.epoch == 1:
                recorded.add(f"traced-{number}/{item.fields['step']}/take_effect")
    return recorded


if __name__ == "__main__":
    asyncio.run(victim(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
