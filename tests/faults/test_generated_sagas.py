"""The crash matrix of generated sagas. ``MAKEGOOD_FAULTS_EFFORT=20`` explores twenty times more of them.

A failure prints the plan and the case: ``hold(generated_saga(Services(), plan), case)`` repeats it exactly.
"""

import random

import pytest

from tests.faults.harness import Case, Fault
from tests.faults.matrix import EFFORT, WRITE_MOMENTS, crash_at_every_pair, crash_everywhere, hold, trace
from tests.faults.participants import Services
from tests.faults.sagas import generated_saga, random_plan

SERVICES = Services()
DOES = ("ok", "fail", "decline", "lost", "silent", "cut", "cut-done", "interrupted")
UNDOES = ("ok", "ok", "fail", "lost", "cut", "cut-done")
DURATIONS_SECONDS = (0, 0, 0.001, 0.003, 0.01, 1.0)


def generate(seed, largest=6):
    dice = random.Random(seed)
    plan = random_plan(dice, dice.randint(1, largest))
    return dice, generated_saga(SERVICES, plan, f"seed {seed}: {plan}")


def draw_script(dice, saga):
    """Behaviours of every direction; in the end most undoes work."""
    script = {}
    for name in saga.steps:
        if dice.random() < 0.35:
            script["do", name] = dice.choices(DOES, k=dice.randint(1, 3))
        if dice.random() < 0.2:
            script["undo", name] = dice.choices(UNDOES, k=dice.randint(1, 3)) + ["ok"] * (dice.random() < 0.6)
        if name in saga.probed and dice.random() < 0.3:
            script["probe", name] = ["fail"] * dice.randint(0, 2) + ["ok"]
    return script


def draw_case(dice, saga):
    return Case(
        draw_script(dice, saga),
        seconds={name: dice.choice(DURATIONS_SECONDS) for name in saga.steps},
        commit_seconds=dice.choice((0, 0, 0.002, 0.5)),
        operator=dice.choice(("", "retry", "skip", "resolve")),
        dice=dice.randint(0, 1_000),
        waiting_limit=dice.choice((0, 1_000)),
    )


@pytest.mark.parametrize("seed", range(24 * EFFORT))
def test_a_crash_anywhere(seed):
    dice, saga = generate(seed)
    crash_everywhere(saga, draw_case(dice, saga))


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_000 + 8 * EFFORT))
def test_two_crashes_at_every_pair_of_writes_of_a_saga_of_up_to_four_steps(seed):
    dice, saga = generate(seed, largest=4)
    crash_at_every_pair(saga, draw_case(dice, saga))


@pytest.mark.parametrize("chunk", range(20 * EFFORT))
def test_anything_at_once(chunk):
    """Several crashes, cancellations, terminations, operators, runs, slow commits and clocks set back."""
    for seed in range(2_000_000 + chunk * 5, 2_000_005 + chunk * 5):
        dice, saga = generate(seed)
        for _ in range(8):
            hold(saga, draw_storm(dice, saga), all_faults_happen=False)


def draw_storm(dice, saga):
    case = vars(draw_case(dice, saga))
    faults = {}
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3))):
        kind = dice.choice(("write", "write", "call"))
        moments = WRITE_MOMENTS if kind == "write" else ("before", "after")
        fault = Fault(kind, dice.randint(1, 25 if kind == "write" else 12), dice.choice(moments))
        faults[fault.kind, fault.number] = fault
    cancel_at = (dice.choice(("write", "call")), dice.randint(1, 12)) if dice.random() < 0.3 else None
    return Case(
        **{
            **case,
            "faults": tuple(faults.values()),
            "cancel_at": cancel_at,
            "terminate": dice.choice(("", "", "", "at once", "after undoing")),
            "insists": dice.random() < 0.3,
            "run_ids": ("order-1", "order-2") if dice.random() < 0.2 else ("order-1",),
            "steps_back_seconds": dice.choice((0, 0, 0, 50)),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_case_happens_the_same_way_every_time(seed):
    dice, saga = generate(seed)
    storm = draw_storm(dice, saga)
    traces = [list(trace(hold(saga, storm, all_faults_happen=False).evidence)) for _ in range(2)]
    assert traces[0] == traces[1]
