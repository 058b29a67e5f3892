"""The crash matrix of nested sagas, on_rollback, pivot and terminate; cancellation and termination at every place."""

from itertools import product

import pytest

from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.nested import payout_saga, travel_saga
from tests.faults.participants import Services

SERVICES = Services()
TRAVEL, PAYOUT = travel_saga(SERVICES), payout_saga(SERVICES)
JOURNEYS = {
    "nothing goes wrong": ({}, "COMPLETED"),
    "dinner fails": ({("do", "dinner"): ["fail"]}, "COMPLETED"),
    "dinner fails, and the souvenir": (
        {("do", "dinner"): ["fail"], ("do", "souvenir"): ["fail"]},
        "COMPENSATED",
    ),
    "the souvenir fails": ({("do", "souvenir"): ["fail"]}, "COMPENSATED"),
    "the hotel times out, done": ({("do", "hotel"): ["lost"]}, "COMPLETED"),
    "the tour fails": ({("do", "tour"): ["fail"]}, "COMPLETED"),
    "the tour is cut off, done": ({("do", "tour"): ["cut-done"]}, "COMPLETED"),
    "dinner fails, undoing needs patience": (
        {
            ("do", "dinner"): ["fail"],
            ("undo", "apology"): ["fail", "ok"],
            ("undo", "car"): ["cut", "cut-done", "ok"],
        },
        "COMPLETED",
    ),
    "dinner fails, undoing the hotel gives up": (
        {("do", "dinner"): ["fail"], ("undo", "hotel"): ["fail"]},
        "PARKED",
    ),
}
PAYOUTS = {
    "nothing goes wrong": ({}, "COMPLETED"),
    "the check fails": ({("do", "check"): ["fail"]}, "COMPENSATED"),
    "the transfer fails": ({("do", "transfer"): ["fail"]}, "PARKED"),
    "the transfer times out, done": ({("do", "transfer"): ["lost"]}, "PARKED"),
    "the transfer is cut off once": ({("do", "transfer"): ["cut-done", "ok"]}, "COMPLETED"),
    "the receipt fails": ({("do", "receipt"): ["fail"]}, "COMPLETED"),
}
CRASH_EVERY = 3 if EFFORT > 1 else 8  # writes, beginning with another one at each place
CASES = [
    pytest.param(saga, script, status, id=f"{saga.name}: {name}")
    for saga, scripts in ((TRAVEL, JOURNEYS), (PAYOUT, PAYOUTS))
    for name, (script, status) in scripts.items()
]


def status_of(outcome):
    return outcome.evidence.dump[0].status


def places(outcome):
    return [
        *(("write", number) for number in range(1, outcome.writes + 1)),
        *(("call", number) for number in range(1, outcome.calls + 1)),
    ]


@pytest.mark.parametrize(("saga", "script", "status"), CASES)
def test_a_crash_anywhere(saga, script, status):
    assert status_of(hold(saga, Case(script))) == status
    assert crash_everywhere(saga, Case(script)) >= 10


@pytest.mark.parametrize(
    "name", ["dinner fails", "dinner fails, and the souvenir", "the tour is cut off, done"]
)
def test_two_crashes_at_every_pair_of_writes(name):
    script, _ = JOURNEYS[name]
    assert crash_at_every_pair(TRAVEL, Case(script)) >= 20


@pytest.mark.parametrize(("saga", "script", "status"), CASES)
@pytest.mark.parametrize(
    "how", ["", "at once", "after undoing"], ids=["cancel", "terminate", "undo and terminate"]
)
def test_cancelled_or_terminated_at_every_place_with_a_crash_near_it(saga, script, status, how):
    endings = {"COMPLETED", "COMPENSATED", "PARKED", "TERMINATED" if how else "CANCELLED"}
    for place, moment in enumerate(places(hold(saga, Case(script)))):
        case = Case(script, cancel_at=moment, terminate=how)
        outcome = hold(saga, case)
        assert status_of(outcome) in endings
        for number in range(1 + place % CRASH_EVERY, outcome.writes + 1, CRASH_EVERY):
            when = WRITE_MOMENTS[(place + number) % 3]
            hold(saga, Case(script, (Fault("write", number, when),), cancel_at=moment, terminate=how))


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
@pytest.mark.parametrize(
    ("saga", "name"),
    [(TRAVEL, "dinner fails, undoing the hotel gives up"), (PAYOUT, "the transfer fails")],
    ids=["a compensation of a nested saga", "a step behind the pivot"],
)
def test_an_operator_helps_on_what_is_parked_across_any_crash(saga, name, action):
    script, _ = (JOURNEYS | PAYOUTS)[name]
    case = Case(script, operator=action)
    assert status_of(hold(saga, case)) == "COMPLETED"
    crash_everywhere(saga, case)


def test_a_parked_run_is_terminated_across_any_crash():
    for saga, script in product((TRAVEL,), ({("do", "dinner"): ["fail"], ("undo", "hotel"): ["fail"]},)):
        writes = hold(saga, Case(script)).writes
        crash_everywhere(saga, Case(script, cancel_at=("write", writes), terminate="at once"))
