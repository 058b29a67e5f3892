"""The crash matrix of a saga that is asked while it runs, and watched: answered once, shown when durable."""

import pytest

from tests.faults.harness import Case
from tests.faults.matrix import EFFORT, crash_at_every_pair, crash_everywhere, hold
from tests.faults.participants import Services
from tests.faults.sagas import asking_saga

ASKED = asking_saga(Services())
SCRIPTS = {
    "nothing goes wrong": {},
    "charge fails": {("do", "charge"): ["fail"]},
    "charge times out, done": {("do", "charge"): ["lost"]},
    "redirect fails": {("do", "redirect"): ["fail"]},
    "redirect fails once": {("do", "redirect"): ["fail", "ok"]},
    "redirect times out, done": {("do", "redirect"): ["lost"]},
    "label fails": {("do", "label"): ["fail"]},
    "the undo of redirect fails once": {("do", "label"): ["fail"], ("undo", "redirect"): ["fail", "ok"]},
}


def scripts(*names):
    return [pytest.param(SCRIPTS[name], id=name) for name in names or SCRIPTS]


@pytest.mark.parametrize("script", scripts())
def test_a_crash_anywhere(script):
    assert crash_everywhere(ASKED, Case(script)) >= 10


@pytest.mark.parametrize("script", scripts("nothing goes wrong", "label fails"))
def test_a_crash_anywhere_while_every_waiting_run_leaves_memory(script):
    assert crash_everywhere(ASKED, Case(script, waiting_limit=0)) >= 10


@pytest.mark.parametrize("script", scripts("label fails", *("nothing goes wrong",) * (EFFORT > 1)))
def test_two_crashes_at_every_pair_of_writes(script):
    assert crash_at_every_pair(ASKED, Case(script)) >= 20


@pytest.mark.parametrize("script", scripts("nothing goes wrong", "redirect times out, done"))
def test_a_cancellation_at_every_point(script):
    outcome = hold(ASKED, Case(script))
    for kind, last in (("write", outcome.writes), ("call", outcome.calls)):
        for number in range(1, last + 1):
            hold(ASKED, Case(script, cancel_at=(kind, number)))


def test_the_answers_and_the_views_are_told():
    said = hold(ASKED, Case()).evidence.said
    answered = {one.detail[0] for one in said if one.what == "answered"}
    statuses = [one.detail["status"] for one in said if one.what == "seen"]
    assert answered == {"redirect-1", "close-1"}
    assert list(dict.fromkeys(statuses)) == ["new", "paid", "redirecting", "closed"]
    assert [one.detail for one in said if one.what == "rejected"] == ["redirect-2"]
