"""Nested sagas, ``on_rollback`` and ``pivot`` on a real engine."""

import asyncio
from collections.abc import Callable

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import parked
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio

EFFECTS: list[str] = []
KEYS: set[str] = set()
REFUSED: set[str] = set()


@pytest.fixture(autouse=True)
def empty() -> None:
    for kept in (EFFECTS, KEYS, REFUSED):
        kept.clear()


def effect(what: str) -> str:
    KEYS.add(mg.idempotency_key())
    if what in REFUSED:
        raise RuntimeError(f"{what} is refused")
    EFFECTS.append(what)
    return what


@mg.step(retry=None)
async def book(what: str) -> str:
    return effect(what)


@book.compensation(retry=None)
async def unbook(_: str | None, what: str) -> None:
    effect(f"no {what}")


@mg.step(retry=None)
def apologise(to: str) -> None:
    effect(f"sorry, {to}")


@mg.workflow
async def journey() -> str:
    await book("train")

    async def overnight() -> str:
        try:
            async with mg.saga():
                await asyncio.gather(book("hotel"), book("taxi"))
                mg.on_rollback(apologise, "porter")
                await book("dinner")
        except mg.StepFailed as error:
            return f"home early: {error.failure.message}"
        return "away"

    plan, _ = await asyncio.gather(overnight(), book("museum"))
    await book("souvenir")
    return plan


async def test_a_nested_saga_in_a_branch_undoes_its_own_and_the_run_completes() -> None:
    REFUSED.add("dinner")
    async with mg.Engine("memory://") as engine:
        run = await engine.start(journey, id="trip")
        assert await run.result() == "home early: dinner is refused"
        assert EFFECTS[4:] == ["sorry, porter", "no taxi", "no hotel", "souvenir"]
        assert (await run.describe()).undone == ["apologise", "book", "book"]
        assert await run.verify()
    assert len(KEYS) == 9, "each step and each undoing has a key of its own"


async def test_the_outer_rollback_leaves_alone_what_the_nested_one_undid() -> None:
    REFUSED.update(("dinner", "souvenir"))
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.RunCompensated):
            await engine.run(journey)
    assert EFFECTS[4:] == ["sorry, porter", "no taxi", "no hotel", "no museum", "no train"]


@mg.step(retry=None)
async def fly(to: str) -> str:
    return effect(to)


def flight(correct: Callable[[], bool]) -> mg.Workflow[[], str]:
    @mg.workflow(name="flight")
    async def flight() -> str:
        await book("seat")
        mg.pivot()
        place = await fly("Rome")
        if not correct():
            raise ValueError(f"no such place: {place}")
        return await fly("home")

    return flight


async def test_an_error_of_the_workflows_own_behind_the_pivot_parks_the_run_until_the_code_is_corrected() -> (
    None
):
    store = MemoryStore()
    async with engine_on(store) as engine:
        run = await engine.start(flight(lambda: False), id="flight-1")
        await parked(run)
        assert "no such place: Rome" in (await run.describe()).parked["code"]
        with pytest.raises(mg.NotPossible, match="cannot cancel"):
            await run.cancel()
        await run.retry(by="ann")
        assert [item.event for item in await run.history()].count("RunParked") == 2, "nothing has changed"
    async with engine_on(store, flight(lambda: True)) as engine:
        run = await engine.get("flight-1")
        await run.retry(by="ann", why="corrected")
        assert await run.result() == "home"
    assert EFFECTS == ["seat", "Rome", "home"]


async def test_a_step_that_gives_up_behind_the_pivot_is_helped_on_by_an_operator() -> None:
    REFUSED.add("Rome")
    async with mg.Engine("memory://") as engine:
        run = await engine.start(flight(lambda: True))
        await parked(run)
        with pytest.raises(mg.NotPossible, match="point of no return"):
            await run.cancel()
        REFUSED.clear()
        await run.retry()
        assert await run.result() == "home"


async def test_a_run_behind_its_pivot_that_stands_still_can_be_terminated() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(flight(lambda: False))
        await parked(run)
        await run.terminate()
        with pytest.raises(mg.RunTerminated, match="left open: book"):
            await run.result()
