"""Runs that go on as new: what a leg begins with, what is carried over, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

import makegood as mg
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.legs import last_leg
from makegood.engine.operator import Request
from tests.engine.kit import Run, replayed
from tests.engine.shop import book, charge, note

Position = mg.Signal("position", int)


@mg.workflow
async def count(number: int = 1) -> str:
    await note(f"leg {number}")
    if number < 4:
        mg.continue_as_new(number + 1)
    return f"{number} legs"


def signal(run: Run, value: int, id: str = "") -> list[str]:
    return run.act(Request("signal", "ann", result=msgspec.Raw(b"%d" % value), name="position", id=id))


def failure_of(run: Run) -> str:
    assert run.state.failure is not None
    return run.state.failure.message


def test_a_run_goes_on_with_new_input_and_ends_with_the_last_legs_result() -> None:
    run = Run(count)
    assert run.complete("note", "n") == ["note done", "continued as leg 2", "note scheduled"]
    for _ in range(3):
        run.complete("note", "n")
    assert run.state.result is not None
    assert (bytes(run.state.result), run.state.leg) == (b'"4 legs"', 4)
    run.check_replay()


def test_each_leg_begins_with_a_fresh_state_and_its_numbers_go_on() -> None:
    run = Run(count)
    run.complete("note", "n")
    assert (list(run.state.steps), bytes(run.state.input or b"")) == ([2], b"[2]")
    assert run.state.started_at == run.entries[0].at


def test_only_the_last_leg_is_replayed() -> None:
    @mg.workflow(name="count")
    async def changed(number: int = 1) -> str:
        if number < 3:
            raise AssertionError("this leg is over")
        return await note(f"leg {number}")

    run = Run(count)
    run.complete("note", "n")
    run.complete("note", "n")
    run.workflow = changed
    run.crash()
    assert run.complete("note", "the end")[-1] == "COMPLETED"


def test_a_crash_right_after_going_on_loses_nothing() -> None:
    run = Run(count)
    run.complete("note", "n")
    run.crash()
    assert run.complete("note", "n") == ["note done", "continued as leg 3", "note scheduled"]
    run.check_replay()


def test_timers_go_on_being_numbered() -> None:
    @mg.workflow
    async def tick(number: int = 1) -> None:
        await asyncio.sleep(60)
        if number < 3:
            mg.continue_as_new(number + 1)

    run = Run(tick)
    assert run.fire() == ["timer 1 fired", "continued as leg 2", "timer 2 started, due at 120"]
    run.crash()
    assert run.fire() == ["timer 2 fired", "continued as leg 3", "timer 3 started, due at 180"]
    run.check_replay()


def test_random_values_are_others_in_each_leg() -> None:
    @mg.workflow
    async def draw(number: int = 1) -> None:
        await note(str(mg.uuid4()))
        if number < 3:
            mg.continue_as_new(number + 1)

    run = Run(draw)
    run.complete("note", "n")
    run.crash()
    run.complete("note", "n")
    drawn = {bytes(e.arguments) for e in run.events if isinstance(e, journal.StepScheduled)}
    assert len(drawn) == 3


def test_a_change_is_asked_anew_in_each_leg() -> None:
    @mg.workflow
    async def old(number: int = 1) -> None:
        await note("old")
        mg.continue_as_new(number + 1)

    @mg.workflow(name="old")
    async def new(number: int = 1) -> None:
        await note("new" if mg.patched("new") else "old")
        mg.continue_as_new(number + 1)

    run = Run(old)
    run.workflow = new
    run.crash()
    assert run.complete("note", "n") == [
        "note done",
        "continued as leg 2",
        "patched: new",
        "note scheduled",
    ]
    run.crash()
    assert run.complete("note", "n")[-2:] == ["patched: new", "note scheduled"]


# ---- what is carried over ----------------------------------------------------------------------------------------------


@mg.workflow
async def follow(seen: int = 0) -> int:
    seen += await Position.receive()
    if seen < 10:
        mg.continue_as_new(seen)
    return seen


def test_signals_that_were_not_received_are_there_for_the_next_leg() -> None:
    @mg.workflow
    async def slow(seen: int = 0) -> int:
        await note()
        mg.update_view(seen=seen)
        if seen < 4:
            mg.continue_as_new(seen + await Position.receive())
        return seen

    run = Run(slow)
    for value in (1, 3):
        signal(run, value)
    for _ in range(3):
        run.complete("note", "n")
        run.crash()
    assert run.state.result == msgspec.Raw(b"4")
    run.check_replay()


def test_a_signal_wakes_the_leg_that_waits() -> None:
    run = Run(follow)
    assert signal(run, 3) == [
        "signal 1: position 3",
        "waits for no signal",
        "continued as leg 2",
        "waits for position",
    ]
    run.crash()
    assert signal(run, 7) == ["signal 2: position 7", "waits for no signal", "COMPLETED"]


def test_a_signal_that_was_accepted_in_an_earlier_leg_is_not_accepted_again() -> None:
    run = Run(follow)
    for place, letter in enumerate("abcd", start=2):
        signal(run, 1, id=letter)
        assert run.state.leg == place
        run.crash()
        assert signal(run, 1, id="a") == []
    run.check_replay()


def test_so_many_ids_of_signals_are_remembered_and_those_of_the_unread() -> None:
    @mg.workflow
    async def slow(leg: int = 1) -> None:
        await note()
        mg.continue_as_new(leg + 1)

    run = Run(slow)
    signal(run, 0, id="unread")
    run.state.signal_ids = dict.fromkeys(("unread", *map(str, range(300))))
    run.complete("note", "n")
    assert list(run.state.signal_ids or ()) == ["unread", *map(str, range(100, 300))]


def test_an_update_of_an_earlier_leg_is_not_handled_again() -> None:
    rename = mg.Update("rename", str, str)

    @mg.workflow
    async def named(name: str = "Ann") -> None:
        given: list[str] = []

        @rename.handler
        def take(asked: str) -> str:
            given.append(asked)
            return asked

        await Position.receive()
        mg.continue_as_new(given[-1] if given else name)

    run = Run(named)
    asked = Request("update", "ann", result=msgspec.Raw(b'"Bob"'), name="rename", id="r-1")
    run.act(asked)
    signal(run, 1)
    assert run.state.input == msgspec.Raw(b'["Bob"]')
    assert run.act(asked) == []
    run.crash()
    assert run.act(asked) == []
    signal(run, 1)
    signal(run, 1)
    assert run.act(asked) == []


def test_large_updates_are_not_remembered_for_ever() -> None:
    rename = mg.Update("rename", str, str)

    @mg.workflow
    async def named() -> None:
        rename.handler(lambda asked: asked[:1])
        await Position.receive()
        mg.continue_as_new()

    run = Run(named)
    for letter in "abc":
        value = msgspec.Raw(msgspec.json.encode(letter * 30_000))
        run.act(Request("update", "ann", result=value, name="rename", id=letter))
    signal(run, 1)
    assert list(run.state.updates or ()) == ["b", "c"]


def test_what_was_published_stays_published() -> None:
    @mg.workflow
    async def published(number: int = 1) -> None:
        if number == 1:
            mg.update_view(customer="Ann", steps_pending=["note", "ship"])
        await note()
        mg.continue_as_new(number + 1)

    run = Run(published)
    run.complete("note", "n")
    run.crash()
    assert run.state.view is not None
    assert {name: bytes(raw) for name, raw in run.state.view.fields.items()} == {"customer": b'"Ann"'}


def test_all_that_a_run_started_with_but_its_input_stays() -> None:
    run = Run(count)
    defaults = {"id": "run-1", "workflow": "count", "input": msgspec.Raw(b"[1]")}
    given = {
        field: defaults.get(field, 7 if isinstance(default, int) else "given")
        for field, default in zip(
            journal.RunStarted.__struct_fields__[-len(journal.RunStarted.__struct_defaults__) :],
            journal.RunStarted.__struct_defaults__,
            strict=True,
        )
    }
    given |= {"by": "", "why": ""}  # who forked it is told once
    started = journal.RunStarted(**defaults, **given)
    execution = replayed(count, [msgspec.structs.replace(run.entries[0], events=[started])])
    execution.events.clear()
    execution.step_completed(1, 1, msgspec.Raw(b'"n"'), run.now)
    [continued] = [event for event in execution.events if isinstance(event, journal.RunContinued)]
    assert msgspec.structs.replace(continued.started, input=started.input) == started
    execution.program.close()


# ---- how a leg may be left ---------------------------------------------------------------------------------------------


def test_it_leaves_through_finally_and_task_groups() -> None:
    @mg.workflow
    async def tidy(number: int = 1) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await group.create_task(note("in a group"))
                if number == 1:
                    mg.continue_as_new(2)
        finally:
            await note("finally")

    run = Run(tidy)
    assert run.complete("note", "n") == ["note done", "note scheduled"]
    assert run.complete("note", "n") == ["note done", "continued as leg 2", "note scheduled"]
    run.check_replay()


def test_except_exception_does_not_catch_it() -> None:
    @mg.workflow
    async def careless(number: int = 1) -> str:
        with contextlib.suppress(Exception):
            if number == 1:
                mg.continue_as_new(2)
        return f"leg {number}"

    assert Run(careless).story == ["STARTED", "continued as leg 2", "COMPLETED"]


def test_a_step_that_was_given_up_is_settled_and_undone_first() -> None:
    @mg.workflow
    async def hasty(number: int = 1) -> None:
        if number == 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await charge()
            mg.continue_as_new(2)
        await note()

    run = Run(hasty)
    run.fire()
    assert run.cut_off("charge") == [
        "charge attempt 1 failed (unknown): give up",
        "charge failed (unknown)",
        "undo charge",
    ]
    assert run.undo("charge") == ["charge undone", "continued as leg 2", "note scheduled"]
    run.check_replay()


def test_behind_the_pivot_nothing_has_to_be_undone() -> None:
    @mg.workflow
    async def sold(number: int = 1) -> None:
        await charge()
        mg.pivot()
        if number == 1:
            mg.continue_as_new(2)

    run = Run(sold)
    assert run.complete("charge", "c")[-2:] == ["continued as leg 2", "charge scheduled"]
    assert not run.state.pivoted
    run.check_replay()


def test_a_cancellation_before_the_leg_is_over_wins() -> None:
    @mg.workflow
    async def deaf(number: int = 1) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await note()
        mg.continue_as_new(number + 1)

    run = Run(deaf)
    run.cancel()
    run.cut_off("note")
    assert run.status == "CANCELLED"


def test_a_cancellation_reaches_the_leg_that_runs() -> None:
    run = Run(count)
    run.complete("note", "n")
    run.cancel()
    run.cut_off("note")
    assert run.status == "CANCELLED"
    run.check_replay()


def test_a_failure_undoes_what_its_own_leg_has_done() -> None:
    @mg.workflow
    async def fails_later(number: int = 1) -> None:
        if number == 1:
            await note()
            mg.continue_as_new(2)
        await charge()
        await note()

    run = Run(fails_later)
    run.complete("note", "n")
    run.complete("charge", "c")
    assert run.fail_for_good("note")[-1] == "undo charge"
    assert run.undo("charge")[-1] == "COMPENSATED"


# ---- what is refused ---------------------------------------------------------------------------------------------------


def refused(workflow: mg.Workflow, *settle: str) -> str:
    """What is said of it. Nothing of going on is recorded, and the workflow has failed."""
    run = Run(workflow)
    for step in settle:
        run.complete(step, "x")
    assert not [event for event in run.events if isinstance(event, journal.RunContinued)]
    message = str(run.execution.program.error) if run.state.failure is None else failure_of(run)
    run.check_replay()
    return message


def test_steps_that_would_have_to_be_undone() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        await charge()
        await note()
        mg.continue_as_new(2)

    message = refused(order, "charge", "note")
    assert "run run-1 would forget what has to be undone if it fails: charge." in message
    assert "Call mg.pivot() first" in message


def test_steps_of_a_nested_saga_that_would_have_to_be_undone() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        async with mg.saga():
            await charge()
            mg.continue_as_new(2)

    run = Run(order)
    assert run.complete("charge", "c")[-2:] == ["saga 1 rolls back: charge", "undo charge"]
    run.undo("charge")
    assert "what has to be undone if it fails: charge." in failure_of(run)


def test_something_registered_to_be_done_on_rollback() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        mg.on_rollback(note, "tell")
        mg.continue_as_new(2)

    assert "what has to be undone if it fails: note." in refused(order)


def test_a_step_in_a_finally_block_that_would_have_to_be_undone() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        try:
            mg.continue_as_new(2)
        finally:
            await charge()

    assert "what has to be undone if it fails: charge." in refused(order, "charge")


def test_a_step_under_way() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        _call = book()
        mg.continue_as_new(2)

    run = Run(order)
    run.cut_off("book")
    assert "run run-1 has work in flight, which would be forgotten: step book." in str(
        run.execution.program.error
    )


def test_a_timeout_around_it() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        async with asyncio.timeout(5):  # noqa: ASYNC100 - it is to be left by the call
            mg.continue_as_new(2)

    assert "work in flight, which would be forgotten: timer 1. Await or cancel it first" in refused(order)


def test_a_branch_under_way() -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        task = asyncio.create_task(asyncio.sleep(5), name="nap")
        await asyncio.sleep(0)
        mg.continue_as_new(2)
        await task

    assert "work in flight, which would be forgotten: timer 1, task nap." in refused(order)


def test_in_a_branch() -> None:
    async def branch() -> None:
        mg.continue_as_new(2)

    @mg.workflow
    async def order(number: int = 1) -> None:
        await asyncio.create_task(branch(), name="branch")

    assert "work in flight, which would be forgotten: task branch." in refused(order)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("two",), "argument 'number'"),
        ((1, 2), "too many positional arguments"),
        ((object(),), "argument 'number'"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message) -> None:
    @mg.workflow
    async def order(number: int = 1) -> None:
        mg.continue_as_new(*arguments)

    assert message in refused(order)


def test_going_on_for_ever_without_waiting_for_anything() -> None:
    @mg.workflow
    async def spin(number: int = 1) -> None:
        mg.continue_as_new(number + 1)

    run = Run(spin)
    assert "workflow spin spins: it has gone on as new 50 times without waiting" in failure_of(run)
    assert run.status == "FAILED"
    run.check_replay()


def test_outside_a_workflow() -> None:
    with pytest.raises(mg.OutsideWorkflow, match=r"mg.continue_as_new\(\) was called outside a workflow"):
        mg.continue_as_new()


def test_a_journal_that_goes_on_while_something_is_under_way_is_corrupt() -> None:
    run = Run(count)
    run.complete("note", "n")
    [continued] = [event for event in run.events if isinstance(event, journal.RunContinued)]
    began = run.entries[0]
    altered = msgspec.structs.replace(began, events=[*began.events, continued])
    with pytest.raises(mg.JournalCorrupt):
        folded([altered])


def test_the_last_leg_of_a_journal_is_where_it_went_on_last() -> None:
    run = Run(count)
    for _ in range(2):
        run.complete("note", "n")
    [entry] = last_leg(run.entries)
    assert [type(event).__name__ for event in entry.events] == ["RunContinued", "StepScheduled"]
    assert folded([entry]) == run.state
