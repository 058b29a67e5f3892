"""``alone`` and ``long``: what one run takes beside the commits that it cannot do without.

The disk's moods change from one second to the next: so every commit of the run is made again at once, by the store
with no engine above it and as a transaction of plain SQLite; the time for that is taken out of the run's own.
"""

from __future__ import annotations

import copy
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import apsw

import makegood as mg
from benchmarks import workflows
from benchmarks.crash import LONG_LENGTH, resume_seconds
from benchmarks.limit import BareStore
from benchmarks.measure import Measurement
from makegood.store.address import store_at
from makegood.store.sqlite_checkpoint import CHECKPOINT_PAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.store.protocol import SealedEntry, Store, Write


async def alone(store: str, runs: int, in_flight: int) -> Measurement:
    """Sagas of three steps, one at a time: four commits each."""
    del in_flight
    measurement = Measurement("alone", store, runs, 1, steps_per_run=3)
    await _beside_its_commits(measurement, store, workflows.order, 1, commits=4)
    return measurement


async def long(store: str, runs: int, in_flight: int) -> Measurement:
    """Runs of 2,000 steps in sequence, one after the other; then one that is killed at step 1,900 and resumed."""
    del in_flight
    measurement = Measurement("long", store, runs, 1, steps_per_run=LONG_LENGTH)
    await _beside_its_commits(measurement, store, workflows.long, LONG_LENGTH, commits=LONG_LENGTH + 1)
    measurement.more["resume_s"] = round(await resume_seconds(f"{store}-killed"), 4)
    return measurement


async def _beside_its_commits(
    measurement: Measurement, store: str, workflow: mg.Workflow[[int], int], argument: int, commits: int
) -> None:
    path = store.partition("sqlite:///")[2]
    if not path:
        raise ValueError(f"this workload compares with SQLite on a disk; {store} is none.")
    again, raw = [], []
    async with BareStore(store_at(f"{store}-again")) as bare:
        repeating = RepeatingStore(store_at(store), bare, RawSqlite(f"{path}-raw"))
        async with mg.Engine(repeating) as engine:
            for number in range(measurement.runs):
                repeating.forget_times()
                with measurement:
                    started = time.perf_counter()
                    await engine.run(workflow, argument, id=f"{workflow.name}-{number}")
                    seconds = time.perf_counter() - started
                assert repeating.commits == commits
                measurement.latencies.append(seconds - repeating.seconds)
                measurement.take_out(repeating.seconds, repeating.cpu_seconds)
                again.append(repeating.again_seconds)
                raw.append(repeating.raw_seconds)
    measurement.more = {
        "commits_per_run": commits,
        "bare_commits_p50_ms": round(median(again) * 1000, 3),
        "raw_transactions_p50_ms": round(median(raw) * 1000, 3),
        "of_bare_commits": round(_median_ratio(measurement.latencies, again), 3),
        "of_raw_transactions": round(_median_ratio(measurement.latencies, raw), 3),
    }


def _median_ratio(these: list[float], those: list[float]) -> float:
    return median(this / that for this, that in zip(these, those, strict=True))


class RepeatingStore:
    """Makes every commit of one run three times: as asked, by a bare store, and as one row in plain SQLite."""

    def __init__(self, store: Store, bare: BareStore, raw: RawSqlite) -> None:
        self._store = store
        self._bare = bare
        self._raw = raw
        self.forget_times()

    def forget_times(self) -> None:
        """Count and measure from here."""
        self.commits = 0
        self.seconds = self.cpu_seconds = self.again_seconds = self.raw_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, epoch: int, writes: Sequence[Write]) -> list[Write]:
        """Commit; then take the time of the two repetitions, and of both with what they need."""
        taken = await self._store.commit(epoch, writes)
        began, cpu_began = time.perf_counter(), time.process_time()
        (write,) = map(copy.copy, writes)
        started = time.perf_counter()
        await self._bare.write([write])
        committed = time.perf_counter()
        self._raw.write(write.entry)
        ended = time.perf_counter()
        self.commits += 1
        self.again_seconds += committed - started
        self.raw_seconds += ended - committed
        self.cpu_seconds += time.process_time() - cpu_began
        self.seconds += time.perf_counter() - began
        return taken


class RawSqlite:
    """Transactions of one row each in plain SQLite, in the store's mode: what the disk asks for, and nothing else."""

    def __init__(self, path: str) -> None:
        self._connection = apsw.Connection(path)
        self._connection.pragma("journal_mode", "WAL")
        self._connection.pragma("synchronous", "FULL")
        self._connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        self._connection.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, data BLOB, hash BLOB)")

    def write(self, entry: SealedEntry) -> None:
        self._connection.execute("INSERT INTO entries (data, hash) VALUES (?, ?)", (entry.data, entry.hash))
