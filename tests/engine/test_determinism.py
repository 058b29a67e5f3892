"""Changed code under a running run: told with journal against code, and nothing is recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

import makegood as mg
from tests.engine.kit import Run, fresh_execution, replayed
from tests.engine.shop import charge, note, reserve, ship

Code = Callable[[], Awaitable[object]]


def workflow(code: Code) -> mg.Workflow:
    async def order() -> None:
        await code()

    return mg.workflow(order)


async def before() -> None:
    await charge()
    await reserve()
    await ship()


@pytest.fixture
def run():
    run = Run(workflow(before))
    run.complete("charge", "c")
    run.complete("reserve", "r")
    return run


async def renamed() -> None:
    await charge()
    await reserve.options(name="hold")()
    await ship()


async def inserted() -> None:
    await charge()
    await note("new")
    await reserve()
    await ship()


async def removed() -> None:
    await charge()
    await ship()


async def reordered() -> None:
    await reserve()
    await charge()
    await ship()


async def parallel() -> None:
    await asyncio.gather(charge(), reserve())
    await ship()


async def shortened() -> None:
    await charge()


async def delayed() -> None:
    await charge()
    await asyncio.sleep(1)
    await reserve()
    await ship()


async def failing() -> None:
    await charge()
    raise ValueError


@pytest.mark.parametrize(
    ("code", "journal", "decided"),
    [
        (renamed, "StepScheduled 2: reserve", "StepScheduled 2: hold"),
        (inserted, "StepScheduled 2: reserve", "StepScheduled 2: note"),
        (removed, "StepScheduled 2: reserve", "StepScheduled 2: ship"),
        (reordered, "StepScheduled 1: charge", "StepScheduled 1: reserve"),
        (parallel, "nothing more before StepCompleted 1", "StepScheduled 2: reserve"),
        (shortened, "StepScheduled 2: reserve", "RunCompleted"),
        (delayed, "StepScheduled 2: reserve", "TimerStarted 1"),
        (failing, "StepScheduled 2: reserve", "RollbackStarted"),
    ],
)
def test_changed_code_is_shown_against_the_journal_and_nothing_is_recorded(run, code, journal, decided):
    execution = fresh_execution(workflow(code))
    with pytest.raises(mg.DeterminismError) as caught:
        execution.replay(run.entries)
    message = str(caught.value)
    assert "run run-1: the code of workflow order no longer fits its journal" in message
    assert f"journal: {journal}\n" in message
    assert f"code:    {decided}\n" in message
    assert "makegood retry run-1" in message
    assert not execution.events
    execution.program.close()


def mismatch(recorded: Code, tell: Callable[[Run], object], code: Code) -> str:
    run = Run(workflow(recorded))
    tell(run)
    with pytest.raises(mg.DeterminismError) as caught:
        replayed(workflow(code), run.entries)
    return str(caught.value)


def test_a_step_instead_of_a_timer():
    async def slept() -> None:
        await asyncio.sleep(5)

    message = mismatch(slept, lambda run: None, before)
    assert "journal: TimerStarted 1" in message
    assert "code:    StepScheduled 1: charge" in message


def test_a_timer_before_the_step_that_it_followed():
    async def step_first() -> None:
        await asyncio.gather(charge(), asyncio.sleep(5))

    async def timer_first() -> None:
        await asyncio.gather(asyncio.create_task(asyncio.sleep(5)), asyncio.create_task(later()))

    async def later() -> None:
        await charge()

    assert "code:    TimerStarted 1" in mismatch(step_first, lambda run: None, timer_first)


def test_another_timer_cancelled():
    def two_timers(chosen: int) -> Code:
        async def code() -> None:
            sleeps = [asyncio.create_task(asyncio.sleep(5)), asyncio.create_task(asyncio.sleep(9))]
            await charge()
            sleeps[chosen].cancel()
            await ship()

        return code

    message = mismatch(two_timers(0), lambda run: run.complete("charge", "c"), two_timers(1))
    assert "journal: TimerCancelled 1" in message
    assert "code:    TimerCancelled 2" in message


def test_another_step_cancelled():
    def two_steps(chosen: int) -> Code:
        async def code() -> None:
            calls = [charge(), reserve()]
            await ship()
            asyncio.ensure_future(calls[chosen]).cancel()
            await note()

        return code

    message = mismatch(two_steps(0), lambda run: run.complete("ship", "s"), two_steps(1))
    assert "journal: StepCancelled 1" in message
    assert "code:    StepCancelled 2" in message


def test_a_run_that_was_undone_and_now_would_complete():
    async def forgiving() -> None:
        with contextlib.suppress(mg.StepFailed):
            await charge()

    async def strict() -> None:
        await charge()

    message = mismatch(strict, lambda run: run.fail_for_good("charge"), forgiving)
    assert "journal: RollbackStarted" in message
    assert "code:    RunCompleted" in message


def test_a_step_recorded_with_a_compensation_that_the_code_has_no_longer():
    @mg.step(name="charge")
    async def without_compensation(order: str = "o") -> str: ...

    async def after() -> None:
        await without_compensation()
        await reserve()

    message = mismatch(before, lambda run: run.complete("charge", "c"), after)
    assert "StepScheduled 1: charge" in message
    assert "compensation" in message


# ---- what may change ---------------------------------------------------------------------------------------------


def test_recorded_arguments_hold_whatever_the_code_would_pass_today(run):
    async def other_arguments() -> None:
        await charge("x")
        await reserve("y")
        await ship("z")

    execution = replayed(workflow(other_arguments), run.entries)
    assert [bytes(step.arguments) for step in execution.state.steps.values()] == [b'["o"]'] * 3
    assert not execution.events


def test_a_compensation_added_later_does_not_concern_a_recorded_step():
    @mg.step(name="note")
    async def with_compensation(text: str = "") -> str: ...

    @with_compensation.compensation
    async def erase(result: str | None, text: str = "") -> None: ...

    async def noted() -> None:
        await note()
        await charge()

    async def after() -> None:
        await with_compensation()
        await charge()

    run = Run(workflow(noted))
    run.complete("note", "n")
    run.execution = replayed(workflow(after), run.entries)
    assert not run.step("note").undoable
    assert run.fail_for_good("charge")[-1] == "FAILED"
    assert run.state.left_as_is == ["note"]


def test_a_step_recorded_as_best_effort_stays_so():
    async def gentle() -> object:
        return await note.options(critical=False)()

    async def harsh() -> object:
        return await note()

    run = Run(workflow(gentle))
    run.execution = replayed(workflow(harsh), run.entries)
    assert run.fail_for_good("note")[-1] == "COMPLETED"


def test_a_changed_sleep_keeps_its_recorded_time():
    async def short() -> None:
        await asyncio.sleep(5)

    async def long() -> None:
        await asyncio.sleep(5000)

    run = Run(workflow(short))
    execution = replayed(workflow(long), run.entries)
    assert execution.state.timers == run.state.timers


def test_code_may_be_changed_beyond_what_is_recorded(run):
    async def longer() -> None:
        await charge()
        await reserve()
        await ship()
        await note("and one more")

    run.workflow = workflow(longer)
    run.execution = replayed(run.workflow, run.entries)
    assert run.complete("ship", "s") == ["ship done", "note scheduled"]


def test_a_result_that_no_longer_fits_its_annotation_is_explained():
    @mg.step(name="note")
    async def note_as_number(text: str = "") -> int: ...

    async def noted() -> None:
        await note()
        await charge()

    async def after() -> None:
        await note_as_number()
        await charge()

    run = Run(workflow(noted))
    run.complete("note", "n")
    with pytest.raises(mg.PayloadError, match="result of step note_as_number: the value does not fit"):
        replayed(workflow(after), run.entries)
