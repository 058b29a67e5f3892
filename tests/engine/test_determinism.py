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
    ("code", "diff"),
    [
        (renamed, ["-StepScheduled: reserve", "+StepScheduled: hold", " StepCompleted: reserve"]),
        (inserted, ["-StepScheduled: reserve", "+StepScheduled: note", " StepCompleted: reserve"]),
        (removed, ["-StepScheduled: reserve", "+StepScheduled: ship", " StepCompleted: reserve"]),
        (reordered, ["-StepScheduled: charge", "+StepScheduled: reserve", " StepCompleted: charge"]),
        (parallel, ["+StepScheduled: reserve", " StepCompleted: charge"]),
        (shortened, ["-StepScheduled: reserve", "+RunCompleted", " StepCompleted: reserve"]),
        (delayed, ["-StepScheduled: reserve", "+TimerStarted 1", " StepCompleted: reserve"]),
        (
            failing,
            [
                "-StepScheduled: reserve",
                "+RollbackStarted",
                "+CompensationScheduled: charge",
                " StepCompleted: reserve",
            ],
        ),
    ],
)
def test_changed_code_is_shown_against_the_journal_and_nothing_is_recorded(run, code, diff):
    execution = fresh_execution(workflow(code))
    with pytest.raises(mg.DeterminismError) as caught:
        execution.replay(run.entries)
    message = str(caught.value)
    assert "run run-1: the code of workflow order no longer fits its journal" in message
    assert "+++ code\n" in message
    assert "".join(f"{line}\n" for line in diff) in message
    assert "makegood resume run-1" in message
    assert not execution.events
    execution.program.close()


def test_the_difference_shows_what_went_before_and_where_in_the_journal_it_is(run):
    with pytest.raises(mg.DeterminismError) as caught:
        replayed(workflow(renamed), run.entries)
    assert (
        "--- journal, entry 2\n"
        "+++ code\n"
        " RunStarted\n"
        " StepScheduled: charge\n"
        " StepCompleted: charge\n"
        "-StepScheduled: reserve\n"
        "+StepScheduled: hold\n"
        " StepCompleted: reserve\n"
        "Steps recorded as done: charge.\n"
    ) in str(caught.value)


def test_of_steps_that_begin_together_only_the_one_that_is_new_differs():
    def together(*steps: mg.Step) -> Code:
        async def code() -> None:
            await asyncio.gather(*(step() for step in steps))

        return code

    message = mismatch(
        together(charge, reserve, ship),
        lambda run: run.complete("ship", "s"),
        together(charge, note, reserve, ship),
    )
    assert (
        " RunStarted\n"
        " StepScheduled: charge\n"
        "+StepScheduled: note\n"
        " StepScheduled: reserve\n"
        " StepScheduled: ship\n"
        " StepCompleted: ship\n"
    ) in message


def test_a_long_list_of_new_decisions_is_cut():
    async def many() -> None:
        await asyncio.gather(*(note() for _ in range(1_000)))

    assert mismatch(before, lambda run: None, many).count("\n+StepScheduled: note") == 20


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
    assert "\n-TimerStarted 1\n" in message
    assert "\n+StepScheduled: charge\n" in message


def test_a_timer_before_the_step_that_it_followed():
    async def step_first() -> None:
        await asyncio.gather(charge(), asyncio.sleep(5))

    async def timer_first() -> None:
        await asyncio.gather(asyncio.create_task(asyncio.sleep(5)), asyncio.create_task(later()))

    async def later() -> None:
        await charge()

    assert "\n+TimerStarted 1\n" in mismatch(step_first, lambda run: None, timer_first)


def test_another_timer_cancelled():
    def two_timers(chosen: int) -> Code:
        async def code() -> None:
            sleeps = [asyncio.create_task(asyncio.sleep(5)), asyncio.create_task(asyncio.sleep(9))]
            await charge()
            sleeps[chosen].cancel()
            await ship()

        return code

    message = mismatch(two_timers(0), lambda run: run.complete("charge", "c"), two_timers(1))
    assert "\n-TimerCancelled 1\n+TimerCancelled 2\n" in message


def test_another_step_cancelled():
    def two_steps(chosen: int) -> Code:
        async def code() -> None:
            calls = [charge(), reserve()]
            await ship()
            asyncio.ensure_future(calls[chosen]).cancel()
            await note()

        return code

    message = mismatch(two_steps(0), lambda run: run.complete("ship", "s"), two_steps(1))
    assert "\n-StepCancelled: charge\n+StepCancelled: reserve\n" in message


def test_a_run_that_was_undone_and_now_would_complete():
    async def forgiving() -> None:
        with contextlib.suppress(mg.StepFailed):
            await charge()

    async def strict() -> None:
        await charge()

    message = mismatch(strict, lambda run: run.fail_for_good("charge"), forgiving)
    assert "\n-RollbackStarted\n" in message
    assert "\n+RunCompleted\n" in message


def test_a_step_recorded_with_a_compensation_that_the_code_has_no_longer():
    @mg.step(name="charge")
    async def without_compensation(order: str = "o") -> str: ...

    async def after() -> None:
        await without_compensation()
        await reserve()

    message = mismatch(before, lambda run: run.complete("charge", "c"), after)
    assert (
        "\n-StepScheduled: charge, with a compensation\n+StepScheduled: charge, without a compensation\n"
        in message
    )


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
