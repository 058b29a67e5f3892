"""Attempts: async and plain steps, time limits, isolation, and whatever a step may raise."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

import makegood as mg
from makegood.worker import executor
from tests.until import until

pytestmark = pytest.mark.anyio

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def failure_of(workflow: mg.Workflow[..., Any], *args: Any) -> mg.Failure:
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.RunFailed) as failed:
            await engine.run(workflow, *args)
    assert failed.value.failure is not None
    return failed.value.failure


async def outcome_of(workflow: mg.Workflow[..., Any]) -> str:
    async with mg.Engine("memory://", grace_seconds=0) as engine:
        run = await engine.start(workflow)
        with pytest.raises(mg.RunError):
            await run.result()
        return (await run.describe()).steps[0].outcome


async def test_a_plain_step_runs_in_a_thread_and_knows_its_attempt() -> None:
    @mg.step
    def look() -> list[str]:
        return [threading.current_thread().name.rpartition("_")[0], mg.idempotency_key(), str(mg.attempt())]

    @mg.workflow
    async def looking() -> list[str]:
        return await look()

    async with mg.Engine("memory://") as engine:
        assert await engine.run(looking, id="run-1") == ["makegood-step", "run-1/1/look", "1"]


async def test_plain_steps_of_one_run_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)

    @mg.step
    def meet() -> int:
        return meeting.wait()

    @mg.workflow
    async def party() -> list[int]:
        return sorted(await asyncio.gather(meet(), meet(), meet()))

    async with mg.Engine("memory://") as engine:
        assert await engine.run(party) == [0, 1, 2]


async def test_a_thousand_steps_wait_at_the_same_time() -> None:
    waiting = 0
    all_there = asyncio.Event()

    @mg.step
    async def wait() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 1000:
            all_there.set()
        await all_there.wait()

    @mg.workflow
    async def crowd() -> None:
        await asyncio.gather(*(wait() for _ in range(100)))

    async with mg.Engine("memory://") as engine:
        async with asyncio.timeout(20):
            await asyncio.gather(*(engine.run(crowd) for _ in range(10)))
    assert waiting == 1000


async def test_context_variables_of_one_attempt_are_not_seen_by_the_next() -> None:
    @mg.step
    async def whoami(name: str) -> str:
        before = WHO.get()
        WHO.set(name)
        return before

    @mg.workflow
    async def asking() -> list[str]:
        return [await whoami(f"step {n}") for n in range(5)]

    async with mg.Engine("memory://") as engine:
        results = await asyncio.gather(*(engine.run(asking) for _ in range(20)))
    assert results == [["nobody"] * 5] * 20


async def test_context_variables_of_a_plain_step_are_not_seen_by_the_next() -> None:
    @mg.step
    def whoami() -> str:
        before = WHO.get()
        WHO.set("somebody")
        return before

    @mg.workflow
    async def asking() -> list[str]:
        return [await whoami() for _ in range(3)]

    async with mg.Engine("memory://") as engine:
        assert await engine.run(asking) == ["nobody"] * 3


async def test_a_step_outside_of_an_attempt_has_no_key() -> None:
    with pytest.raises(mg.NotInStep, match="outside a step"):
        mg.idempotency_key()


@pytest.mark.parametrize("plain", [False, True])
async def test_a_step_that_takes_too_long_has_an_unknown_outcome(plain: bool) -> None:
    release = threading.Event()

    async def wait_here() -> None:
        await asyncio.Event().wait()

    def wait_in_a_thread() -> None:
        release.wait(10)

    slow = mg.step(retry=None, timeout=0.01, name="slow")(wait_in_a_thread if plain else wait_here)

    @mg.workflow
    async def waiting() -> None:
        await slow()

    try:
        assert await outcome_of(waiting) == "unknown"
    finally:
        release.set()


async def test_a_timeout_says_how_long_it_waited() -> None:
    @mg.step(retry=None, timeout=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    @mg.workflow
    async def waiting() -> None:
        await slow()

    failure = await failure_of(waiting)
    assert (failure.type, failure.message) == ("TimeoutError", "no answer within 0.01 s")


async def test_a_step_that_raises_has_the_outcome_not_done() -> None:
    @mg.step(retry=None)
    async def broken() -> None:
        raise RuntimeError("broken")

    @mg.workflow
    async def breaking() -> None:
        await broken()

    assert await outcome_of(breaking) == "not done"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


class Lost(Exception):
    pass


class NoChance(Exception):
    pass


RAISED = {
    "SystemExit": SystemExit(3),
    "a BaseException": BaseException("base"),
    "GeneratorExit": GeneratorExit("gone"),
    "CancelledError": asyncio.CancelledError("by itself"),
    "an unprintable exception": Unprintable(),
    "a group": ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    "a lone surrogate": RuntimeError("\ud800 and NUL \0"),
    "a huge message": RuntimeError("x" * 1_000_000),
    "StopIteration": StopIteration("stop"),
    "StopAsyncIteration": StopAsyncIteration("stop"),
}


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("raised", RAISED)
async def test_whatever_a_step_raises_ends_its_attempt_and_nothing_else(raised: str, plain: bool) -> None:
    error = RAISED[raised]

    async def fail_here() -> None:
        raise error

    def fail_in_a_thread() -> None:
        raise error

    bad = mg.step(retry=None, name="bad")(fail_in_a_thread if plain else fail_here)

    @mg.step
    async def good() -> str:
        return "fine"

    @mg.workflow
    async def failing() -> None:
        await bad()

    @mg.workflow
    async def working() -> str:
        return await good()

    async with mg.Engine("memory://") as engine, asyncio.timeout(10):
        run = await engine.start(failing)
        with pytest.raises(mg.RunFailed):
            await run.result()
        assert (await run.describe()).status == "FAILED"
        assert await run.verify() == 2
        assert await engine.run(working) == "fine"


async def test_an_exception_named_unknown_leaves_the_outcome_unknown() -> None:
    @mg.step(retry=None, unknown=(Lost,))
    async def lose() -> None:
        raise Lost

    @mg.workflow
    async def losing() -> None:
        await lose()

    assert await outcome_of(losing) == "unknown"


async def test_a_fatal_exception_is_not_tried_again() -> None:
    attempts = 0

    @mg.step(retry=mg.Retry(delays=[0, 0, 0]), fatal=(NoChance,))
    async def hopeless() -> None:
        nonlocal attempts
        attempts += 1
        raise NoChance if attempts == 2 else RuntimeError

    @mg.workflow
    async def trying() -> None:
        await hopeless()

    await failure_of(trying)
    assert attempts == 2


async def test_a_cancelled_attempt_is_told_and_the_next_step_runs_undisturbed() -> None:
    told = asyncio.Event()

    @mg.step(retry=None)
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            raise

    @mg.step(retry=None)
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    @mg.step
    async def next_one() -> int:
        this = asyncio.current_task()
        assert this is not None
        return this.cancelling()

    @mg.workflow
    async def racing() -> list[int]:
        for step in (endless, stubborn):
            try:
                async with asyncio.timeout(0.01):
                    await step()
            except TimeoutError:
                pass
        return [await next_one() for _ in range(3)]

    async with mg.Engine("memory://") as engine, asyncio.timeout(10):
        assert await engine.run(racing) == [0, 0, 0]
    assert told.is_set()


async def test_attempts_queue_when_there_are_more_than_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "LANES_LIMIT", 3)

    @mg.step
    async def short(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @mg.workflow
    async def many() -> int:
        return sum(await asyncio.gather(*(short(number) for number in range(50))))

    async with mg.Engine("memory://") as engine, asyncio.timeout(10):
        assert await engine.run(many) == sum(range(50))


async def test_attempts_that_queue_go_on_when_all_lanes_are_cancelled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executor, "LANES_LIMIT", 3)
    blocked = 0

    @mg.step(retry=None)
    async def block() -> None:
        nonlocal blocked
        blocked += 1
        await asyncio.Event().wait()

    @mg.step
    async def short() -> str:
        return "done"

    @mg.workflow
    async def blocking() -> None:
        await asyncio.gather(block(), block(), block())

    @mg.workflow
    async def working() -> str:
        return await short()

    async with mg.Engine("memory://") as engine, asyncio.timeout(10):
        first = await engine.start(blocking)
        await until(lambda: blocked == 3)
        second = await engine.start(working)
        await first.cancel()
        assert await second.result() == "done"
