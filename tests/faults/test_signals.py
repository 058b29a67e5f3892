"""The crash matrix of sagas that wait for signals: none is lost, none comes twice, none out of order."""

from dataclasses import replace
from itertools import product

import pytest

from makegood.store import sqlite_writer
from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.signals import (
    TIMEOUT_SECONDS,
    WORDS,
    again_and_again,
    all_at_once,
    leg_by_leg_saga,
    listening_saga,
    one_by_one,
)

SERVICES = Services()
SAGAS = {
    listens.__name__: listening_saga(SERVICES, listens)
    for listens in (one_by_one, all_at_once, again_and_again)
} | {"leg_by_leg": leg_by_leg_saga(SERVICES)}
PACES = {"at once": 0.0, "one by one": 5.0, "as the time runs out": TIMEOUT_SECONDS, "too late": 40.0}
TROUBLES = {
    "the first step is slow to work": {("do", "open"): ["fail", "cut-done", "ok"]},
    "a signal's step is cut off": {("do", "take-b"): ["cut-done"]},
    "the last step fails": {("do", "close"): ["fail"]},
}


@pytest.mark.parametrize("name", SAGAS)
@pytest.mark.parametrize("pace", PACES)
def test_a_crash_anywhere(name, pace):
    case = Case(signals=tuple(WORDS), signal_seconds=PACES[pace])
    assert crash_everywhere(SAGAS[name], case) >= 10


@pytest.mark.parametrize("name", SAGAS if EFFORT > 1 else ("one_by_one", "leg_by_leg"))
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_crash_anywhere_while_steps_fail(name, trouble):
    case = Case(TROUBLES[trouble], signals=tuple(WORDS), signal_seconds=5.0)
    assert crash_everywhere(SAGAS[name], case) >= 10


@pytest.mark.parametrize(
    ("name", "pace"),
    [("one_by_one", "as the time runs out"), ("all_at_once", "at once"), ("leg_by_leg", "at once")],
)
def test_two_crashes_at_every_pair_of_writes(name, pace):
    case = Case(TROUBLES["the last step fails"], signals=tuple(WORDS[:4]), signal_seconds=PACES[pace])
    assert crash_at_every_pair(SAGAS[name], case) >= 20


@pytest.mark.parametrize("name", SAGAS)
def test_a_crash_anywhere_of_a_run_that_sleeps_while_it_waits(name):
    case = Case(signals=tuple(WORDS), signal_seconds=TIMEOUT_SECONDS, waiting_limit=0)
    assert crash_everywhere(SAGAS[name], case) >= 10


@pytest.mark.parametrize("name", SAGAS)
def test_a_cancellation_at_every_write_while_signals_come_and_a_crash_near_it(name):
    case = Case(signals=tuple(WORDS), signal_seconds=5.0)
    for number in range(1, hold(SAGAS[name], case).writes + 1):
        cancelled = replace(case, cancel_at=("write", number))
        for later in range(number, hold(SAGAS[name], cancelled).writes + 1):
            hold(SAGAS[name], replace(cancelled, faults=(Fault("write", later, WRITE_MOMENTS[later % 3]),)))


@pytest.mark.parametrize("name", SAGAS)
def test_the_commits_are_slow_and_the_signals_come_meanwhile(name):
    crash_everywhere(SAGAS[name], Case(signals=tuple(WORDS), signal_seconds=0.3, commit_seconds=0.5))


def test_a_crash_at_every_write_of_the_sqlite_store(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sqlite_writer, "SLOW_DISK_SECONDS", float("inf")
    )  # a commit in a thread cannot be cut off
    files = iter(range(1_000))
    saga = SAGAS["one_by_one"]

    def hold_on_a_new_file(case):
        path = str(tmp_path / f"{next(files)}.db")
        return hold(saga, case, lambda: SqliteStore(path))

    writes = hold_on_a_new_file(Case(signals=tuple(WORDS))).writes
    for number, when in product(range(1, writes + 1), WRITE_MOMENTS):
        hold_on_a_new_file(Case(faults=(Fault("write", number, when),), signals=tuple(WORDS)))
