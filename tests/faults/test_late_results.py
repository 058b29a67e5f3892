"""The crash matrix of attempts that go on after their time: the effect log balances in every order of what happens.

The late attempt's end against: the next attempt, its own compensation, the others', the run's end, a crash, a drain.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makegood.store.sqlite import SqliteStore
from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import TIMEOUT_SECONDS as LIMIT
from tests.faults.sagas import fleet_saga, order_saga, parcel_saga

SERVICES = Services()
ORDER, PARCEL, FLEET = order_saga(SERVICES), parcel_saga(SERVICES), fleet_saga(SERVICES)
SLOW_UNDO = {"charge": 2.0, "label": 4.0}
LABEL_FAILS = {("do", "label"): ["fail"]}
MOMENTS = {
    "in time, after all": LIMIT + 0.05,
    "as it is given up on": LIMIT + 0.1,
    "while it is undone": LIMIT + 1.5,
    "while another step is undone": LIMIT + 5.0,
    "after the end": LIMIT + 60,
    "long after the end": LIMIT + 3_000,
}
WAYS = ("late", "late-done", "late-fail")
LAST_STEP = {
    f"{way} {moment}": {("do", "label"): [f"{way}:{seconds}"]}
    for way in WAYS
    for moment, seconds in MOMENTS.items()
}
RETRIED = {
    f"{way} {moment}, then {then}": {("do", "charge"): [f"{way}:{seconds}", then], **rest}
    for way in WAYS[:2]
    for moment, seconds in {
        "before the next attempt": LIMIT + 0.5,
        "while the next attempt is under way": LIMIT + 1.5,
        "after the end": LIMIT + 60,
    }.items()
    for then, rest in (
        ("ok", {}),
        ("ok", LABEL_FAILS),
        ("fail", {}),
        ("cut-done", {}),
        (f"late:{LIMIT + 30}", {}),
    )
}
PROBED = {
    f"{way} {moment}": {("do", "reserve"): [f"{way}:{seconds}", "fail"]}
    for way in WAYS
    for moment, seconds in MOMENTS.items()
}


def named(scripts):
    return [pytest.param(script, id=name) for name, script in scripts.items()]


def shares(scripts):
    """With little effort every third of them, so that each kind has its turn."""
    return named(scripts) if EFFORT > 1 else named(scripts)[::3]


@pytest.mark.parametrize("script", named(LAST_STEP))
def test_a_crash_anywhere_around_the_last_step(script):
    assert crash_everywhere(ORDER, Case(script, seconds=SLOW_UNDO)) >= 30


@pytest.mark.parametrize("script", shares(RETRIED))
def test_a_crash_anywhere_around_a_retried_step(script):
    assert crash_everywhere(ORDER, Case(script, seconds={"charge": 1.0})) >= 18


@pytest.mark.parametrize("script", shares(PROBED))
def test_a_crash_anywhere_around_a_probed_step(script):
    assert crash_everywhere(ORDER, Case(script, seconds={"charge": 1.0})) >= 18


@pytest.mark.parametrize("moment", ["while it is undone", "after the end"])
def test_two_crashes_at_every_pair_of_writes(moment):
    case = Case(LAST_STEP[f"late {moment}"], seconds=SLOW_UNDO)
    assert crash_at_every_pair(ORDER, case) >= 30


@pytest.mark.parametrize("waiting_limit", [1_000, 0], ids=["in memory", "evicted"])
@pytest.mark.parametrize("moment", ["while another step is undone", "after the end"])
def test_a_step_of_a_grandchild(moment, waiting_limit):
    script = {("do", "drive"): [f"late:{MOMENTS[moment]}"]}
    assert crash_everywhere(PARCEL, Case(script, seconds={"charge": 6.0}, waiting_limit=waiting_limit)) >= 30


def test_a_child_that_was_given_up_on():
    crash_everywhere(FLEET, Case({("do", "sail"): [f"late:{LIMIT + 60}"]}))


def test_an_undo_that_gives_up_while_it_is_made_again():
    script = {**LAST_STEP["late after the end"], ("undo", "label"): ["ok", "fail"]}
    for action in ("retry", "skip", "resolve"):
        crash_everywhere(ORDER, Case(script, operator=action))


@pytest.mark.parametrize("terminate", ["", "at once", "after undoing"])
def test_a_cancellation_or_termination_at_every_point(terminate):
    script = LAST_STEP["late after the end"]
    outcome = hold(ORDER, Case(script))
    for number in range(3, outcome.writes + 1):
        case = Case(script, cancel_at=("write", number), terminate=terminate)
        hold(ORDER, case)
        for crash in range(number, number + 4):
            fault = Fault("write", crash, WRITE_MOMENTS[crash % 3])
            hold(
                ORDER,
                Case(script, (fault,), cancel_at=("write", number), terminate=terminate),
                all_faults_happen=False,
            )


@pytest.mark.parametrize("moment", ["while it is undone", "after the end"])
def test_a_crash_at_every_write_of_the_sqlite_store(moment, tmp_path):
    script = LAST_STEP[f"late {moment}"]
    files = iter(range(1_000))

    def hold_on_a_new_file(case):
        path = str(tmp_path / f"{next(files)}.db")
        return hold(ORDER, case, lambda: SqliteStore(path))

    writes = hold_on_a_new_file(Case(script, seconds=SLOW_UNDO)).writes
    for number in range(1, writes + 1):
        fault = Fault("write", number, WRITE_MOMENTS[number % 3])
        hold_on_a_new_file(Case(script, (fault,), seconds=SLOW_UNDO))


SECONDS = st.sampled_from(
    [LIMIT - 1, LIMIT + 0.05, LIMIT + 0.1, LIMIT + 1, LIMIT + 3, LIMIT + 12, LIMIT + 100]
)
LATE = st.builds("{}:{}".format, st.sampled_from(WAYS), SECONDS)
BEHAVIOUR = st.one_of(LATE, st.sampled_from(["ok", "fail", "decline", "lost", "silent", "cut", "cut-done"]))
FAULTS = st.lists(
    st.builds(
        Fault,
        st.sampled_from(["write", "call"]),
        st.integers(3, 30),
        st.sampled_from(["before", "unacknowledged", "acknowledged", "stop", "after"]),
    ).filter(lambda fault: (fault.when in ("before", "after")) or fault.kind == "write"),
    max_size=3,
)


@settings(max_examples=300 * EFFORT, deadline=None)
@given(
    script=st.fixed_dictionaries(
        {("do", step): st.lists(BEHAVIOUR, min_size=1, max_size=3) for step in ORDER.steps}
    ),
    seconds=st.fixed_dictionaries(
        {step: st.sampled_from([0.0, 0.1, 1.0, 5.0]) for step in ("charge", "reserve", "label")}
    ),
    faults=FAULTS,
    waiting_limit=st.sampled_from([0, 1_000]),
)
def test_generated_orders(script, seconds, faults, waiting_limit):
    case = Case(script, tuple(faults), seconds=seconds, waiting_limit=waiting_limit)
    hold(ORDER, case, all_faults_happen=False)
