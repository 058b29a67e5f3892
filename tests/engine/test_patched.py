"""Code that is changed under running runs, with ``mg.patched``: each run stays on the branch that it has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import makegood as mg
from makegood.engine import journal
from tests.engine.kit import START, Run, replayed, sealed
from tests.engine.shop import charge, note, reserve, ship

Code = Callable[[], Awaitable[object]]


def workflow(code: Code) -> mg.Workflow:
    async def order() -> None:
        await code()

    return mg.workflow(order)


def deploy(run: Run, code: Code) -> list[str]:
    """The worker is stopped, and comes back with this code."""
    run.workflow = workflow(code)
    return run.crash()


async def before() -> None:
    await charge()
    await ship()


async def after() -> None:
    await charge()
    if mg.patched("reserve-first"):
        await reserve()
    await ship()


async def for_good() -> None:
    await charge()
    await reserve()
    await ship()


def test_a_new_run_takes_the_new_branch() -> None:
    run = Run(workflow(after))
    assert run.complete("charge", "c") == ["charge done", "patched: reserve-first", "reserve scheduled"]
    run.complete("reserve", "r")
    assert run.complete("ship", "s") == ["ship done", "COMPLETED"]
    run.check_replay()


def test_an_old_run_that_has_not_come_so_far_takes_the_new_branch() -> None:
    run = Run(workflow(before))
    deploy(run, after)
    assert run.complete("charge", "c") == ["charge done", "patched: reserve-first", "reserve scheduled"]


def test_an_old_run_that_went_through_stays_on_the_old_branch() -> None:
    run = Run(workflow(before))
    run.complete("charge", "c")
    deploy(run, after)
    assert run.complete("ship", "s") == ["ship done", "COMPLETED"]
    assert run.state.patches == ()


def test_the_old_branch_is_kept_by_every_later_life() -> None:
    run = Run(workflow(before))
    run.complete("charge", "c")
    for _ in range(3):
        deploy(run, after)
    assert run.complete("ship", "s")[-1] == "COMPLETED"


def test_once_no_old_run_is_left_the_call_can_be_removed() -> None:
    run = Run(workflow(after))
    run.complete("charge", "c")
    deploy(run, for_good)
    run.complete("reserve", "r")
    assert run.complete("ship", "s")[-1] == "COMPLETED"


def test_taking_the_new_branch_back_is_a_mismatch() -> None:
    run = Run(workflow(after))
    run.complete("charge", "c")
    with pytest.raises(mg.DeterminismError, match="reserve"):
        replayed(workflow(before), run.entries)


def test_a_run_that_another_process_submitted_takes_the_new_branch() -> None:
    @mg.workflow
    async def order() -> None:
        if mg.patched("reserve-first"):
            await reserve()
        await ship()

    started = journal.RunStarted("run-1", "order", order.signature.encode_arguments((), {}))
    execution = replayed(order, [journal.Entry(START, 0, [started])])
    assert [type(event).__name__ for event in sealed(execution).events] == ["Patched", "StepScheduled"]
    execution.program.close()


def test_a_run_whose_new_branch_was_recorded_in_a_later_entry_than_its_start() -> None:
    @mg.workflow
    async def order() -> None:
        if mg.patched("reserve-first"):
            await reserve()

    run = Run(order)
    started, *rest = run.entries[0].events
    entries = [journal.Entry(START, 0, [started]), journal.Entry(START, 1, rest)]
    execution = replayed(order, entries)
    assert not execution.events
    assert [step.name for step in execution.state.steps.values()] == ["reserve"]
    execution.program.close()


def test_in_a_loop_the_first_answer_stays() -> None:
    async def old() -> None:
        for _ in range(3):
            await note()

    async def new() -> None:
        for _ in range(3):
            await (charge() if mg.patched("charge-instead") else note())

    run = Run(workflow(old))
    run.complete("note", "n")
    deploy(run, new)
    assert run.complete("note", "n") == ["note done", "note scheduled"]

    fresh = Run(workflow(new))
    assert fresh.complete("charge", "c") == ["charge done", "charge scheduled"]
    fresh.check_replay()


def test_where_an_old_run_decided_nothing_it_may_take_the_new_branch() -> None:
    async def left() -> None:
        await charge()

    async def left_and_more() -> None:
        await charge()
        if mg.patched("note"):
            await note()

    def both(one: Code) -> Code:
        async def code() -> None:
            await asyncio.gather(one(), ship())

        return code

    run = Run(workflow(both(left)))
    run.complete("charge", "c")
    assert deploy(run, both(left_and_more))[:2] == ["patched: note", "note scheduled"]
    run.complete("note", "n")
    run.crash()
    assert run.complete("ship", "s")[-1] == "COMPLETED"


def test_two_changes_are_taken_each_for_itself() -> None:
    async def twice_changed() -> None:
        await charge()
        if mg.patched("reserve-first"):
            await reserve()
        await ship()
        if mg.patched("and-note"):
            await note()

    run = Run(workflow(before))
    run.complete("charge", "c")
    deploy(run, twice_changed)
    assert run.complete("ship", "s") == ["ship done", "patched: and-note", "note scheduled"]


def test_an_id_used_at_two_places_is_refused() -> None:
    async def twice() -> None:
        mg.patched("one")
        mg.patched("one")

    run = Run(workflow(twice))
    assert run.state.failure is not None
    assert run.state.failure.type.endswith("UsageError")
    assert "mg.patched('one') is asked at two places" in run.state.failure.message
    assert run.state.failure.message.count("test_patched.py:") == 2
    run.check_replay()


def test_two_places_on_one_line_are_two_places() -> None:
    async def twice() -> bool:
        return mg.patched("one") and mg.patched("one")

    run = Run(workflow(twice))
    assert run.state.failure is not None
    assert "two places" in run.state.failure.message


def test_a_function_of_ones_own_around_it_is_one_place() -> None:
    def reserves_first() -> bool:
        return mg.patched("reserve-first")

    async def asks_twice() -> None:
        assert reserves_first()
        assert reserves_first()

    assert Run(workflow(asks_twice)).story[-1] == "COMPLETED"


@pytest.mark.parametrize("change_id", ["", None, 3, b"id", "a\nb", "x" * 201, "\ud800"])
def test_ids_that_name_nothing_are_refused(change_id) -> None:
    with pytest.raises(mg.UsageError, match="name the change with a string of 1 to 200"):
        mg.patched(change_id)


def test_outside_a_workflow_it_is_refused() -> None:
    with pytest.raises(mg.OutsideWorkflow, match="was called outside a workflow"):
        mg.patched("reserve-first")


def test_a_journal_that_takes_a_change_twice_is_corrupt() -> None:
    run = Run(workflow(after))
    run.complete("charge", "c")
    last = run.entries[-1]
    altered = [run.entries[0], journal.Entry(last.at, 1, [*last.events, journal.Patched("reserve-first")])]
    with pytest.raises(mg.JournalCorrupt):
        replayed(run.workflow, altered)


def test_a_run_that_stood_still_takes_the_new_branch_of_what_it_did_not_come_to() -> None:
    async def failing() -> None:
        await charge()
        mg.pivot()
        raise ValueError("a mistake in the code")

    async def corrected() -> None:
        await charge()
        mg.pivot()
        if not mg.patched("ship-instead"):
            raise ValueError("a mistake in the code")
        await ship()

    run = Run(workflow(failing))
    assert run.complete("charge", "c")[-1] == "parked: code"
    run.workflow = workflow(corrected)
    run.execution.program.close()
    run.execution = replayed(run.workflow, run.entries)
    acted = journal.OperatorActed("resume", "ann")
    assert run.tell(lambda execution: execution.resumed(acted, run.now)) == [
        "ann: resume",
        "patched: ship-instead",
        "ship scheduled",
    ]
    assert run.complete("ship", "s") == ["ship done", "COMPLETED"]
    run.crash()
