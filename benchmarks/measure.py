"""One JSON line per workload: what was done, how long it took, what it cost."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class Measurement:
    """Measures the blocks that it is entered for, all together; ``latencies`` are seconds, one per run."""

    def __init__(self, workload: str, store: str, runs: int, in_flight: int, steps_per_run: float) -> None:
        self.workload = workload
        self.store = store.partition("://")[0]
        self.runs = runs
        self.in_flight = in_flight
        self.steps_per_run = steps_per_run
        self.latencies: list[float] = []
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.more: dict[str, Any] = {}

    def __enter__(self) -> Measurement:
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started
        self.cpu_seconds += time.process_time() - self._cpu_started

    def take_out(self, seconds: float, cpu_seconds: float) -> None:
        """Something else was done meanwhile."""
        self.seconds -= seconds
        self.cpu_seconds -= cpu_seconds

    @property
    def runs_per_second(self) -> float:
        return self.runs / self.seconds

    def line(self) -> str:
        """The measurement as a line of JSON."""
        ordered = sorted(self.latencies) or [self.seconds]
        return json.dumps(
            {
                "workload": self.workload,
                "store": self.store,
                "runs": self.runs,
                "in_flight": self.in_flight,
                "seconds": round(self.seconds, 4),
                "runs_per_s": round(self.runs_per_second, 1),
                "steps_per_s": round(self.runs_per_second * self.steps_per_run, 1),
                "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
                "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 3),
                "cpu_s": round(self.cpu_seconds, 3),
                "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                **self.more,
            }
        )


async def drive(
    measurement: Measurement, numbers: Sequence[int], one: Callable[[int], Awaitable[object]]
) -> None:
    """Keep ``in_flight`` runs going until those of these numbers are through."""
    left = iter(numbers)

    async def customer() -> None:
        for number in left:
            started = time.perf_counter()
            await one(number)
            measurement.latencies.append(time.perf_counter() - started)

    with measurement:
        await asyncio.gather(*(customer() for _ in range(min(measurement.in_flight, len(numbers)))))
