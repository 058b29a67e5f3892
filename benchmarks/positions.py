"""``positions``: one run that is sent a signal for every position of an hour, and then loses its process."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import makegood as mg
from benchmarks import workflows
from benchmarks.measure import Measurement

RUN = "taxi-7"
LEG_SIGNALS = 1_000


async def positions(store: str, runs: int, in_flight: int) -> Measurement:
    """``runs`` signals to one run that goes on as new every 1,000, with up to ``in_flight`` on their way; then SIGKILL.

    Memory is that of the process that was killed, with a tenth of the signals behind it and with all of them.
    ``resume_s``: from the restart until the run has acted on a further signal, and has ended.
    """
    measurement = Measurement("positions", store, runs, in_flight, steps_per_run=0)
    told = _victim(store, runs, in_flight)
    measurement.seconds, measurement.cpu_seconds = told["seconds"], told["cpu_seconds"]
    started = time.perf_counter()
    async with mg.Engine(store, [workflows]) as engine:
        run = await engine.get(RUN)
        await run.signal(workflows.Position, workflows.ARRIVED)
        seen = await run.result()
        resume_seconds = time.perf_counter() - started
        leg = (await run.describe()).leg
    if seen != [runs, sum(range(runs))]:
        raise RuntimeError(
            f"signals were lost, or came twice: {runs} were sent, and this came of them: {seen}"
        )
    measurement.more = {
        "rss_mb_after_a_tenth": told["rss_mb_after_a_tenth"],
        "rss_mb_after_all": told["rss_mb_after_all"],
        "resume_s": round(resume_seconds, 4),
        "legs": leg,
    }
    return measurement


def _victim(store: str, runs: int, in_flight: int) -> Any:
    """Have another process send them all, kill it while it waits, and give what it has told."""
    arguments = [sys.executable, "-m", "benchmarks.positions", store, str(runs), str(in_flight)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    return json.loads(line)


async def victim(store: str, runs: int, in_flight: int) -> None:
    """What the process to be killed does: send, tell, wait."""
    async with mg.Engine(store, [workflows]) as engine:
        run = await engine.start(workflows.follow_taxi, LEG_SIGNALS, id=RUN)
        left = iter(range(runs))
        sent = 0
        rss_after_a_tenth = 0.0

        async def send() -> None:
            nonlocal sent, rss_after_a_tenth
            for position in left:
                await run.signal(workflows.Position, position)
                sent += 1
                if sent == runs // 10:
                    rss_after_a_tenth = _rss_mb()

        started, cpu_started = time.perf_counter(), time.process_time()
        await asyncio.gather(*(send() for _ in range(in_flight)))
        told = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu_started,
            "rss_mb_after_a_tenth": rss_after_a_tenth,
            "rss_mb_after_all": _rss_mb(),
        }
        os.write(1, f"{json.dumps(told)}\n".encode())
        await asyncio.Event().wait()


def _rss_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    asyncio.run(victim(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
