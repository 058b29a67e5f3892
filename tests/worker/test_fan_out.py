"""A bounded fan-out over thousands of items: the bound holds, and a restart repeats nothing that is recorded."""

import asyncio
from collections import Counter

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio

ITEMS = 5_000
AT_ONCE = 50


class Press:
    """Stamps items; counts how many are in it at once. It can be held while it is at work."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.stamped: Counter[int] = Counter()
        self.held_at = 0
        self.going_on = asyncio.Event()

    async def stamp(self, item: int) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(0)
            if self.held_at and len(self.stamped) >= self.held_at:
                await self.going_on.wait()
            self.stamped[item] += 1
        finally:
            self.inside -= 1


PRESS = Press()


@pytest.fixture(autouse=True)
def press() -> Press:
    PRESS.__init__()  # type: ignore[misc]
    return PRESS


@mg.step(retry=None)
async def stamp(item: int) -> int:
    await PRESS.stamp(item)
    return item


@mg.workflow
async def stamp_all(items: int, at_once: int) -> int:
    turn = asyncio.Semaphore(at_once)

    async def one(item: int) -> int:
        async with turn:
            return await stamp(item)

    return sum(await asyncio.gather(*(one(item) for item in range(items))))


async def test_thousands_of_items_go_through_and_no_more_at_once_than_the_bound(press: Press) -> None:
    async with mg.Engine("memory://") as engine:
        assert await engine.run(stamp_all, ITEMS, AT_ONCE) == sum(range(ITEMS))
    assert 1 < press.most <= AT_ONCE
    assert press.stamped == Counter(range(ITEMS))


async def test_a_restart_in_the_middle_repeats_only_what_was_under_way(press: Press) -> None:
    store = MemoryStore()
    press.held_at = ITEMS // 2
    async with engine_on(store, stamp_all, grace_seconds=0) as engine:
        run = await engine.start(stamp_all, ITEMS, AT_ONCE, id="stamps")
        await until(lambda: press.inside == AT_ONCE)
        recorded = {item.fields["result"] for item in await run.history() if item.event == "StepCompleted"}
    press.held_at = 0
    async with engine_on(store, stamp_all) as engine:
        assert await (await engine.get("stamps")).result() == sum(range(ITEMS))
    assert len(recorded) >= ITEMS // 2 - AT_ONCE
    assert {press.stamped[item] for item in recorded} == {1}
    assert press.most <= AT_ONCE
