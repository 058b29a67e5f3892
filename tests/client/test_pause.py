"""``run.pause()`` and ``run.resume()``: a run stands still, in memory, evicted, over restarts; in every state."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import makegood as mg
from makegood.description import Description
from makegood.store.memory import MemoryStore
from makegood.worker import timers
from tests.until import eventually, parked, until
from tests.worker.engines import Clock, engine_on

pytestmark = pytest.mark.anyio

MINUTE = 60.0
Pickup = mg.Signal("pickup", str)
Move = mg.Update("move", str, str)


class Yard:
    """What has been called, and what a step waits for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refused: set[str] = set()
        self.gate = asyncio.Event()


YARD = Yard()


@pytest.fixture(autouse=True)
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    monkeypatch.setattr(timers, "LONGEST_NAP_SECONDS", 0.005)  # the clock is moved
    YARD.__init__()  # type: ignore[misc]
    return YARD


def call(what: str) -> str:
    YARD.calls.append(what)
    if what in YARD.refused:
        raise RuntimeError(f"{what} is refused")
    return what


async def shows(run: mg.RunHandle[Any], condition: Callable[[Description], bool]) -> None:
    async def holds() -> bool:
        return condition(await run.describe())

    await eventually(holds)


@mg.step(retry=mg.Retry(delays=[0, MINUTE]))
async def park_car(car: str) -> str:
    return call("park")


@park_car.compensation
async def fetch_car(_: str | None, car: str) -> None:
    call("fetch")


@mg.step
async def wash(car: str) -> str:
    call("wash")
    await YARD.gate.wait()
    return "washed"


@wash.compensation
async def dirty(_: str | None, car: str) -> None:
    call("dirty")


@mg.step
async def polish(car: str) -> str:
    return call("polish")


@mg.workflow
async def valet(car: str) -> str:
    await park_car(car)
    await wash(car)
    return await polish(car)


@mg.workflow
async def long_stay(car: str) -> str:
    await park_car(car)
    await asyncio.sleep(10 * MINUTE)
    return await polish(car)


@mg.workflow
async def until_fetched(car: str) -> str:
    await park_car(car)
    Move.handler(lambda place: place)
    return await Pickup.receive()


@mg.workflow
async def family(car: str) -> str:
    return await mg.start_child(valet, car, id=f"{car}-child")


async def test_what_is_under_way_ends_and_nothing_new_begins():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(valet, "c", id="v-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause("the owner is here")
        YARD.gate.set()
        await shows(run, lambda it: it.steps[1].state == "done")
        description = await run.describe()
        assert description.status == "PAUSED"
        assert "the owner is here" in description.waiting_for
        assert YARD.calls == ["park", "wash"]
        await run.resume()
        assert await run.result() == "polish"


async def test_a_timer_that_comes_due_meanwhile_fires_after_it_is_resumed():
    clock = Clock()
    async with engine_on(MemoryStore(), long_stay, now=clock) as engine:
        run = await engine.start(long_stay, "c", id="l-1")
        await shows(run, lambda it: "timer" in it.waiting_for)
        await run.pause()
        clock.now += 11 * MINUTE
        await run.resume()
        assert await run.result() == "polish"


@pytest.mark.parametrize("waiting_limit", [0, 1_000])
async def test_a_paused_run_sleeps_over_a_restart(waiting_limit):
    store, clock = MemoryStore(), Clock()
    async with engine_on(store, long_stay, now=clock, waiting_limit=waiting_limit) as engine:
        run = await engine.start(long_stay, "c", id="l-1")
        await shows(run, lambda it: "timer" in it.waiting_for)
        await run.pause()
    clock.now += 11 * MINUTE
    async with engine_on(store, long_stay, now=clock, waiting_limit=waiting_limit) as engine:
        run = await engine.get("l-1")
        await asyncio.sleep(0.02)
        assert (await run.describe()).status == "PAUSED"
        assert YARD.calls == ["park"]
        await run.resume()
        assert await run.result() == "polish"


async def test_signals_are_accepted_and_updates_wait():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(until_fetched, "c", id="u-1")
        await shows(run, lambda it: "signal" in it.waiting_for)
        await run.pause()
        moving = asyncio.create_task(run.update(Move, "row 7"))
        await asyncio.sleep(0.02)
        assert not moving.done()
        await run.signal(Pickup, "ann")
        await run.resume()
        assert await run.result() == "ann"
        with pytest.raises(mg.NotPossible, match="has already ended"):
            await moving


async def test_an_update_is_answered_once_it_goes_on():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(until_fetched, "c", id="u-1")
        await shows(run, lambda it: "signal" in it.waiting_for)
        await run.pause()
        moving = asyncio.create_task(run.update(Move, "row 7"))
        await asyncio.sleep(0.02)
        await run.resume()
        assert await moving == "row 7"


async def test_a_retry_that_comes_due_meanwhile_waits():
    YARD.refused.add("park")
    clock = Clock()
    async with engine_on(MemoryStore(), valet, now=clock) as engine:
        run = await engine.start(valet, "c", id="v-1")
        await shows(run, lambda it: it.steps[0].attempts == 1)
        await run.pause()
        YARD.refused.clear()
        YARD.gate.set()
        clock.now += 2 * MINUTE
        await asyncio.sleep(0.02)
        assert YARD.calls == ["park"]
        await run.resume()
        assert await run.result() == "polish"


async def test_a_paused_run_is_cancelled_at_once():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(valet, "c", id="v-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause()
        await run.cancel("enough")
        with pytest.raises(mg.RunCancelled):
            await run.result()
        assert YARD.calls == ["park", "wash", "dirty", "fetch"]


async def test_a_paused_run_is_terminated_at_once():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(valet, "c", id="v-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause()
        await run.terminate("enough")
        with pytest.raises(mg.RunTerminated) as ended:
            await run.result()
        assert ended.value.residue == ("park_car", "wash")


async def test_a_paused_run_is_rolled_back():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(valet, "c", id="v-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause()
        YARD.gate.set()
        await shows(run, lambda it: it.steps[1].state == "done")
        await run.rollback(to="park_car")
        with pytest.raises(mg.RunTerminated) as ended:
            await run.result()
        assert YARD.calls == ["park", "wash", "dirty"]
        assert ended.value.residue == ("park_car",)


async def test_its_children_go_on():
    async with mg.Engine("memory://") as engine:
        run = await engine.start(family, "c", id="f-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause()
        YARD.gate.set()
        child = await engine.get("c-child")
        assert await child.result() == "polish"
        assert (await run.describe()).status == "PAUSED"
        await run.resume()
        assert await run.result() == "polish"


async def test_an_attempt_that_was_under_way_in_a_crash_is_made_again_after_it_is_resumed():
    store = MemoryStore()
    async with engine_on(store, valet, grace_seconds=0) as engine:
        run = await engine.start(valet, "c", id="v-1")
        await until(lambda: "wash" in YARD.calls)
        await run.pause()
    YARD.gate.set()
    async with engine_on(store, valet) as engine:
        run = await engine.get("v-1")
        await shows(run, lambda it: it.steps[1].attempts == 1)
        assert YARD.calls == ["park", "wash"]
        await run.resume()
        assert await run.result() == "polish"
        assert YARD.calls == ["park", "wash", "wash", "polish"]


async def test_a_parked_step_gets_other_arguments_and_another_key():
    keys: list[str] = []

    @mg.step(retry=None, on_exhausted="park")
    async def label(address: str) -> str:
        keys.append(mg.idempotency_key())
        if address == "nowhere":
            raise RuntimeError("no such address")
        return address

    @label.compensation
    async def tear_up(_: str | None, address: str) -> None:
        keys.append(f"{address}: {mg.original_key()}")

    @mg.workflow
    async def ship(address: str) -> str:
        await label(address)
        raise RuntimeError("the van broke down")

    async with mg.Engine("memory://") as engine:
        run = await engine.start(ship, "nowhere", id="s-1")
        await parked(run)
        await run.retry(arguments={"address": "1 Main St"}, why="asked the customer")
        with pytest.raises(mg.RunCompensated):
            await run.result()
        acted = next(item for item in await run.history() if item.event == "OperatorActed")
    assert keys == ["s-1/1/label", "s-1/1/label/2", "1 Main St: s-1/1/label/2"]
    assert acted.fields["arguments"] == ["1 Main St"]
    assert acted.fields["why"] == "asked the customer"
