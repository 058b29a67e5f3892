"""What a fork takes over, and what it may not."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from makegood.engine.coroutine import CoroutineProgram
from makegood.engine.execution import Execution
from makegood.engine.fork import forked
from makegood.engine.journal import Entry
from makegood.errors import NotPossible
from tests.engine.kit import in_words
from tests.engine.shop import charge, note, reserve, ship

AT = 1_000_100.0


@mg.workflow
async def order() -> str:
    await charge("o-1")
    await reserve("o-1")
    await mg.sleep(60)
    return await ship("o-1")


@mg.workflow
async def both() -> None:
    await asyncio.gather(charge("o-1"), note("one"))
    await ship("o-1")


@mg.workflow
async def parent() -> None:
    await charge("o-1")
    await mg.start_child(order)
    await ship("o-1")


def fork(run, step, run_id="fork-1"):
    return forked(run.entries, step, run_id, AT, by="ann", why="a second try")[1]


def lived(workflow, events):
    """The fork as its worker takes it in, and what it does next, in words."""
    execution = Execution(workflow, CoroutineProgram(workflow))
    entry = Entry(AT, 0, events)
    execution.replay([entry])
    execution.recover(AT + 1, 0.5)
    execution.program.close()
    names = {number: step.name for number, step in execution.state.steps.items()}
    return execution.state, in_words(execution.seal(1), names)


@pytest.fixture
def ended(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.complete("reserve", "hold")
    run.fire()
    run.operate("terminate")
    return run


def test_the_results_before_the_step_are_taken_over(ended):
    state, next_ = lived(order, fork(ended, "ship"))
    assert state.id == "fork-1"
    assert [bytes(state.steps[number].result) for number in (1, 2)] == [b'"receipt"', b'"hold"']
    assert state.timers == {}
    assert next_ == ["ship scheduled"]


def test_the_step_itself_is_run_anew(ended):
    state, _ = lived(order, fork(ended, "reserve"))
    assert (state.steps[1].state, state.steps[2].state) == ("done", "open")


def test_the_effects_taken_over_are_still_called_by_their_first_run(ended):
    state, _ = lived(order, fork(ended, "ship"))
    assert [state.author_of(number) for number in (1, 2, 3)] == ["run-1", "run-1", "fork-1"]


def test_a_fork_of_a_fork_knows_all_authors(ended):
    events = fork(ended, "reserve")
    again = [Entry(1_000_000.0, 0, [*events, *ended.events[len(events) :]])]
    started, _ = forked(again, "ship", "fork-2", AT, by="ann", why="a third try")
    assert started.forks == [("run-1", 1), ("fork-1", 2)]
    started, _ = forked(again, "reserve", "fork-3", AT, by="ann", why="a third try")
    assert started.forks == [("run-1", 1)]


def test_from_the_first_step_nothing_is_taken_over(ended):
    started, events = forked(ended.entries, "charge", "fork-1", AT, by="ann", why="anew")
    assert events == [started]
    assert started.forks == []


def test_a_run_that_has_not_ended_cannot_be_forked(start):
    run = start(order)
    run.complete("charge", "receipt")
    with pytest.raises(NotPossible, match="Terminate it first"):
        fork(run, "reserve")


def test_what_was_undone_since_cannot_be_taken_over(start):
    run = start(order)
    run.complete("charge", "receipt")
    run.fail_for_good("reserve")
    run.undo("charge")
    with pytest.raises(NotPossible, match=r"step 1 \(charge\) was undone since. Fork from an earlier step"):
        fork(run, "reserve")
    assert len(fork(run, "charge")) == 1


def test_what_was_under_way_at_that_moment_cannot_be_taken_over(start):
    run = start(both)
    run.complete("charge", "receipt")
    run.complete("note", "written")
    run.complete("ship", "label")
    with pytest.raises(NotPossible, match=r"step 1 \(charge\) was under way at that moment"):
        fork(run, "note")
    assert fork(run, "ship")


def test_an_unknown_step_names_the_steps(ended):
    with pytest.raises(NotPossible, match=r"no step is called so. Its steps: 1 \(charge\), 2 \(reserve\)"):
        fork(ended, "shop")


def test_a_cancelled_run_is_not_taken_over_beyond_its_cancellation(start):
    @mg.workflow
    async def stubborn() -> None:
        try:
            await charge("o-1")
            await mg.sleep(60)
        finally:
            await note("bye")

    run = start(stubborn)
    run.complete("charge", "receipt")
    run.cancel()
    run.complete("note", "x")
    run.undo("charge")
    with pytest.raises(NotPossible, match="had been cancelled before that"):
        fork(run, "note")


def test_the_fork_has_as_much_time_as_the_run_had(start):
    @mg.workflow(timeout=500)
    async def hurried() -> None:
        await charge("o-1")
        await ship("o-1")

    run = start(hurried)
    run.complete("charge", "receipt")
    run.operate("terminate")
    state, next_ = lived(hurried, fork(run, "ship"))
    assert state.deadline == AT + 500
    assert state.timers == {0: AT + 500}
    assert next_ == ["ship scheduled"]
