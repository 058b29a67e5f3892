"""Heartbeats: signs of life from steps, with details for the next attempt; and how a thread learns that it is over."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio
SOON = 0.05


@dataclass
class Page:
    number: int
    cursor: str


async def failure_of(workflow: mg.Workflow[..., Any]) -> mg.Failure:
    async with mg.Engine("memory://", grace_seconds=0) as engine:
        with pytest.raises(mg.RunFailed) as failed:
            await engine.run(workflow)
    assert failed.value.failure is not None
    return failed.value.failure


async def test_a_silent_coroutine_is_given_up_on() -> None:
    @mg.step(retry=None, heartbeat_timeout=SOON)
    async def silent() -> None:
        await asyncio.Event().wait()

    @mg.workflow
    async def waiting() -> None:
        await silent()

    failure = await failure_of(waiting)
    assert (failure.type, failure.message) == ("TimeoutError", "no heartbeat within 0.05 s")


async def test_a_silent_thread_is_given_up_on() -> None:
    release = threading.Event()

    @mg.step(retry=None, heartbeat_timeout=SOON)
    def silent() -> None:
        release.wait(10)

    @mg.workflow
    async def waiting() -> None:
        await silent()

    try:
        assert (await failure_of(waiting)).message == "no heartbeat within 0.05 s"
    finally:
        release.set()


@pytest.mark.parametrize("is_plain", [True, False], ids=["thread", "coroutine"])
async def test_signs_of_life_keep_it_going(is_plain) -> None:
    def work_in_a_thread() -> str:
        pause = threading.Event()
        for _ in range(20):
            mg.heartbeat()
            pause.wait(0.02)
        return "done"

    async def work_here() -> str:
        for _ in range(20):
            mg.heartbeat()
            await asyncio.sleep(0.02)
        return "done"

    work = mg.step(name="work", retry=None, heartbeat_timeout=0.2)(
        work_in_a_thread if is_plain else work_here
    )

    @mg.workflow
    async def working() -> str:
        return await work()

    async with mg.Engine("memory://") as engine:
        assert await engine.run(working) == "done"


@pytest.mark.parametrize("is_plain", [True, False], ids=["thread", "coroutine"])
async def test_the_next_attempt_goes_on_where_the_last_one_was(is_plain) -> None:
    seen: list[Page | None] = []

    def copy() -> int:
        last = mg.last_heartbeat(Page)
        seen.append(last)
        number = last.number if last is not None else 0
        mg.heartbeat(Page(number + 1, "x"))
        if number < 2:
            raise RuntimeError("interrupted")
        return number

    async def copy_here() -> int:
        return copy()

    step = mg.step(name="copy", retry=mg.Retry(delays=[0, 0, 0]))(copy if is_plain else copy_here)

    @mg.workflow
    async def copying() -> int:
        return await step()

    async with mg.Engine("memory://") as engine:
        assert await engine.run(copying) == 2
    assert seen == [None, Page(1, "x"), Page(2, "x")]


async def test_what_was_recorded_survives_the_process() -> None:
    seen: list[Any] = []
    began = asyncio.Event()

    @mg.step(retry=mg.Retry(delays=[0, 0, 0]))
    async def copy() -> None:
        seen.append(mg.last_heartbeat())
        if mg.attempt() == 1:
            mg.heartbeat({"page": 7})
            raise RuntimeError("interrupted")
        if mg.attempt() == 2:
            mg.heartbeat({"page": 8})
            began.set()
            await asyncio.Event().wait()

    @mg.workflow
    async def copying() -> None:
        await copy()

    store = MemoryStore()
    async with engine_on(store, grace_seconds=0) as engine:
        await engine.start(copying, id="copy-1")
        await began.wait()
    async with engine_on(store, copying) as engine:
        await (await engine.get("copy-1")).result()
    assert seen == [None, {"page": 7}, {"page": 7}]


@pytest.mark.parametrize("how", ["its time is over", "the run is cancelled", "the engine is closed"])
async def test_a_thread_that_is_no_longer_wanted_learns_of_it(how) -> None:
    began, told = threading.Event(), threading.Event()

    @mg.step(retry=None, timeout=SOON if how == "its time is over" else None)
    def work() -> None:
        began.set()
        try:
            for _ in range(2_000):
                mg.heartbeat()
                threading.Event().wait(0.005)
        except asyncio.CancelledError:
            told.set()
            raise

    @mg.workflow
    async def working() -> None:
        await work()

    async with mg.Engine("memory://", grace_seconds=0) as engine:
        run = await engine.start(working)
        await until(began.is_set)
        if how == "the run is cancelled":
            await run.cancel()
        if how != "the engine is closed":
            await until(told.is_set)
    await until(told.is_set)


async def test_details_are_in_the_history() -> None:
    @mg.step(retry=None)
    async def copy() -> None:
        mg.heartbeat("half")
        mg.heartbeat()
        raise RuntimeError("interrupted")

    @mg.workflow
    async def copying() -> None:
        await copy()

    async with mg.Engine("memory://") as engine:
        run = await engine.start(copying)
        with pytest.raises(mg.RunFailed):
            await run.result()
        failed = next(item for item in await run.history() if item.event == "AttemptFailed")
        assert failed.fields["heartbeat"] == "half"


async def test_details_that_cannot_be_stored_are_refused_at_once() -> None:
    @mg.step(retry=None)
    async def copy() -> None:
        mg.heartbeat(object())

    @mg.workflow
    async def copying() -> None:
        await copy()

    assert (await failure_of(copying)).type == "makegood.errors.PayloadError"


async def test_details_of_another_type_are_refused() -> None:
    @mg.step(retry=mg.Retry(delays=[0, 0]))
    async def copy() -> None:
        if mg.attempt() == 1:
            mg.heartbeat("half")
            raise RuntimeError("interrupted")
        mg.last_heartbeat(Page)

    @mg.workflow
    async def copying() -> None:
        await copy()

    assert "heartbeat of step copy" in (await failure_of(copying)).message


async def test_there_is_no_heartbeat_outside_a_step() -> None:
    with pytest.raises(mg.NotInStep, match="outside a step"):
        mg.heartbeat()
    with pytest.raises(mg.NotInStep, match="outside a step"):
        mg.last_heartbeat()


@pytest.mark.parametrize("limit", [0, -1, "soon"])
async def test_a_limit_that_is_none_is_refused(limit) -> None:
    async def work() -> None: ...

    with pytest.raises(mg.DefinitionError, match="heartbeat_timeout"):
        mg.step(heartbeat_timeout=limit)(work)
    with pytest.raises(mg.DefinitionError, match="heartbeat_timeout"):
        mg.step(work).options(heartbeat_timeout=limit)
