"""``run.describe().waiting_for``: one sentence that says why a run is not moving."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import makegood as mg
from makegood.description import Description
from makegood.store.memory import MemoryStore
from makegood.times import duration, moment
from tests.until import eventually
from tests.worker.engines import Clock, engine_on

pytestmark = pytest.mark.anyio

Go = mg.Signal("go", str)


@mg.step(retry=mg.Retry(delays=[0, 60]))
async def refuses() -> None:
    raise ConnectionError("no")


@mg.step(retry=None, on_exhausted="park")
async def gives_up() -> None:
    raise ValueError("no such card")


@mg.step
async def hangs() -> None:
    await asyncio.Event().wait()


@mg.step(timeout=3600)
async def asks() -> str | mg.Pending:
    return mg.PENDING


@mg.workflow
async def naps() -> None:
    await mg.sleep(37 * mg.DAY)


@mg.workflow
async def retries() -> None:
    await refuses()


@mg.workflow
async def parks() -> None:
    await gives_up()


@mg.workflow
async def works() -> None:
    await hangs()


@mg.workflow
async def listens() -> None:
    await Go.receive(timeout=3600)


@mg.workflow
async def asks_outside() -> None:
    await asks()


@mg.workflow
async def calls() -> None:
    await mg.start_child(parks, id="the-child")


@mg.workflow
async def fans_out() -> None:
    await asyncio.gather(*(hangs() for _ in range(300)))


NOW = 1_000_000.0
AT = moment(NOW)
GAVE_UP = "step gives_up gave up after 1 attempt(s): ValueError: no such card"
SENTENCES: dict[str, tuple[mg.Workflow[..., Any], str]] = {
    "timer": (naps, f"timer until {moment(NOW + 37 * 86_400)} (in 37 d 0 h)"),
    "next attempt": (
        retries,
        f"step refuses: attempt 2 at {moment(NOW + 60)} (in 1 min 0 s), after attempt 1 failed: ConnectionError: no",
    ),
    "parked": (
        parks,
        f"an operator: parked since {AT} because {GAVE_UP}",
    ),
    "attempt": (works, f"step hangs: attempt 1 under way since {AT}"),
    "signal": (listens, f"signal go, timer until {moment(NOW + 3600)} (in 1 h 0 min)"),
    "completion": (
        asks_outside,
        f"step asks: completion from outside until {moment(NOW + 3600)} (in 1 h 0 min)",
    ),
    "child": (
        calls,
        f"child run the-child (an operator: parked since {AT} because {GAVE_UP})",
    ),
    "many": (
        fans_out,
        ", ".join([f"step hangs: attempt 1 under way since {AT}"] * 5) + ", and 295 more",
    ),
}


@pytest.mark.parametrize("state", SENTENCES)
async def test_a_run_says_why_it_is_not_moving(state: str) -> None:
    workflow, sentence = SENTENCES[state]
    async with engine_on(MemoryStore(), workflow, now=Clock(NOW), grace_seconds=0) as engine:
        run = await engine.start(workflow)
        await tells(run, lambda it: it.waiting_for == sentence)
        assert (await run.describe()).waiting_since == NOW


async def test_what_is_left_of_a_wait_gets_less_with_time() -> None:
    clock = Clock(NOW)
    async with engine_on(MemoryStore(), naps, now=clock) as engine:
        run = await engine.start(naps)
        await tells(run, lambda it: it.waiting_for.endswith("(in 37 d 0 h)"))
        clock.now += 36 * 86_400
        assert (await run.describe()).waiting_for.endswith("(in 24 h 0 min)")


async def test_a_paused_run_says_by_whom_since_when_and_why() -> None:
    async with engine_on(MemoryStore(), naps, now=Clock(NOW)) as engine:
        run = await engine.start(naps)
        await run.pause("stock-taking", by="ann")
        described = await run.describe()
        assert described.waiting_for == f"an operator to resume it: paused by ann: stock-taking since {AT}"
        assert described.waiting_since == NOW


async def test_a_run_without_a_live_worker_says_so() -> None:
    store = MemoryStore()
    async with engine_on(store, works, work=False) as client:
        run = await client.start(works)
        assert (await run.describe()).waiting_for.startswith(
            "a live worker, as none works on this store (makegood worker MODULE starts one)"
        )


async def test_a_run_whose_workflow_no_worker_knows_says_so() -> None:
    store = MemoryStore()
    async with engine_on(store, naps, work=False) as client:
        await client.start(naps, id="a-nap")
    async with engine_on(store) as engine:
        run = await engine.get("a-nap")
        assert "no live worker knows its workflow naps" in (await run.describe()).waiting_for


async def test_a_run_that_has_ended_waits_for_nothing() -> None:
    async with engine_on(MemoryStore(), naps) as engine:
        run = await engine.start(naps)
        await run.terminate(by="ann")
        described = await run.describe()
        assert (described.waiting_for, described.waiting_since) == ("", None)


def test_durations_in_words() -> None:
    told = [duration(seconds) for seconds in (0.0042, 5.04, 61, 3_660, 90_000, 200_000)]
    assert told == ["4 ms", "5.0 s", "1 min 1 s", "1 h 1 min", "25 h 0 min", "2 d 7 h"]


async def tells(run: mg.RunHandle[Any], condition: Callable[[Description], bool]) -> None:
    async def holds() -> bool:
        return condition(await run.describe())

    await eventually(holds)
