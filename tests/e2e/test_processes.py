"""Real processes on a real file: killed, stopped, asked to end, two at a time."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from makegood.definition.keys import step_key
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.store.codec import unseal
from makegood.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


class Place:
    """A folder with a database and the effects that the steps had."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "orders.db"
        self.log = folder / "effects.log"

    @contextmanager
    def process(self, mode: str, prefix: str = "run") -> Iterator["Process"]:
        process = Process(mode, str(self.database), str(self.log), prefix)
        try:
            yield process
        finally:
            process.end()

    def effects(self) -> list[tuple[str, int]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(key, int(attempt)) for key, _, attempt in (line.rpartition(" ") for line in lines)]

    def journals(self) -> dict[str, list[journal.Entry]]:
        async def read() -> dict[str, list[journal.Entry]]:
            store = SqliteStore(str(self.database))
            await store.open()
            rows = await store.list(limit=1_000_000)
            found = {row.id: unseal(row.id, await store.journal(row.key)) for row in rows}
            await store.close()
            return found

        return asyncio.run(read())


class Process:
    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.program", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        return line.rstrip("\n")

    def until(self, line: str) -> None:
        while self.line() != line:
            pass

    def rest(self) -> list[str]:
        assert self._process.stdout is not None
        lines = self._process.stdout.read().splitlines()
        self._process.wait()
        return lines

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def returncode(self) -> int | None:
        return self._process.poll()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def check_no_recorded_step_ran_again(place: Place) -> None:
    """Each attempt took effect at most once, and none that came after the one whose result is recorded."""
    effects = Counter(place.effects())
    assert [effect for effect, times in effects.items() if times > 1] == []
    latest: dict[str, int] = {}
    for key, attempt in effects:
        latest[key] = max(attempt, latest.get(key, 0))
    for run_id, entries in place.journals().items():
        scheduled: dict[int, str] = {}
        for event in (event for entry in entries for event in entry.events):
            if isinstance(event, journal.StepScheduled):
                scheduled[event.step] = step_key(run_id, event.step, event.name)
            elif isinstance(event, journal.StepCompleted):
                assert latest.get(scheduled[event.step]) == event.attempt
            elif isinstance(event, journal.CompensationCompleted):
                assert latest.get(f"{scheduled[event.step]}/undo") == event.attempt


def test_every_acknowledged_run_ends_right_after_many_kills(place: Place) -> None:
    moments = random.Random(20261122)
    acknowledged: list[str] = []
    kills = 6
    for number in range(kills):
        with place.process("load", f"round-{number}") as process:
            lines = [process.line() for _ in range(moments.randrange(1, 250))]
            process.signal(signal.SIGKILL)
            lines += process.rest()
            acknowledged += [line.removeprefix("ack ") for line in lines if line.startswith("ack ")]
            assert process.returncode == -signal.SIGKILL
    with place.process("finish") as process:
        process.until("closed")
    journals = place.journals()
    assert set(acknowledged) <= set(journals)
    for run_id, entries in journals.items():
        number = int(run_id.rpartition("-")[2])
        run = folded(entries)
        if number % 5:
            assert run.status == "COMPLETED", run_id
        else:
            assert run.status == "COMPENSATED", run_id
            assert set(run.undone) == {"reserve", "pay"}, run_id
    check_no_recorded_step_ran_again(place)


def test_a_second_process_is_a_client_and_takes_over_when_the_worker_is_killed(place: Place) -> None:
    with place.process("hold") as worker:
        worker.until("holding")
        with place.process("client") as client:
            assert client.line() == "submitted RUNNING"
            assert client.line() == "result 1"
            worker.signal(signal.SIGKILL)
            assert client.line() == "held let go"
            assert client.line() == "closed"
    assert [effect for effect in place.effects() if "/held" in effect[0]] == [
        ("held/1/held", 1),
        ("held/1/held", 2),
    ]
    check_no_recorded_step_ran_again(place)


def test_a_stopped_worker_is_not_replaced_and_goes_on_when_continued(place: Place) -> None:
    with place.process("hold") as worker:
        worker.until("holding")
        worker.signal(signal.SIGSTOP)
        with place.process("client") as client:
            assert client.line() == "submitted RUNNING"
            worker.signal(signal.SIGCONT)
            assert client.line() == "result 1"
    assert [effect for effect in place.effects() if "/held" in effect[0]] == [("held/1/held", 1)]


def test_a_worker_that_is_asked_to_end_records_what_is_under_way(place: Place) -> None:
    with place.process("drain") as process:
        process.until("slow")
        process.until("slow")
        process.signal(signal.SIGTERM)
        process.until("closed")
    steps = [type(event).__name__ for entry in place.journals()["slow"] for event in entry.events]
    assert steps.count("StepCompleted") == len(place.effects())
    with place.process("finish") as process:
        process.until("closed")
    run = folded(place.journals()["slow"])
    assert run.status == "COMPLETED"
    assert [key for key, _ in place.effects()] == [f"slow/{number}/slow" for number in range(1, 7)]
    check_no_recorded_step_ran_again(place)


def test_several_processes_create_one_file_at_the_same_time(place: Place) -> None:
    processes = [Process("create", str(place.database), str(place.log)) for _ in range(4)]
    try:
        assert [process.rest() for process in processes] == [["opened", "closed"]] * 4
    finally:
        for process in processes:
            process.end()
