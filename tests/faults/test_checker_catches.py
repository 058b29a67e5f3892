"""The checker is only worth something if it catches broken engines, each by the right invariant."""

import itertools

import pytest

import makegood as mg
from makegood.store.sqlite import SqliteStore
from tests.faults.broken import BREAKAGES, STARTED
from tests.faults.broken_gates import GATE_BREAKAGES
from tests.faults.broken_late import LATE_BREAKAGES
from tests.faults.broken_legs import LEG_BREAKAGES
from tests.faults.broken_pauses import PAUSE_BREAKAGES
from tests.faults.broken_sagas import SAGA_BREAKAGES
from tests.faults.checker import check
from tests.faults.harness import Case, run
from tests.faults.matrix import hold
from tests.faults.nested import payout_saga, travel_saga
from tests.faults.participants import Services
from tests.faults.sagas import (
    Block,
    Do,
    Saga,
    Terms,
    approval_saga,
    asking_saga,
    booking_saga,
    fleet_saga,
    generated_saga,
    guarded_saga,
    make_undoable,
    order_saga,
    parcel_saga,
)
from tests.faults.signals import leg_by_leg_saga, listening_saga, one_by_one
from tests.faults.values import lottery_saga
from tests.faults.versions import changed_saga, legs_saga, second_version_saga

SERVICES = Services()
SAGAS = {
    "parcel": parcel_saga(SERVICES),
    "fleet": fleet_saga(SERVICES),
    "order": order_saga(SERVICES),
    "changed": changed_saga(SERVICES),
    "second version": second_version_saga(SERVICES),
    "lottery": lottery_saga(SERVICES),
    "legs": legs_saga(SERVICES),
    "leg by leg": leg_by_leg_saga(SERVICES),
    "travel": travel_saga(SERVICES),
    "payout": payout_saga(SERVICES),
    "approval": approval_saga(SERVICES),
    "booking": booking_saga(SERVICES),
    "listener": listening_saga(SERVICES, one_by_one),
    "guarded": guarded_saga(SERVICES),
    "asked": asking_saga(SERVICES),
    "sleeper": generated_saga(SERVICES, Block("sleep", (Do("a"),), seconds=20.0)),
}


@pytest.mark.parametrize(
    "breakage",
    [*BREAKAGES, *SAGA_BREAKAGES, *LEG_BREAKAGES, *LATE_BREAKAGES, *PAUSE_BREAKAGES, *GATE_BREAKAGES],
    ids=lambda breakage: f"{breakage.breaks.__name__}-{breakage.saga}",
)
def test_the_checker_catches_an_engine_that(breakage, monkeypatch, tmp_path):
    saga = SAGAS[breakage.saga]
    sound, broken = (
        (lambda path=str(tmp_path / name): SqliteStore(path)) if breakage.on_sqlite else None
        for name in ("sound.db", "broken.db")
    )
    hold(saga, breakage.case, sound)
    breakage.breaks(monkeypatch)
    evidence = run(saga, breakage.case, broken).evidence
    found = {violation.invariant for violation in check(evidence, saga.terms)}
    assert breakage.invariant in found


def test_every_invariant_of_the_checker_has_a_broken_engine():
    proven = {breakage.invariant for breakage in (*BREAKAGES, *PAUSE_BREAKAGES)} | {"I8"}
    assert proven == {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11", "I12", "G3"}


def test_the_checker_catches_a_workflow_that_decides_otherwise_in_its_second_life():
    lives = itertools.count()
    first, second = make_undoable(SERVICES, "first"), make_undoable(SERVICES, "second")

    @mg.workflow
    async def fickle(run_id: str) -> str:
        return await (second if next(lives) else first)(run_id)

    saga = Saga("fickle", SERVICES, fickle, Terms(frozenset(("first", "second"))), ("first", "second"))
    found = {violation.invariant for violation in check(run(saga, Case({}, (STARTED,))).evidence, saga.terms)}
    assert found == {"I8"}
