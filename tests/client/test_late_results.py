"""Attempts that go on although they were given up on: threads, and coroutines that do not obey. The effect log balances."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.sqlite import SqliteStore
from tests.until import until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio
SOON = 0.02


class Shop:
    """A service that is slow: it takes effect when it is let go. ``log`` is what it did, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.go = threading.Event()
        self.asked = 0
        self.given: list[str | None] = []

    @property
    def balances(self) -> bool:
        """Whether nothing stands: after the last effect something was undone."""
        return "charge" not in self.log or self.log[-1] == "refund"


@pytest.fixture
def shop() -> Iterator[Shop]:
    one = Shop()
    yield one
    one.go.set()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Gives the store anew, as a process that starts would open it."""
    memory = MemoryStore()
    return (lambda: memory) if request.param == "memory" else lambda: SqliteStore(str(tmp_path / "runs.db"))


def order_of(
    shop: Shop, *, is_plain: bool, attempts: int = 1, timeout: float | None = SOON
) -> mg.Workflow[[], Any]:
    def charge_in_a_thread() -> str:
        shop.asked += 1
        attempt = mg.attempt()
        if attempt < 2 or attempts == 1:
            shop.go.wait(10)
        shop.log.append("charge")
        return f"receipt {attempt}"

    async def charge_stubbornly() -> str:
        shop.asked += 1
        attempt = mg.attempt()
        while attempt < 2 and not shop.go.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue
        shop.log.append("charge")
        return f"receipt {attempt}"

    retry = mg.Retry(delays=[0] * attempts)
    charge = mg.step(name="charge", timeout=timeout, retry=retry)(
        charge_in_a_thread if is_plain else charge_stubbornly
    )

    @charge.compensation
    async def refund(receipt: str | None) -> None:
        shop.log.append("refund")
        shop.given.append(receipt)
        shop.keys.append(mg.idempotency_key())

    @mg.step(retry=None)
    async def ship() -> None:
        raise RuntimeError("sold out")

    @mg.workflow
    async def order() -> None:
        await charge()
        await ship()

    return order


async def ended(run: mg.RunHandle[Any]) -> str:
    try:
        await run.result()
    except mg.RunError as error:
        return type(error).__name__
    return "completed"


async def events_of(run: mg.RunHandle[Any]) -> list[str]:
    return [item.event for item in await run.history()]


async def until_ended_late(run: mg.RunHandle[Any], times: int = 1) -> None:
    async with asyncio.timeout(10):
        while (await events_of(run)).count("AttemptEndedLate") < times:  # noqa: ASYNC110 - another process would look, too
            await asyncio.sleep(0.005)


both = pytest.mark.parametrize("is_plain", [True, False], ids=["thread", "coroutine"])


@both
async def test_a_success_after_the_end_reopens_the_run_and_is_undone(shop, store, is_plain) -> None:
    async with engine_on(store()) as engine:
        run = await engine.start(order_of(shop, is_plain=is_plain), id="order-1")
        assert await ended(run) == "RunCompensated"
        assert shop.log == ["refund"]
        shop.go.set()
        await until_ended_late(run)
        assert await ended(run) == "RunCompensated"
        assert (await run.view())["status"] == "COMPENSATED"
        assert shop.log == ["refund", "charge", "refund"]
        assert shop.given == [None, "receipt 1"]
        assert shop.keys == ["order-1/1/charge/undo", "order-1/1/charge/undo/2"]
        await run.verify()


@both
async def test_a_success_before_another_attempt_ends_is_not_its_result(shop, is_plain) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(order_of(shop, is_plain=is_plain, attempts=2))
        assert await ended(run) == "RunCompensated"
        assert shop.given == ["receipt 2"]
        shop.go.set()
        await until_ended_late(run)
        assert await ended(run) == "RunCompensated"
        assert shop.balances


@both
async def test_a_late_failure_is_recorded(shop, is_plain) -> None:
    def fail_in_a_thread() -> None:
        shop.go.wait(10)
        raise RuntimeError("too much")

    async def fail_stubbornly() -> None:
        while not shop.go.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue
        raise RuntimeError("too much")

    slow = mg.step(name="slow", timeout=SOON, retry=None)(fail_in_a_thread if is_plain else fail_stubbornly)

    @mg.workflow
    async def failing() -> None:
        await slow()

    async with mg.Engine("memory://") as engine:
        run = await engine.start(failing)
        assert await ended(run) == "RunFailed"
        shop.go.set()
        await until_ended_late(run)
        late = next(item for item in await run.history() if item.event == "AttemptEndedLate")
        assert late.fields["failure"]["message"] == "too much"
        assert (await run.describe()).status == "FAILED"


@both
async def test_a_step_that_the_workflow_gave_up_on_is_told_of_as_well(shop, is_plain) -> None:
    charge = order_of(shop, is_plain=is_plain, timeout=None)

    @mg.workflow
    async def hasty() -> str:
        try:
            async with asyncio.timeout(SOON):
                await charge.function()
        except TimeoutError:
            return "without"
        return "with"

    async with mg.Engine("memory://") as engine:
        run = await engine.start(hasty)
        assert await run.result() == "without"
        shop.go.set()
        await until_ended_late(run)
        assert await run.result() == "without"
        assert shop.log == ["refund", "charge", "refund"]


@both
async def test_the_engine_waits_for_late_attempts_when_it_is_closed(shop, store, is_plain) -> None:
    order = order_of(shop, is_plain=is_plain)
    async with engine_on(store(), grace_seconds=10) as engine:
        run = await engine.start(order, id="order-1")
        assert await ended(run) == "RunCompensated"
        asyncio.get_running_loop().call_later(0.05, shop.go.set)
    async with engine_on(store(), order) as engine:
        assert await ended(await engine.get("order-1")) == "RunCompensated"
        assert "AttemptEndedLate" in await events_of(await engine.get("order-1"))
    assert shop.log == ["refund", "charge", "refund"]


@both
async def test_what_nobody_can_tell_any_more_after_a_restart_is_undone_again(shop, store, is_plain) -> None:
    order = order_of(shop, is_plain=is_plain)
    async with engine_on(store(), grace_seconds=0.01) as engine:
        run = await engine.start(order, id="order-1")
        assert await ended(run) == "RunCompensated"
    shop.go.set()
    await until(lambda: "charge" in shop.log)  # in the process of before, which told nobody
    async with engine_on(store(), order) as engine:
        run = await engine.get("order-1")
        await until_ended_late(run)
        assert await ended(run) == "RunCompensated"
        late = next(item for item in await run.history() if item.event == "AttemptEndedLate")
        assert late.fields["failure"]["type"] == "WorkerLost"
    assert shop.log[-1] == "refund"
    assert shop.log.count("refund") == 2
    async with engine_on(store(), order) as engine:
        assert (await events_of(await engine.get("order-1"))).count("AttemptEndedLate") == 1


async def test_a_success_wakes_a_run_that_has_left_memory(shop, store) -> None:
    order_of_shop = order_of(shop, is_plain=True).function
    going = mg.Signal("go")

    @mg.workflow
    async def sleepy() -> str:
        try:
            await order_of_shop()
        except mg.StepFailed:
            await going.receive()
        return "done"

    async with engine_on(store(), waiting_limit=0) as engine:
        run = await engine.start(sleepy)
        await until(lambda: engine.backend.worker.runs == {} and shop.asked == 1)
        shop.go.set()
        await until_ended_late(run)
        await run.signal(going)
        assert await run.result() == "done"
        assert shop.log == ["charge", "refund"]
        assert shop.given == ["receipt 1"]


async def test_no_thread_begins_an_attempt_that_is_over(shop, monkeypatch) -> None:
    monkeypatch.setattr("makegood.worker.executor.THREADS_LIMIT", 1)
    began = []

    @mg.step(retry=None)
    def block() -> None:
        shop.go.wait(10)

    @mg.step(retry=None, timeout=SOON)
    def wait_for_a_thread() -> None:
        began.append(1)

    @mg.workflow
    async def busy() -> None:
        await asyncio.gather(block(), wait_for_a_thread())

    async with mg.Engine("memory://") as engine:
        run = await engine.start(busy)
        await until(lambda: bool(engine.backend.worker.late._expected))
        shop.go.set()
        assert await ended(run) == "RunFailed"
        await until_ended_late(run)
        assert not began


async def test_a_compensation_that_ends_late_is_recorded(shop) -> None:
    @mg.step(retry=None)
    async def charge() -> str:
        return "receipt"

    @charge.compensation(timeout=SOON, retry=mg.Retry(delays=[0, 0]))
    def refund(receipt: str | None) -> None:
        if mg.attempt() == 1:
            shop.go.wait(10)

    @mg.workflow
    async def order() -> None:
        await charge()
        raise RuntimeError("no")

    async with mg.Engine("memory://") as engine:
        run = await engine.start(order)
        assert await ended(run) == "RunCompensated"
        shop.go.set()
        await until_ended_late(run)
        late = next(item for item in await run.history() if item.event == "AttemptEndedLate")
        assert late.fields["undo"]
        assert (await run.describe()).status == "COMPENSATED"


async def test_a_probe_that_hangs_in_a_thread_is_given_up_on(shop) -> None:
    @mg.step(timeout=SOON, retry=None)
    async def book() -> str:
        await asyncio.Event().wait()
        return ""

    @book.probe
    def find() -> str | mg.NotDone:
        shop.go.wait(10)
        return mg.NotDone()

    @mg.workflow
    async def booking() -> None:
        await book()

    async with mg.Engine("memory://") as engine:
        try:
            assert await ended(await engine.start(booking)) == "RunFailed"
        finally:
            shop.go.set()
