"""``rate_limit`` and ``max_concurrency``: for all runs of a worker together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import makegood as mg
from makegood.testing import VirtualEngine, in_virtual_time


class Registrar:
    """When calls began, and how many were under way at a time."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.under_way = 0
        self.most = 0
        self.seconds = 0.0
        self.fails = False
        self.time: Callable[[], float] = lambda: asyncio.get_running_loop().time()

    async def call(self) -> None:
        self.begun.append(self.time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
            if self.fails:
                raise ConnectionError("busy")
        finally:
            self.under_way -= 1


REGISTRAR = Registrar()


@pytest.fixture(autouse=True)
def registrar() -> Registrar:
    REGISTRAR.__init__()  # type: ignore[misc]
    return REGISTRAR


@mg.step(rate_limit="5/s")
async def text(number: int) -> int:
    await REGISTRAR.call()
    return number


@mg.step(max_concurrency=2)
async def print_label(number: int) -> int:
    await REGISTRAR.call()
    return number


@mg.step(rate_limit="3/min", max_concurrency=2, breaker=mg.Breaker("scanner", failures=2, drain=None))
async def scan(number: int) -> int:
    await REGISTRAR.call()
    return number


@mg.step(max_concurrency=1, timeout=5, retry=mg.Retry(delays=[0, 0]))
async def stubborn(number: int) -> int:
    REGISTRAR.begun.append(REGISTRAR.time())
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        await asyncio.sleep(20)
    return number


@mg.transaction(rate_limit="2/s")
def book(db: mg.Connection, number: int) -> int:
    REGISTRAR.begun.append(REGISTRAR.time())
    return number


@mg.workflow
async def tell(number: int) -> int:
    return await text(number)


@mg.workflow
async def label(number: int) -> int:
    return await print_label(number)


@mg.workflow
async def scanning(number: int) -> int:
    return await scan(number)


@mg.workflow
async def insist(number: int) -> int:
    return await stubborn(number)


@mg.workflow
async def fan_out(number: int) -> list[int]:
    return await asyncio.gather(*(print_label(one) for one in range(number)))


@mg.workflow
async def booking(number: int) -> int:
    return await book(number)


async def run_all(engine: mg.Engine, workflow: mg.Workflow[[int], int], count: int) -> None:
    results = await asyncio.gather(
        *(engine.run(workflow, number, id=f"{workflow.name}-{number}") for number in range(count))
    )
    assert results == list(range(count))


def most_within(seconds: float) -> int:
    return max(
        sum(first <= at < first + seconds - 1e-9 for at in REGISTRAR.begun) for first in REGISTRAR.begun
    )


@in_virtual_time
async def test_no_more_attempts_begin_than_the_rate_says() -> None:
    async with VirtualEngine(tell) as engine:
        await run_all(engine, tell, 23)

    assert most_within(1) == 5
    assert REGISTRAR.begun[-1] == pytest.approx(4, abs=0.01)


@in_virtual_time
async def test_retries_count() -> None:
    REGISTRAR.fails = True
    async with VirtualEngine(tell) as engine:
        runs = [await engine.start(tell, number, id=f"tell-{number}") for number in range(10)]
        for run in runs:
            with pytest.raises(mg.RunFailed):
                await run.result()

    assert len(REGISTRAR.begun) == 30
    assert most_within(1) == 5


@in_virtual_time
async def test_no_more_attempts_are_under_way_than_allowed() -> None:
    REGISTRAR.seconds = 10
    async with VirtualEngine(label) as engine:
        await run_all(engine, label, 6)

    assert REGISTRAR.most == 2
    assert REGISTRAR.begun == pytest.approx([0, 0, 10, 10, 20, 20], abs=0.01)


@in_virtual_time
async def test_steps_of_one_run_wait_for_one_another_as_well() -> None:
    REGISTRAR.seconds = 1
    async with VirtualEngine(fan_out) as engine:
        assert await engine.run(fan_out, 5, id="f-1") == [0, 1, 2, 3, 4]

    assert REGISTRAR.most == 2


@in_virtual_time
async def test_all_gates_together() -> None:
    REGISTRAR.seconds = 30
    async with VirtualEngine(scanning) as engine:
        await run_all(engine, scanning, 7)

    assert REGISTRAR.most == 2
    assert most_within(60) <= 3


@in_virtual_time
async def test_a_rate_is_kept_when_what_a_breaker_held_goes_on() -> None:
    REGISTRAR.fails = True
    async with VirtualEngine(scanning) as engine:
        runs = [await engine.start(scanning, number, id=f"s-{number}") for number in range(10)]
        await engine.advance(600)
        REGISTRAR.fails = False
        REGISTRAR.begun.clear()
        for run in runs:
            await run.result()

    assert most_within(60) == 3


@in_virtual_time
async def test_an_attempt_that_outlives_its_time_limit_is_still_under_way() -> None:
    async with VirtualEngine(insist) as engine:
        run = await engine.start(insist, 1, id="i-1")
        await engine.advance(60)

        assert REGISTRAR.begun == pytest.approx([0, 25], abs=0.01)
        with pytest.raises(mg.RunFailed):
            await run.result()


@in_virtual_time
async def test_it_is_told_what_a_run_waits_for() -> None:
    REGISTRAR.seconds = 10
    async with VirtualEngine(label, tell) as engine:
        labels = [await engine.start(label, number, id=f"l-{number}") for number in range(3)]
        texts = [await engine.start(tell, number, id=f"t-{number}") for number in range(6)]

        assert (
            await labels[2].describe()
        ).waiting_for == "step print_label: attempt 1 held by max_concurrency 2"
        assert (await texts[5].describe()).waiting_for == "step text: attempt 1 held by rate limit 5/s"


@in_virtual_time
async def test_a_cancelled_run_leaves_its_place_to_the_next() -> None:
    REGISTRAR.seconds = 10
    async with VirtualEngine(label) as engine:
        runs = [await engine.start(label, number, id=f"l-{number}") for number in range(4)]
        await runs[0].cancel()  # under way
        await runs[2].cancel()  # held
        await runs[3].result()

    assert len(REGISTRAR.begun) == 3
    assert REGISTRAR.begun[2] < 1


@in_virtual_time
async def test_a_paused_run_lets_the_others_pass() -> None:
    REGISTRAR.seconds = 10
    async with VirtualEngine(label) as engine:
        runs = [await engine.start(label, number, id=f"l-{number}") for number in range(4)]
        await runs[2].pause("later")
        await runs[3].result()
        assert len(REGISTRAR.begun) == 3
        await runs[2].resume()

        assert await runs[2].result() == 2


@in_virtual_time
async def test_transactions_keep_to_their_rate(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    REGISTRAR.time = loop.time  # a transaction is made in a thread
    now = loop.now  # type: ignore[attr-defined]
    async with mg.Engine(f"sqlite:///{tmp_path}/books.db", [booking], now=now) as engine:
        await run_all(engine, booking, 7)

    assert most_within(1) == 2
