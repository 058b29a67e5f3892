"""The transition table: what is not in it is refused, and nothing follows an ending."""

from __future__ import annotations

import msgspec
import pytest

import makegood as mg
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.run import STEP_TRANSITIONS, RunState, StepState

NULL = msgspec.Raw(b"null")
FAILURE = mg.Failure("shop.Refused", "no")

STARTED = journal.RunStarted("run-1", "order", NULL)
SCHEDULED = journal.StepScheduled(1, "charge", NULL, undoable=True)
PENDING = journal.StepPending(1, 1)
ARRIVED = journal.CompletionArrived(1, 1, "ann")
DONE = journal.StepCompleted(1, 1, NULL)
GIVES_UP = journal.AttemptFailed(1, 1, FAILURE, "give up", unknown=True)
GIVES_UP_ON = journal.AttemptFailed(1, 1, FAILURE, "give up", unknown=True, running=True)
FAILED = journal.StepFailed(1, unknown=True)
ROLLBACK = journal.RollbackStarted(FAILURE)
UNDOING = journal.CompensationScheduled(1)
TERMINATE = journal.OperatorActed("terminate", "ann")
RETRY = journal.OperatorActed("retry", "ann", step=1)

WAY_INTO: dict[StepState, list[journal.AnyEvent]] = {
    StepState.OPEN: [],
    StepState.PROBING: [journal.AttemptFailed(1, 1, FAILURE, "probe", unknown=True)],
    StepState.EXHAUSTED: [GIVES_UP],
    StepState.DONE: [DONE],
    StepState.FAILED: [GIVES_UP, FAILED],
    StepState.SKIPPED: [GIVES_UP, journal.StepSkipped(1)],
    StepState.UNDOING: [DONE, ROLLBACK, UNDOING],
    StepState.UNDO_EXHAUSTED: [DONE, ROLLBACK, UNDOING, GIVES_UP],
    StepState.UNDONE: [DONE, ROLLBACK, UNDOING, journal.CompensationCompleted(1, 1)],
    StepState.PENDING: [PENDING],
    StepState.RESIDUE: [DONE, ROLLBACK, UNDOING, GIVES_UP, journal.CompensationSkipped(1)],
}
S = StepState
AFTER_A_LATE_RESULT = {(S.UNDONE, "undo again"): S.UNDOING}
MADE_GOOD = {(S.FAILED, "made good"): S.DONE, (S.SKIPPED, "made good"): S.DONE}
HAPPENINGS: dict[str, tuple[journal.AnyEvent, dict[StepState, StepState]]] = {
    "completed": (DONE, {S.OPEN: S.DONE, S.PENDING: S.DONE, S.EXHAUSTED: S.DONE}),
    "an attempt failed, retry": (
        journal.AttemptFailed(1, 1, FAILURE, "retry"),
        {S.OPEN: S.OPEN, S.PENDING: S.OPEN, S.UNDOING: S.UNDOING},
    ),
    "an attempt failed, probe": (
        journal.AttemptFailed(1, 1, FAILURE, "probe"),
        {S.OPEN: S.PROBING, S.PENDING: S.PROBING},
    ),
    "an attempt failed, give up": (
        GIVES_UP,
        {S.OPEN: S.EXHAUSTED, S.PENDING: S.EXHAUSTED, S.UNDOING: S.UNDO_EXHAUSTED},
    ),
    "waits for somebody outside": (PENDING, {S.OPEN: S.PENDING}),
    "the probe found it": (journal.ProbeAnswered(1, "done", "complete"), {S.PROBING: S.DONE}),
    "the probe found nothing, retry": (journal.ProbeAnswered(1, "not done", "retry"), {S.PROBING: S.OPEN}),
    "the probe found nothing, give up": (
        journal.ProbeAnswered(1, "not done", "give up"),
        {S.PROBING: S.EXHAUSTED},
    ),
    "failed": (FAILED, {S.OPEN: S.FAILED, S.EXHAUSTED: S.FAILED}),
    "skipped": (journal.StepSkipped(1), {S.EXHAUSTED: S.SKIPPED}),
    "tried again": (RETRY, {S.EXHAUSTED: S.OPEN, S.UNDO_EXHAUSTED: S.UNDOING}),
    "undo scheduled": (UNDOING, {S.DONE: S.UNDOING, S.FAILED: S.UNDOING, S.SKIPPED: S.UNDOING}),
    "undone": (
        journal.CompensationCompleted(1, 1),
        {S.UNDOING: S.UNDONE, S.UNDO_EXHAUSTED: S.UNDONE},
    ),
    "undone but for what an operator left open in the child": (
        journal.CompensationSkipped(1, ["ship"]),
        {S.UNDOING: S.RESIDUE},
    ),
    "undo skipped": (journal.CompensationSkipped(1), {S.UNDO_EXHAUSTED: S.RESIDUE}),
}


def state_after(*events: journal.AnyEvent) -> RunState:
    return folded([journal.Entry(1.0, 1, list(events))])


def refusal(*events: journal.AnyEvent) -> str:
    """How these events are refused, "" if they are not."""
    try:
        state_after(*events)
    except mg.JournalCorrupt as error:
        return str(error)
    return ""


@pytest.mark.parametrize("state", StepState)
def test_every_state_of_a_step_can_be_reached(state):
    run = state_after(STARTED, SCHEDULED, *WAY_INTO[state])
    assert run.steps[1].state is state


@pytest.mark.parametrize("happening", HAPPENINGS)
def test_every_happening_in_every_state_is_in_the_table_or_refused(happening):
    event, admitted = HAPPENINGS[happening]
    ways = {state: [STARTED, SCHEDULED, *way, event] for state, way in WAY_INTO.items()}
    assert {
        state: state_after(*way).steps[1].state for state, way in ways.items() if not refusal(*way)
    } == admitted


def test_the_table_holds_nothing_that_is_not_tested_here():
    tested = (
        sum(len(admitted) for _, admitted in HAPPENINGS.values()) + len(AFTER_A_LATE_RESULT) + len(MADE_GOOD)
    )
    assert tested == len(STEP_TRANSITIONS)


def test_what_was_undone_is_undone_again_only_after_a_late_result():
    late = [GIVES_UP_ON, FAILED, ROLLBACK, UNDOING, journal.CompensationCompleted(1, 1)]
    ended_late = journal.AttemptEndedLate(1, 1, NULL)
    assert "cannot follow" in refusal(STARTED, SCHEDULED, *late, UNDOING)
    again = state_after(STARTED, SCHEDULED, *late, ended_late, UNDOING)
    assert again.steps[1].state is AFTER_A_LATE_RESULT[S.UNDONE, "undo again"]


@pytest.mark.parametrize(("before", "way"), [(S.FAILED, FAILED), (S.SKIPPED, journal.StepSkipped(1))])
def test_what_was_missed_is_made_good_only_if_it_was_best_effort_and_the_run_has_completed(before, way):
    best_effort = journal.StepScheduled(1, "charge", NULL, critical=False)
    made_good = journal.MissedStepRetried(1, 2, "ann")
    ended = [GIVES_UP, way, journal.RunCompleted(NULL)]
    assert state_after(STARTED, best_effort, *ended).steps[1].state is before
    run = state_after(STARTED, best_effort, *ended, made_good)
    assert (run.steps[1].state, run.status, run.missed) == (MADE_GOOD[before, "made good"], "COMPLETED", [])
    assert "cannot follow" in refusal(STARTED, best_effort, *ended, made_good, made_good)
    assert "cannot follow" in refusal(STARTED, best_effort, *ended[:-1], made_good)
    assert "cannot follow" in refusal(STARTED, SCHEDULED, *ended, made_good)


@pytest.mark.parametrize("state", StepState)
def test_the_number_of_steps_in_flight_is_kept(state):
    run = state_after(STARTED, SCHEDULED, *WAY_INTO[state])
    assert run.in_flight == run.steps[1].in_flight


EVERY_EVENT: list[journal.AnyEvent] = [
    STARTED,
    journal.StepScheduled(2, "reserve", NULL),
    *(event for event, _ in HAPPENINGS.values()),
    ARRIVED,
    journal.StepCancelled(1),
    journal.TimerStarted(1, 5.0),
    journal.TimerFired(1),
    journal.TimerCancelled(1),
    journal.RunParked(1, "because"),
    journal.OperatorActed("resume", "ann"),
    TERMINATE,
    journal.CancelRequested("ann"),
    journal.RollbackRegistered(2, "tell", NULL),
    journal.Pivoted(),
    journal.SagaRollbackStarted(1, [1], FAILURE),
    ROLLBACK,
    journal.RunCompleted(NULL),
    journal.RunFailed(),
    journal.RunCompensated(),
    journal.RunCancelled(),
    journal.RunTerminated(["charge"]),
]


@pytest.mark.parametrize(
    "way",
    [
        [DONE, journal.RunCompleted(NULL)],
        [GIVES_UP, journal.StepFailed(1), ROLLBACK, journal.RunFailed()],
        [*WAY_INTO[StepState.UNDONE], journal.RunCompensated()],
        [*WAY_INTO[StepState.UNDONE], journal.RunCancelled()],
        [*WAY_INTO[StepState.RESIDUE], journal.RunTerminated(["charge"])],
        [TERMINATE, journal.RunTerminated(["charge"])],
    ],
    ids=lambda way: type(way[-1]).__name__,
)
def test_nothing_follows_an_ending(way):
    before = [STARTED, SCHEDULED, *way]
    assert state_after(*before).status_ is not None
    assert [event for event in EVERY_EVENT if "run-1" not in refusal(*before, event)] == []


def test_nothing_comes_before_the_start():
    assert [event for event in EVERY_EVENT if not refusal(event)] == [STARTED]


def test_a_run_starts_once():
    with pytest.raises(mg.JournalCorrupt, match="RunStarted cannot follow here"):
        state_after(STARTED, STARTED)


@pytest.mark.parametrize(
    "events",
    [
        [SCHEDULED, journal.RunCompleted(NULL)],
        [SCHEDULED, ROLLBACK, journal.RunFailed()],
        [SCHEDULED, DONE, ROLLBACK, journal.RunCompleted(NULL)],
        [SCHEDULED, DONE, journal.RunFailed()],
        [SCHEDULED, DONE, journal.RunCompensated()],
        [SCHEDULED, DONE, ROLLBACK, journal.RunCompensated()],
        [SCHEDULED, *WAY_INTO[StepState.UNDOING], journal.RunCompensated()],
    ],
    ids=[
        "completed with a step in flight",
        "failed with a step in flight",
        "completed in a rollback",
        "failed without a rollback",
        "compensated without a rollback",
        "compensated with a step to undo",
        "compensated with a compensation under way",
    ],
)
def test_an_ending_that_is_not_honest_is_refused(events):
    with pytest.raises(mg.JournalCorrupt):
        state_after(STARTED, *events)


@pytest.mark.parametrize(
    "events",
    [
        [journal.StepScheduled(2, "charge", NULL)],
        [SCHEDULED, SCHEDULED],
        [journal.TimerFired(1)],
        [journal.TimerStarted(1, 5.0), journal.TimerFired(1), journal.TimerFired(1)],
        [journal.TimerStarted(1, 5.0), journal.TimerCancelled(1), journal.TimerFired(1)],
        [journal.TimerStarted(1, 5.0), journal.TimerStarted(1, 5.0)],
        [journal.StepCompleted(7, 1, NULL)],
        [SCHEDULED, DONE, ARRIVED],
        [SCHEDULED, ARRIVED, ARRIVED],
        [journal.StepCancelled(7)],
        [journal.CompensationScheduled(7)],
        [SCHEDULED, DONE, journal.CompensationScheduled(1), journal.CompensationScheduled(1)],
        [SCHEDULED, DONE, ROLLBACK, ROLLBACK],
        [journal.RollbackRegistered(2, "tell", NULL)],
        [journal.Pivoted(), journal.Pivoted()],
        [journal.Pivoted(), ROLLBACK],
        [ROLLBACK, journal.Pivoted()],
        [TERMINATE, journal.RunCompleted(NULL)],
    ],
    ids=repr,
)
def test_events_about_nothing_are_refused(events):
    with pytest.raises(mg.JournalCorrupt):
        state_after(STARTED, *events)


def test_the_table_lists_no_transition_out_of_an_end_state():
    ends = {StepState.UNDONE, StepState.RESIDUE}
    assert not [one for one in STEP_TRANSITIONS if one[0] in ends and one not in AFTER_A_LATE_RESULT]
