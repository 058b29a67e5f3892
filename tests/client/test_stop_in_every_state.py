"""``cancel`` and ``terminate`` in every state of a run: in memory or evicted, from this process and from another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from tests.until import eventually

pytestmark = pytest.mark.anyio

Go = mg.Signal("go")
OFTEN = mg.Retry.forever(initial=3600, jitter=0)
WHO_AND_WHY = ("Ann", "changed my mind")


class Till:
    """What was paid and not paid back; which functions hang, and which fail."""

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.hanging: set[str] = set()
        self.failing: set[str] = set()
        self.tried: list[str] = []
        self.released = asyncio.Event()

    async def do(self, what: str) -> None:
        self.tried.append(what)
        if what in self.hanging:
            await self.released.wait()
        if what in self.failing:
            raise RuntimeError(f"{what} fails")


TILL = Till()


@pytest.fixture(autouse=True)
def till() -> Till:
    TILL.__init__()  # type: ignore[misc]
    return TILL


@mg.step
async def pay(what: str) -> str:
    TILL.paid.append(what)
    return what


@pay.compensation(retry=OFTEN)
async def pay_back(paid: str | None, what: str) -> None:
    await TILL.do("pay_back")
    TILL.paid.remove(what)


@mg.step(retry=None)
async def ship() -> None:
    await TILL.do("ship")


@mg.step(retry=OFTEN)
async def ship_again_and_again() -> None:
    await TILL.do("ship")


@mg.step(retry=None, on_exhausted="park")
async def ship_or_ask() -> None:
    await TILL.do("ship")


@mg.step(breaker=mg.Breaker("carrier", failures=1, cool_down=3600))
async def ship_if_anybody_answers() -> None:
    await TILL.do("ship")


@mg.step
async def wrap() -> None:
    pass


@wrap.compensation(breaker=mg.Breaker("unwrapping", failures=1, cool_down=3600))
async def unwrap(_result: None) -> None:
    await TILL.do("unwrap")


@mg.step(retry=None)
async def ship_elsewhere() -> mg.Pending | None:
    return mg.PENDING


@mg.workflow
async def running() -> None:
    await pay("tea")
    await ship()


@mg.workflow
async def backing_off() -> None:
    await pay("tea")
    await ship_again_and_again()


@mg.workflow
async def held() -> None:
    await pay("tea")
    await ship_if_anybody_answers()


@mg.workflow
async def held_while_compensating() -> None:
    await pay("tea")
    await wrap()
    await ship()


@mg.workflow
async def waiting_for_a_timer() -> None:
    await pay("tea")
    await mg.sleep(mg.DAY)


@mg.workflow
async def waiting_for_a_signal() -> None:
    await pay("tea")
    await Go.receive()


@mg.workflow
async def waiting_for_a_completion() -> None:
    await pay("tea")
    await ship_elsewhere()


@mg.workflow
async def waiting_for_a_child() -> None:
    await pay("silk")
    await waiting_for_a_signal()


@mg.workflow
async def parked() -> None:
    await pay("tea")
    await ship_or_ask()


@mg.workflow
async def undoing_a_part() -> None:
    async with mg.saga():
        await pay("tea")
        await ship()


@dataclass
class State:
    """A state of a run: the workflow, what has to hang or fail for it, and how to know that it is there."""

    workflow: mg.Workflow[..., Any]
    is_there: Callable[[mg.RunHandle[Any]], Awaitable[object]]
    hanging: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()


def waits_for(beginning: str) -> Callable[[mg.RunHandle[Any]], Awaitable[object]]:
    async def it_does(run: mg.RunHandle[Any]) -> object:
        return (await run.describe()).waiting_for.startswith(beginning)

    return it_does


def has_tried(what: str) -> Callable[[mg.RunHandle[Any]], Awaitable[object]]:
    async def it_has(run: mg.RunHandle[Any]) -> object:
        return what in TILL.tried

    return it_has


def has_recorded(event: str) -> Callable[[mg.RunHandle[Any]], Awaitable[object]]:
    async def it_has(run: mg.RunHandle[Any]) -> object:
        return event in {item.event for item in await run.history()}

    return it_has


async def is_held(run: mg.RunHandle[Any]) -> object:
    return "held by breaker" in (await run.describe()).waiting_for


SHIP = frozenset({"ship"})
UNDO = frozenset({"pay_back"})
STATES = {
    "running": State(running, has_tried("ship"), hanging=SHIP),
    "backing off": State(backing_off, has_recorded("AttemptFailed"), failing=SHIP),
    "held by a breaker": State(held, is_held, failing=SHIP),
    "compensating, held by a breaker": State(
        held_while_compensating, is_held, failing=SHIP | frozenset({"unwrap"})
    ),
    "waiting for a timer": State(waiting_for_a_timer, waits_for("timer")),
    "waiting for a signal": State(waiting_for_a_signal, waits_for("signal go")),
    "waiting for a completion": State(waiting_for_a_completion, has_recorded("StepPending")),
    "waiting for a child": State(waiting_for_a_child, waits_for("child")),
    "parked": State(parked, has_recorded("RunParked"), failing=SHIP),
    "compensating": State(running, has_tried("pay_back"), hanging=UNDO, failing=SHIP),
    "compensating, backing off": State(
        running, waits_for("undoing step pay: attempt 2"), failing=UNDO | SHIP
    ),
    "undoing a part": State(undoing_a_part, has_tried("pay_back"), hanging=UNDO, failing=SHIP),
}
UNDONE_ALREADY = {"compensating", "compensating, backing off", "compensating, held by a breaker"}
IN_AN_HOUR = {"compensating, backing off": "pay_back", "compensating, held by a breaker": "unwrap"}


class Shop:
    """An engine that works, and one from which runs are steered."""

    def __init__(self, worker: mg.Engine, client: mg.Engine) -> None:
        self.worker = worker
        self.client = client

    async def bring(self, state: State) -> mg.RunHandle[Any]:
        TILL.hanging, TILL.failing = set(state.hanging), set(state.failing)
        await self.worker.start(state.workflow, id="order-1")
        run = await self.client.get("order-1")
        await eventually(lambda: state.is_there(run))
        return run


@pytest.fixture(params=["in memory", "evicted", "from another process"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    url = f"sqlite:///{tmp_path}/shop.db" if "process" in request.param else "memory://"
    limit = 0 if request.param == "evicted" else 1_000
    async with mg.Engine(url, grace_seconds=0, waiting_limit=limit) as worker:
        if "process" not in request.param:
            yield Shop(worker, worker)
        else:
            async with mg.Engine(url, work=False) as client:
                yield Shop(worker, client)


@pytest.mark.parametrize("name", STATES)
async def test_a_run_is_cancelled(shop: Shop, name: str) -> None:
    run = await shop.bring(STATES[name])
    asked = asyncio.create_task(run.cancel("changed my mind", by="Ann"))
    await eventually(lambda: has_recorded("CancelRequested")(run))
    TILL.released.set()
    await asked
    if name in IN_AN_HOUR:
        assert TILL.tried.count(IN_AN_HOUR[name]) == 1
        return  # it goes on in an hour
    with pytest.raises(mg.RunCompensated if name in UNDONE_ALREADY else mg.RunCancelled):
        await run.result()
    assert TILL.paid == []
    (cancelled,) = [item.fields for item in await run.history() if item.event == "CancelRequested"]
    assert (cancelled["by"], cancelled["why"]) == WHO_AND_WHY


@pytest.mark.parametrize("name", STATES)
async def test_a_run_is_terminated(shop: Shop, name: str) -> None:
    run = await shop.bring(STATES[name])
    await run.terminate("changed my mind", by="Ann")
    with pytest.raises(mg.RunTerminated) as ended:
        await run.result()
    left = {
        "waiting for a child": ("pay", "waiting_for_a_signal"),
        "compensating, held by a breaker": ("pay", "wrap"),
    }
    assert ended.value.residue == left.get(name, ("pay",))
    (terminated,) = [item.fields for item in await run.history() if item.event == "OperatorActed"]
    assert (terminated["by"], terminated["why"]) == WHO_AND_WHY
