"""The crash matrix of the order saga: every crash under every placement of a step that does not simply work."""

from itertools import product

import pytest

from makegood.store import sqlite_writer
from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import order_saga

ORDER = order_saga(Services())
STEPS = ORDER.steps
UNDOABLE = ("charge", "reserve", "label")
FATES = {
    "fails": ["fail"],
    "is declined": ["decline"],
    "times out, done": ["lost"],
    "times out, not done": ["silent"],
    "is cut off, done": ["cut-done"],
    "is cut off, not done": ["cut"],
}
IN_PAIRS = {  # of each step: it fails, times out, and is cut off; with a retry a declined one is another
    "charge": ("fails", "times out, done", "is cut off, not done"),
    "reserve": ("is declined", "times out, not done", "is cut off, done"),
    "label": ("fails", "times out, done", "is cut off, not done"),
    "email": ("is declined", "times out, not done", "is cut off, done"),
}
RECOVERIES = {f"{fate}, then works": [*behaviours, "ok"] for fate, behaviours in FATES.items()}
PLACEMENTS = {
    "nothing goes wrong": {},
    **{f"{step} {fate}": {("do", step): FATES[fate]} for step, fate in product(STEPS, FATES)},
}
RETRIED = {
    f"{step} {fate}": {("do", step): RECOVERIES[fate]}
    for step, fate in product(("charge", "reserve"), RECOVERIES)
}
UNDOS = {
    f"undo of {step}: {' '.join(behaviours)}": {
        ("do", "email"): ["ok"],
        ("do", "label"): ["fail"],
        ("undo", step): behaviours,
    }
    for step in ("charge", "reserve")
    for behaviours in (["fail", "ok"], ["lost", "ok"], ["cut", "cut-done", "ok"], ["fail"])
}


PAIRED = (
    PLACEMENTS
    if EFFORT > 1
    else {
        "nothing goes wrong": {},
        **{
            f"{step} {fate}": {("do", step): FATES[fate]}
            for step, fates in IN_PAIRS.items()
            for fate in fates
        },
    }
)
UNDOS_IN_PAIRS = {  # each of them of one of the two steps
    name: script for number, (name, script) in enumerate(UNDOS.items()) if number in (0, 2, 5, 7)
}


def placements(*groups):
    return [pytest.param(script, id=name) for group in groups for name, script in group.items()]


@pytest.mark.parametrize("script", placements(PLACEMENTS, RETRIED, UNDOS))
def test_a_crash_anywhere(script):
    assert crash_everywhere(ORDER, Case(script)) >= 10


@pytest.mark.parametrize("script", placements(PAIRED, UNDOS if EFFORT > 1 else UNDOS_IN_PAIRS))
def test_two_crashes_at_every_pair_of_writes(script):
    assert crash_at_every_pair(ORDER, Case(script)) >= 20


@pytest.mark.parametrize(
    "name", ["nothing goes wrong", "reserve times out, done", "label fails", "email fails"]
)
def test_a_cancellation_at_every_point_and_a_crash_near_it(name):
    script = PLACEMENTS[name]
    outcome = hold(ORDER, Case(script))
    moments = [("write", n) for n in range(1, outcome.writes + 1)] + [
        ("call", n) for n in range(1, outcome.calls + 1)
    ]
    for moment in moments:
        cancelled = Case(script, cancel_at=moment)
        writes = hold(ORDER, cancelled).writes
        for number in range(1, writes + 1):
            hold(ORDER, Case(script, (Fault("write", number, WRITE_MOMENTS[number % 3]),), cancel_at=moment))


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
@pytest.mark.parametrize("step", ["charge", "reserve"])
def test_an_operator_helps_a_parked_compensation_on_across_any_crash(step, action):
    script = {("do", "label"): ["fail"], ("undo", step): ["fail"]}
    outcome = hold(ORDER, Case(script, operator=action))
    assert outcome.evidence.dump[0].status == {"skip": "TERMINATED"}.get(action, "COMPENSATED")
    crash_everywhere(ORDER, Case(script, operator=action))


def test_a_compensation_that_gives_up_parks_the_run_and_goes_no_further():
    outcome = hold(ORDER, Case({("do", "label"): ["fail"], ("undo", "reserve"): ["fail"]}))
    assert outcome.evidence.dump[0].status == "PARKED"
    assert not [call for call in outcome.evidence.calls if (call.direction, call.step) == ("undo", "charge")]


def test_several_orders_share_their_commits():
    script = {("do", "label"): ["ok", "fail", "ok", "lost"], ("do", "charge"): ["ok", "cut-done", "ok"]}
    crash_everywhere(ORDER, Case(script, run_ids=("order-1", "order-2", "order-3")))


def test_the_wall_clock_is_set_back_at_every_restart():
    for step in UNDOABLE:
        script = {("do", step): ["lost", "fail"], ("undo", "charge"): ["fail", "ok"]}
        crash_everywhere(ORDER, Case(script, steps_back_seconds=50))


@pytest.mark.parametrize("name", ["nothing goes wrong", "label times out, done", "reserve is cut off, done"])
def test_a_crash_at_every_write_of_the_sqlite_store(name, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sqlite_writer, "SLOW_DISK_SECONDS", float("inf")
    )  # a commit in a thread cannot be cut off
    script = PLACEMENTS[name]
    files = iter(range(1_000))

    def hold_on_a_new_file(case):
        path = str(tmp_path / f"{next(files)}.db")
        return hold(ORDER, case, lambda: SqliteStore(path))

    writes = hold_on_a_new_file(Case(script)).writes
    for number, when in product(range(1, writes + 1), WRITE_MOMENTS):
        hold_on_a_new_file(Case(script, (Fault("write", number, when),)))
