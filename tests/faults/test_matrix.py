"""The matrix leaves out crashes that leave the same behind as another one: they have to tell the same story."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.faults.harness import Case
from tests.faults.matrix import all_crashes, distinct_crashes, hold, trace
from tests.faults.participants import Services
from tests.faults.sagas import fleet_saga, order_saga, parcel_saga
from tests.faults.signals import WORDS, listening_saga, one_by_one

SERVICES = Services()
LABEL_FAILS = {("do", "label"): ["fail"]}
CASES = {
    "order": (order_saga(SERVICES), Case()),
    "order, label fails": (order_saga(SERVICES), Case(LABEL_FAILS)),
    "order, charge is lost": (order_saga(SERVICES), Case({("do", "charge"): ["lost"]})),
    "order, slow commits": (order_saga(SERVICES), Case(LABEL_FAILS, commit_seconds=0.5)),
    "parcel": (parcel_saga(SERVICES), Case(LABEL_FAILS)),
    "fleet, evicted": (fleet_saga(SERVICES), Case({("do", "sail"): ["lost"]}, waiting_limit=0)),
    "signals": (
        listening_saga(SERVICES, one_by_one),
        Case(signals=tuple(WORDS), signal_seconds=5.0),
    ),
}


def story(saga, case):
    """What happened, without the number of each happening, and without what the process that died had heard of."""
    outcome = hold(saga, case, all_faults_happen=False)
    return re.sub(
        r"^ *\d+ | \(not acknowledged\)|(?<=:)\d+\b",
        "",
        "\n".join(trace(outcome.evidence)),
        flags=re.MULTILINE,
    )


@pytest.mark.parametrize("name", CASES)
def test_no_crash_tells_a_story_that_the_distinct_ones_do_not_tell(name):
    saga, case = CASES[name]
    clean = hold(saga, case)
    distinct = set(distinct_crashes(clean))
    told = {story(saga, replace(case, faults=(fault,))) for fault in distinct} | {story(saga, case)}
    for fault in all_crashes(clean):
        if fault not in distinct:
            assert story(saga, replace(case, faults=(fault,))) in told, fault
