"""What a workflow must not do is answered with an explanation; whatever its code raises ends that run and nothing else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
import urllib.request

import httpx
import pytest

import makegood as mg
from makegood.engine import loop
from makegood.engine.run import Status
from tests.engine.kit import Run
from tests.engine.shop import charge, note, reserve


async def in_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def in_a_thread() -> None:
    await asyncio.to_thread(urllib.request.urlopen, "http://127.0.0.1:9/")


async def over_a_socket() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def by_name() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 9)


async def with_httpx() -> None:
    async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - nothing is sent
        await client.get("http://127.0.0.1:9/")


async def with_httpx_by_name() -> None:
    async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - nothing is sent
        await client.get("http://localhost:9/")


async def as_a_server() -> None:
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)


async def in_a_subprocess() -> None:
    await asyncio.create_subprocess_exec(sys.executable, "-c", "", stdout=subprocess.PIPE)


async def in_a_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, print)


@pytest.mark.parametrize(
    "blocking",
    [
        in_an_executor,
        in_a_thread,
        over_a_socket,
        by_name,
        with_httpx,
        with_httpx_by_name,
        as_a_server,
        in_a_subprocess,
        in_a_pool,
    ],
)
def test_the_outside_is_refused_with_an_explanation(start, blocking):
    @mg.workflow
    async def outward() -> None:
        await charge()
        await blocking()

    run = start(outward)
    assert run.complete("charge", "c")[-2:] == ["rollback", "undo charge"]
    run.undo("charge")
    assert "NotDurable" in run.state.failure.type + run.state.failure.message
    assert "workflow outward called" in run.state.failure.message
    assert "Move this call into an @mg.step function" in run.state.failure.message


def test_a_future_that_nothing_durable_will_resolve_is_explained(start):
    @mg.workflow
    async def stuck() -> None:
        await charge()
        await asyncio.get_running_loop().create_future()

    run = start(stuck)
    run.complete("charge", "c")
    run.undo("charge")
    assert run.status is Status.COMPENSATED
    assert run.state.failure.type == "makegood.errors.NotDurable"
    assert (
        "workflow stuck waits for something that nothing durable will ever answer"
        in run.state.failure.message
    )


def test_a_workflow_that_gets_stuck_as_it_cancels_a_timer_is_explained(start):
    @mg.workflow
    async def stuck() -> None:
        async with asyncio.timeout(5):
            await charge()
        await asyncio.get_running_loop().create_future()

    run = start(stuck)
    assert run.complete("charge", "c") == ["charge done", "timer 1 cancelled", "rollback", "undo charge"]
    run.undo("charge")


def test_branches_that_wait_for_each_other_are_explained(start):
    @mg.workflow
    async def deadlock() -> None:
        first, second = asyncio.Lock(), asyncio.Lock()

        async def branch(one: asyncio.Lock, other: asyncio.Lock) -> None:
            async with one:
                await asyncio.sleep(1)
                async with other:
                    pass

        await asyncio.gather(branch(first, second), branch(second, first))

    run = start(deadlock)
    run.fire(1)
    run.fire(2)
    assert run.status is Status.FAILED
    assert "waits for something that nothing durable" in run.state.failure.message


@pytest.fixture
def foreign():
    loop = asyncio.new_event_loop()
    yield loop.create_future()
    loop.close()


def test_a_future_of_another_loop_is_explained(foreign, start):
    @mg.workflow
    async def confused() -> None:
        await foreign

    run = start(confused)
    assert run.status is Status.FAILED
    assert run.state.failure.type == "makegood.errors.NotDurable"
    assert "belongs in a step" in run.state.failure.message


def test_a_future_of_another_loop_in_a_branch_fails_the_run(foreign, start):
    @mg.workflow
    async def confused() -> None:
        async def wait() -> None:
            await foreign

        await asyncio.create_task(wait())

    run = start(confused)
    assert run.status is Status.FAILED
    assert "attached to a different loop" in run.state.failure.message


def test_something_that_is_not_awaitable_by_asyncio_is_explained(start):
    class Odd:
        def __await__(self):
            yield "a word"

    @mg.workflow
    async def odd() -> None:
        await Odd()

    run = start(odd)
    assert run.state.failure.type == "makegood.errors.NotDurable"
    assert "'a word'" in run.state.failure.message


@pytest.mark.parametrize("in_a_branch", [False, True])
def test_a_workflow_that_spins_is_ended_with_an_explanation(monkeypatch, start, in_a_branch):
    monkeypatch.setattr(loop, "SPIN_LIMIT_CALLBACKS", 1_000)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - what is tested
            await asyncio.sleep(0)

    @mg.workflow
    async def spinner() -> None:
        await charge()
        await (asyncio.create_task(spin()) if in_a_branch else spin())

    run = start(spinner)
    assert run.complete("charge", "c") == ["charge done", "rollback", "undo charge"]
    run.undo("charge")
    assert "workflow spinner spins: 1,000 callbacks" in run.state.failure.message
    assert "asyncio.sleep(seconds)" in run.state.failure.message


def test_asyncio_run_inside_a_workflow_fails_the_run(start):
    @mg.workflow
    async def nested() -> None:
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    run = start(nested)
    assert run.status is Status.FAILED
    assert "asyncio.run() cannot be called from a running event loop" in run.state.failure.message


def test_a_step_called_in_a_thread_of_the_workflow_is_outside_of_it(start):
    errors = []

    @mg.workflow
    async def threaded() -> None:
        def aside() -> None:
            try:
                charge()
            except mg.OutsideWorkflow as error:
                errors.append(error)

        thread = threading.Thread(target=aside)
        thread.start()
        thread.join()

    run = start(threaded)
    assert run.status is Status.COMPLETED
    assert len(errors) == 1


# ---- what the code raises ------------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def several() -> BaseExceptionGroup[SystemExit]:
    return BaseExceptionGroup("many", [SystemExit(1)])


@pytest.mark.parametrize("in_a_branch", [False, True])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (lambda: SystemExit(3), "SystemExit: 3"),
        (GeneratorExit, "GeneratorExit"),
        (StopIteration, "RuntimeError: coroutine raised StopIteration"),
        (StopAsyncIteration, "StopAsyncIteration"),
        (asyncio.CancelledError, "CancelledError"),
        (lambda: RecursionError("too deep"), "RecursionError: too deep"),
        (MemoryError, "MemoryError"),
        (several, "BaseExceptionGroup: many (1 sub-exception): SystemExit: 1"),
        (Unprintable, "Unprintable: <unprintable: RuntimeError>"),
    ],
)
def test_whatever_the_code_raises_ends_this_run_only(start, error, told, in_a_branch):
    @mg.workflow
    async def explosive() -> None:
        async def explode() -> None:
            raise error()

        await charge()
        await (asyncio.create_task(explode()) if in_a_branch else explode())

    run = start(explosive)
    run.complete("charge", "c")
    run.undo("charge")
    assert run.status is Status.COMPENSATED
    assert str(run.state.failure) == told


def test_endless_recursion_ends_this_run_only(start):
    @mg.workflow
    async def deep() -> None:
        async def down(level: int) -> None:
            await down(level + 1)

        await down(0)

    run = start(deep)
    assert run.status is Status.FAILED
    assert run.state.failure.type == "RecursionError"


def test_recursion_through_steps_is_just_a_long_run(start):
    async def down(level: int) -> int:
        if level == 0:
            return 0
        await note(str(level))
        return 1 + await down(level - 1)

    @mg.workflow
    async def deep() -> int:
        return await down(20)

    run = start(deep)
    for _ in range(20):
        run.complete("note", "n")
    assert bytes(run.state.result) == b"20"


def test_a_callback_that_raises_fails_the_run(start):
    @mg.workflow
    async def callbacks() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await charge()

    run = start(callbacks)
    run.stop("charge")
    assert run.status is Status.FAILED
    assert str(run.state.failure) == "ZeroDivisionError: division by zero"


# ---- what is left of a run that was given up -------------------------------------------------------------------------


def test_a_workflow_that_was_given_up_cannot_call_steps_of_another_run(start):
    @mg.workflow
    async def stuck() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await note("from beyond the grave")

    @mg.workflow
    async def honest() -> str:
        gc.collect(1)  # what was just given up is young, and what is old is much
        return await reserve()

    gc.collect(1)
    given_up = Run(stuck)
    assert given_up.status is Status.FAILED
    del given_up
    run = start(honest)
    assert run.began == ["STARTED", "reserve scheduled"]
    run.complete("reserve", "r")


def test_a_closed_program_runs_no_more_of_its_workflow(start):
    seen = []

    @mg.workflow
    async def tidy() -> None:
        try:
            await charge()
        except mg.StepFailed:
            seen.append("failed")
        finally:
            seen.append("closing")
            await note("never")
            seen.append("closed")

    run = start(tidy)
    run.execution.program.close()
    assert seen == ["closing"]
    assert not run.execution.events
