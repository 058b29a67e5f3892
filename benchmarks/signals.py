"""``signals``: a steady stream of signals to runs that wait for them; how long until each is acted on."""

from __future__ import annotations

import asyncio
import time

import makegood as mg
from benchmarks import workflows
from benchmarks.measure import Measurement

SIGNALS_PER_SECOND = 1_000


async def signals(store: str, runs: int, in_flight: int) -> Measurement:
    """``runs`` signals, 1,000 a second, to ``in_flight`` runs in turn.

    A latency is the time from the moment when a signal was to be sent, whether its sender was in time or not, to the
    start of the step that it lets the run take: one commit lies between. ``accepted``: until its sender was told.
    """
    measurement = Measurement("signals", store, runs, in_flight, steps_per_run=1)
    accepted: list[float] = []
    async with mg.Engine(store) as engine:
        handles = [
            await engine.start(workflows.listener, runs // in_flight, id=f"listener-{number}")
            for number in range(in_flight)
        ]

        async def send(number: int, due: float) -> None:
            await handles[number % in_flight].signal(workflows.Sent, due)
            accepted.append(time.perf_counter() - due)

        with measurement:
            begin = time.perf_counter()
            async with asyncio.TaskGroup() as senders:
                for number in range(runs // in_flight * in_flight):
                    due = begin + number / SIGNALS_PER_SECOND
                    await asyncio.sleep(due - time.perf_counter())
                    senders.create_task(send(number, due))
            sent_seconds = time.perf_counter() - begin
            for handle in handles:
                measurement.latencies += await handle.result()
    accepted.sort()
    measurement.more = {
        "signals_per_s": round(len(accepted) / sent_seconds, 1),
        "accepted_p50_ms": round(accepted[len(accepted) // 2] * 1000, 3),
        "accepted_p99_ms": round(accepted[len(accepted) * 99 // 100] * 1000, 3),
    }
    return measurement
