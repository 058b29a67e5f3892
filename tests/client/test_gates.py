"""Gates at the edges: what ends late, what is no longer wanted, what was waiting for a lane, an engine that is closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import makegood as mg
from makegood.testing import VirtualEngine, in_virtual_time
from makegood.worker import executor


class World:
    """What was called, what works, and who has to wait."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.down = False
        self.token = ""
        self.released = asyncio.Event()


WORLD = World()


@pytest.fixture(autouse=True)
def world() -> World:
    WORLD.__init__()  # type: ignore[misc]
    return WORLD


@mg.step(breaker=mg.Breaker("press", failures=3, within=100, cool_down=3600), timeout=5, retry=None)
async def press(order: str) -> str:
    WORLD.calls.append(order)
    if order == "unusable":
        raise mg.PayloadError("of our own making")
    if WORLD.down:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            await asyncio.sleep(20)
            raise ConnectionError("late, and in vain") from None
    return order


@mg.step(
    breaker=mg.Breaker("mill", failures=1, cool_down=3600, counts=(ConnectionError,)), timeout=5, retry=None
)
async def grind(order: str) -> str:
    if WORLD.down:
        await asyncio.sleep(3600)
    return order


@mg.step(breaker=mg.Breaker("office", failures=1, cool_down=60), timeout=5, retry=mg.Retry(delays=[0, 0]))
async def ask(order: str) -> str | mg.Pending:
    WORLD.calls.append(order)
    WORLD.token = mg.completion_token()
    if WORLD.down:
        raise ConnectionError("nobody is in")
    return mg.PENDING


@mg.step(max_concurrency=1)
async def polish(order: str) -> str:
    WORLD.calls.append(order)
    return order


@mg.step
async def block() -> None:
    WORLD.calls.append("block")
    await WORLD.released.wait()


@mg.step(max_concurrency=1, retry=mg.Retry(delays=[0, 0, 0]))
async def slow(order: str) -> str:
    await asyncio.sleep(1)
    if WORLD.down:
        raise ConnectionError("no")
    return order


@mg.transaction(breaker=mg.Breaker("ledger", failures=2, cool_down=3600))
def book(db: mg.Connection, order: str) -> str:
    return order


@mg.workflow
async def pressing(order: str) -> str:
    return await press(order)


@mg.workflow
async def grinding(order: str) -> str:
    return await grind(order)


@mg.workflow
async def asking(order: str) -> str:
    answer = await ask(order)
    await mg.sleep(mg.DAY)
    return answer


@mg.workflow
async def polishing(order: str) -> str:
    return await polish(order)


@mg.workflow
async def blocking() -> None:
    await block()


@mg.workflow
async def slowly(order: str) -> str:
    return await slow(order)


@mg.workflow
async def booking(order: str) -> str:
    return await book(order)


ALL = (pressing, grinding, asking, polishing, blocking, slowly, booking)


@in_virtual_time
async def test_an_attempt_that_goes_on_when_its_time_is_over_counts_as_a_failure_once() -> None:
    WORLD.down = True
    async with VirtualEngine(*ALL) as engine:
        for order in ("a", "b"):
            await engine.start(pressing, order, id=order)
        await engine.advance(60)
        WORLD.down = False
        assert await engine.run(pressing, "c", id="c") == "c"
        assert asyncio.get_running_loop().time() < 61


@in_virtual_time
async def test_attempts_that_go_on_when_their_time_is_over_open_it() -> None:
    WORLD.down = True
    async with VirtualEngine(*ALL) as engine:
        for order in ("a", "b", "c", "d"):
            await engine.start(pressing, order, id=order)
        await engine.advance(6)

        assert "breaker press, open since" in (await (await engine.get("d")).describe()).waiting_for


@in_virtual_time
async def test_no_answer_in_time_counts_whatever_exceptions_do() -> None:
    WORLD.down = True
    async with VirtualEngine(*ALL) as engine:
        run = await engine.start(grinding, "a", id="a")
        await engine.advance(60)

        assert "breaker mill, open since" in (await run.describe()).waiting_for


@in_virtual_time
async def test_an_error_of_makegoods_own_says_nothing() -> None:
    async with VirtualEngine(*ALL) as engine:
        for number in range(3):
            with pytest.raises(mg.RunFailed):
                await engine.run(pressing, "unusable", id=f"a-{number}")
        assert await engine.run(pressing, "b", id="b") == "b"
        assert asyncio.get_running_loop().time() < 1


@in_virtual_time
async def test_a_held_step_that_is_completed_from_outside_is_not_tried_again() -> None:
    async with VirtualEngine(*ALL) as engine:
        run = await engine.start(asking, "a", id="a")
        await engine.advance(1)
        WORLD.down, token = True, WORLD.token
        await engine.start(asking, "b", id="b")
        await engine.advance(10)
        assert "held by breaker office" in (await run.describe()).waiting_for
        await engine.complete(token, "yes")
        WORLD.down = False
        await engine.advance(600)

        assert WORLD.calls.count("a") == 1
        assert await run.result() == "yes"


@in_virtual_time
async def test_an_attempt_that_still_waits_for_a_lane_gives_its_place_back() -> None:
    limit, executor.LANES_LIMIT = executor.LANES_LIMIT, 1
    try:
        async with VirtualEngine(*ALL) as engine:
            await engine.start(blocking, id="block")
            await engine.advance(1)
            first = await engine.start(polishing, "a", id="a")
            await engine.advance(1)
            await first.cancel()
            second = await engine.start(polishing, "b", id="b")
            await engine.advance(1)
            WORLD.released.set()

            assert await second.result() == "b"
            assert WORLD.calls == ["block", "b"]
    finally:
        executor.LANES_LIMIT = limit


@in_virtual_time
async def test_what_is_held_while_an_engine_is_closed_is_not_lost() -> None:
    WORLD.down = True
    async with VirtualEngine(*ALL) as engine:
        for order in ("a", "b"):
            await engine.start(slowly, order, id=order)
        await engine.advance(0.5)
    WORLD.down = False
    async with VirtualEngine(*ALL, store=engine.store) as engine:
        for order in ("a", "b"):
            run = await engine.get(order)
            assert await run.result() == order
            assert not [item for item in await run.history() if item.fields.get("lost")]


@in_virtual_time
async def test_all_that_is_held_for_long_is_recorded() -> None:
    async with VirtualEngine(*ALL) as engine:
        WORLD.down = True
        runs = [await engine.start(slowly, "a", id=f"a-{number}") for number in range(1_200)]
        await engine.advance(0.9)
        assert not [item for item in await runs[-1].history() if item.event == "AttemptHeld"]
        await engine.advance(0.2)
        for run in runs[2:]:
            assert [item for item in await run.history() if item.event == "AttemptHeld"]


@in_virtual_time
async def test_transactions_answer_as_steps_do(tmp_path: Path) -> None:
    now = asyncio.get_running_loop().now  # type: ignore[attr-defined]
    async with mg.Engine(f"sqlite:///{tmp_path}/books.db", ALL, now=now) as engine:
        for number in range(10):
            await engine.run(booking, "a", id=f"a-{number}")

        assert asyncio.get_running_loop().time() < 60
