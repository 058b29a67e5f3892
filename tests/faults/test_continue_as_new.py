"""The crash matrix of a run that goes on as new, twice: a crash at every write and call of each leg."""

import pytest

from makegood.store import sqlite_writer
from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.versions import legs_saga

LEGS = legs_saga(Services())
SLOW = {"quote": 5.0}
SCRIPTS = [
    pytest.param({}, id="nothing goes wrong"),
    pytest.param({("do", "weigh"): ["lost", "ok"]}, id="the first leg waits for another attempt"),
    pytest.param({("do", "pack"): ["fail"]}, id="the second leg fails"),
    pytest.param({("do", "label"): ["fail"]}, id="the third leg is undone"),
    pytest.param(
        {("do", "label"): ["lost"], ("undo", "charge"): ["fail", "ok"]}, id="its undo needs another attempt"
    ),
    pytest.param({("undo", "quote"): ["fail", "ok"]}, id="what the first leg gave up on is hard to undo"),
]


def test_it_goes_through_three_legs():
    outcome = hold(LEGS, Case(seconds=SLOW))
    assert {call.step for call in outcome.evidence.calls} == set(LEGS.steps)
    continued = [commit for commit in outcome.evidence.commits if b"RunContinued" in commit.data]
    assert len(continued) == 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_crash_anywhere(script):
    assert crash_everywhere(LEGS, Case(script, seconds=SLOW)) >= 10


@pytest.mark.parametrize("script", SCRIPTS if EFFORT > 1 else SCRIPTS[4:])
def test_two_crashes_at_every_pair_of_writes(script):
    assert crash_at_every_pair(LEGS, Case(script, seconds=SLOW)) >= 20


def test_a_cancellation_at_every_point_and_a_crash_near_it():
    outcome = hold(LEGS, Case(seconds=SLOW))
    for moment in [("write", number) for number in range(1, outcome.writes + 1)]:
        cancelled = Case(seconds=SLOW, cancel_at=moment)
        writes = hold(LEGS, cancelled).writes
        for number in range(1, writes + 1):
            fault = Fault("write", number, WRITE_MOMENTS[number % 3])
            hold(LEGS, Case(faults=(fault,), seconds=SLOW, cancel_at=moment))


def test_a_crash_at_every_write_of_the_sqlite_store(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sqlite_writer, "SLOW_DISK_SECONDS", float("inf")
    )  # a commit in a thread cannot be cut off
    files = iter(range(1_000))

    def hold_on_a_new_file(case):
        path = str(tmp_path / f"{next(files)}.db")
        return hold(LEGS, case, lambda: SqliteStore(path))

    writes = hold_on_a_new_file(Case(seconds=SLOW)).writes
    for number in range(1, writes + 1):
        for when in WRITE_MOMENTS:
            hold_on_a_new_file(Case(faults=(Fault("write", number, when),), seconds=SLOW))
