"""The crash matrix of runs with children and grandchildren: at every store write and every call of a participant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from makegood.store import sqlite_writer
from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import fleet_saga, parcel_saga

SERVICES = Services()
PARCEL, FLEET = parcel_saga(SERVICES), fleet_saga(SERVICES)
LABEL_FAILS = {("do", "label"): ["fail"]}
PARCELS = {
    "nothing goes wrong": {},
    "the last step fails": LABEL_FAILS,
    "the last step times out": {("do", "label"): ["lost"]},
    "a child fails": {("do", "wrap"): ["fail"]},
    "a child fails at once": {("do", "bill"): ["fail"]},
    "a grandchild fails": {("do", "drive"): ["fail"]},
    "a grandchild times out": {("do", "drive"): ["lost"]},
    "an undo in a child fails once": {**LABEL_FAILS, ("undo", "wrap"): ["fail", "ok"]},
    "an undo in a grandchild is lost once": {**LABEL_FAILS, ("undo", "drive"): ["lost", "ok"]},
    "an undo in a grandchild fails": {**LABEL_FAILS, ("undo", "drive"): ["fail"]},
}
FLEETS = {
    "nothing goes wrong": {},
    "a child is late": {("do", "sail"): ["lost"]},
    "a child is late and its undo fails once": {("do", "sail"): ["silent"], ("undo", "load"): ["fail", "ok"]},
    "a swallowed child fails": {("do", "land"): ["fail"]},
    "the last step fails": LABEL_FAILS,
    "all fail": {**LABEL_FAILS, ("do", "land"): ["fail"], ("do", "sail"): ["fail"]},
}
CRASH_EVERY = 1 if EFFORT > 1 else 3  # writes, beginning with another one at each place
IN_MEMORY, EVICTED = 1_000, 0
SCRIPTS = [
    *((PARCEL, name, script) for name, script in PARCELS.items()),
    *((FLEET, name, script) for name, script in FLEETS.items()),
]
CASES = [  # every script, and whoever waits is evicted in every other one; with more effort all in all
    pytest.param(saga, script, limit, id=f"{saga.name}: {name}{', evicted' if limit == EVICTED else ''}")
    for number, (saga, name, script) in enumerate(SCRIPTS)
    for limit in ((IN_MEMORY, EVICTED) if EFFORT > 1 else (IN_MEMORY, EVICTED)[number % 2 :][:1])
]


@pytest.mark.parametrize(("saga", "script", "waiting_limit"), CASES)
def test_a_crash_anywhere(saga, script, waiting_limit):
    assert crash_everywhere(saga, Case(script, waiting_limit=waiting_limit)) >= 10


@pytest.mark.parametrize("waiting_limit", [IN_MEMORY, EVICTED] if EFFORT > 1 else [EVICTED])
def test_two_crashes_at_every_pair_of_writes(waiting_limit):
    case = Case(PARCELS["a child fails"], waiting_limit=waiting_limit)
    assert crash_at_every_pair(PARCEL, case) >= 20


@pytest.mark.parametrize(
    ("saga", "waiting_limit"), [(PARCEL, EVICTED), (FLEET, IN_MEMORY)], ids=["parcel", "fleet"]
)
def test_a_cancellation_at_every_point_and_a_crash_near_it(saga, waiting_limit):
    case = Case(waiting_limit=waiting_limit)
    outcome = hold(saga, case)
    moments = [("write", n) for n in range(1, outcome.writes + 1)]
    moments += [("call", n) for n in range(1, outcome.calls + 1)]
    for moment in moments:
        cancelled = replace(case, cancel_at=moment)
        writes = hold(saga, cancelled).writes
        for number in range(1 + moment[1] % CRASH_EVERY, writes + 1, CRASH_EVERY):
            hold(saga, replace(cancelled, faults=(Fault("write", number, WRITE_MOMENTS[number % 3]),)))


@pytest.mark.parametrize("how", ["at once", "after undoing"])
@pytest.mark.parametrize(
    ("saga", "waiting_limit"), [(PARCEL, IN_MEMORY), (FLEET, EVICTED)], ids=["parcel", "fleet"]
)
def test_a_termination_at_every_write_and_a_crash_near_it(saga, waiting_limit, how):
    case = Case(waiting_limit=waiting_limit, terminate=how)
    for moment in range(1, hold(saga, Case(waiting_limit=waiting_limit)).writes + 1):
        terminated = replace(case, cancel_at=("write", moment))
        writes = hold(saga, terminated).writes
        for number in range(1 + moment % CRASH_EVERY, writes + 1, CRASH_EVERY):
            hold(saga, replace(terminated, faults=(Fault("write", number, WRITE_MOMENTS[number % 3]),)))


@pytest.mark.parametrize(("step", "action"), [("drive", "retry"), ("drive", "skip"), ("charge", "resolve")])
def test_an_operator_helps_a_parked_compensation_on_across_any_crash(step, action):
    case = Case({**LABEL_FAILS, ("undo", step): ["fail"]}, operator=action)
    statuses = {dumped.run_id: dumped.status for dumped in hold(PARCEL, case).evidence.dump}
    assert statuses["order-42"] == {"skip": "TERMINATED"}.get(action, "COMPENSATED")
    crash_everywhere(PARCEL, case)


def test_an_undo_that_gives_up_in_a_grandchild_holds_the_whole_family_up():
    evidence = hold(PARCEL, Case(PARCELS["an undo in a grandchild fails"])).evidence
    assert {dumped.run_id: dumped.status for dumped in evidence.dump} == {
        "order-42": "COMPENSATING",
        "order-42/2-pack": "COMPENSATING",
        "order-42/2-pack/2-carry": "PARKED",
        "order-42.invoice": "COMPENSATED",
    }


def test_several_families_share_their_commits():
    script = {("do", "label"): ["ok", "fail"], ("do", "drive"): ["ok", "lost", "ok"]}
    crash_everywhere(PARCEL, Case(script, run_ids=("order-1", "order-2")))


def test_the_wall_clock_is_set_back_at_every_restart():
    crash_everywhere(PARCEL, Case(PARCELS["an undo in a child fails once"], steps_back_seconds=50))


def test_a_crash_at_every_write_of_the_sqlite_store(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sqlite_writer, "SLOW_DISK_SECONDS", float("inf")
    )  # a commit in a thread cannot be cut off
    script = PARCELS["the last step fails"]
    files = iter(range(1_000))

    def hold_on_a_new_file(case):
        path = str(tmp_path / f"{next(files)}.db")
        return hold(PARCEL, case, lambda: SqliteStore(path))

    writes = hold_on_a_new_file(Case(script)).writes
    for number in range(1, writes + 1):
        hold_on_a_new_file(Case(script, (Fault("write", number, WRITE_MOMENTS[number % 4]),)))
