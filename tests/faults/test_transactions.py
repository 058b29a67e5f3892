"""The crash matrix of transaction steps: at every store write, also inside the transaction, each happens once."""

from itertools import count, product

import pytest

from makegood.store import sqlite_writer
from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import WRITE_MOMENTS, hold
from tests.faults.participants import Services
from tests.faults.sagas import booking_saga

BOOKING = booking_saga(Services())
MOMENTS = (*WRITE_MOMENTS, "inside")
SCRIPTS = {
    "nothing goes wrong": {},
    "the booking fails once": {("do", "book"): ["fail", "ok"]},
    "the booking is declined": {("do", "book"): ["decline"]},
    "the note fails": {("do", "note"): ["fail"]},
    "the label fails": {("do", "label"): ["fail"]},
    "the label times out": {("do", "label"): ["lost"]},
    "an undo fails once": {("do", "label"): ["fail"], ("undo", "book"): ["fail", "ok"]},
    "an undo fails": {("do", "label"): ["fail"], ("undo", "book"): ["fail"]},
}
THOROUGHLY = ("nothing goes wrong", "the label fails")


class UnsyncedStore(SqliteStore):
    """These processes die, but the machine does not: no fsync is needed."""

    async def open(self):
        await super().open()
        self._writer.connection.pragma("synchronous", "OFF")


@pytest.fixture
def hold_on_new_file(tmp_path, monkeypatch):
    numbers = count()
    monkeypatch.setattr(
        sqlite_writer, "SLOW_DISK_SECONDS", float("inf")
    )  # a commit in a thread cannot be cut off

    def hold_there(case):
        path = str(tmp_path / f"{next(numbers)}.db")
        return hold(BOOKING, case, lambda: UnsyncedStore(path))

    return hold_there


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_crash_at_every_write(name, hold_on_new_file):
    script = SCRIPTS[name]
    writes = hold_on_new_file(Case(script)).writes
    assert writes >= 5
    moments = MOMENTS if name in THOROUGHLY else ("inside", "unacknowledged")
    for number, when in product(range(1, writes + 1), moments):
        hold_on_new_file(Case(script, (Fault("write", number, when),)))


@pytest.mark.parametrize("name", ["nothing goes wrong", "the label fails"])
def test_two_crashes(name, hold_on_new_file):
    script = SCRIPTS[name]
    writes = hold_on_new_file(Case(script)).writes
    for first, gap in product(range(3, writes + 1), range(1, 5)):
        faults = (Fault("write", first, "inside"), Fault("write", first + gap, "unacknowledged"))
        hold_on_new_file(Case(script, faults))


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
def test_an_operator_helps_a_parked_undo_on(action, hold_on_new_file):
    script = {("do", "label"): ["fail"], ("undo", "book"): ["fail"]}
    ended = hold_on_new_file(Case(script, operator=action)).evidence.dump[0]
    assert ended.status == {"skip": "TERMINATED"}.get(action, "COMPENSATED")


def test_a_cancellation_at_every_write(hold_on_new_file):
    writes = hold_on_new_file(Case()).writes
    for number in range(1, writes + 1):
        hold_on_new_file(Case(cancel_at=("write", number)))


def test_several_runs_share_their_commits(hold_on_new_file):
    runs = ("order-1", "order-2", "order-3")
    case = Case({("do", "label"): ["ok", "fail", "ok"]}, run_ids=runs)
    writes = hold_on_new_file(case).writes
    for number in range(1, writes + 1):
        hold_on_new_file(Case(case.script, (Fault("write", number, MOMENTS[number % 5]),), run_ids=runs))
