"""Starting runs and getting their results: the same id is the same run, and an ending says what happened."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


@dataclass
class Order:
    id: str
    total: int = 1


CHARGES: list[str] = []


@pytest.fixture(autouse=True)
def _no_charges() -> None:
    CHARGES.clear()


@mg.step
async def charge(order: Order) -> int:
    CHARGES.append(order.id)
    return order.total


@charge.compensation
async def refund(receipt: int | None, order: Order) -> None:
    CHARGES.append(f"-{order.id}")


@mg.step(retry=None)
async def decline(order: Order) -> None:
    raise PermissionError("card declined")


@mg.workflow
async def buy(order: Order) -> Order:
    return Order(order.id, await charge(order))


@mg.workflow
async def buy_twice(order: Order) -> Order:
    return order


@mg.workflow
async def buy_and_fail(order: Order) -> None:
    await charge(order)
    await decline(order)


@mg.workflow
async def only_fail(order: Order) -> None:
    await decline(order)


@mg.workflow
async def wait_for_cancellation(order: Order) -> None:
    await charge(order)
    await asyncio.sleep(3600)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/orders.db"


async def test_a_result_comes_back_typed(url: str) -> None:
    async with mg.Engine(url) as engine:
        assert await engine.run(buy, Order("1", 42)) == Order("1", 42)


async def test_the_same_id_and_input_are_the_same_run(url: str) -> None:
    async with mg.Engine(url) as engine:
        first = await engine.start(buy, Order("1"), id="order-1")
        again = await engine.start(buy, Order("1"), id="order-1")
        assert await first.result() == await again.result()
        after = await engine.start(buy, order=Order("1"), id="order-1")
        assert await after.result() == Order("1")
        assert CHARGES == ["1"]
        assert len(await engine.list()) == 1


async def test_a_hundred_starts_of_one_id_at_once_are_one_run(url: str) -> None:
    async with mg.Engine(url) as engine:
        runs = await asyncio.gather(*(engine.start(buy, Order("1"), id="order-1") for _ in range(100)))
        assert await asyncio.gather(*(run.result() for run in runs)) == [Order("1")] * 100
        assert CHARGES == ["1"]


@pytest.mark.parametrize("when", ["at once", "while it runs", "after it ended"])
async def test_the_same_id_with_another_input_is_a_conflict(url: str, when: str) -> None:
    async with mg.Engine(url) as engine:
        first = asyncio.create_task(engine.start(buy, Order("1"), id="order-1"))
        if when != "at once":
            await first
        if when == "after it ended":
            await (await first).result()
        outcomes = await asyncio.gather(
            *(engine.start(buy, Order(str(n)), id="order-1") for n in range(2, 12)), return_exceptions=True
        )
        conflicts = [outcome for outcome in outcomes if isinstance(outcome, mg.RunConflict)]
        won = await asyncio.gather(first, return_exceptions=True)
        assert len(conflicts) + sum(isinstance(outcome, mg.RunConflict) for outcome in won) == 10
        assert "another input" in str(conflicts[0])
        run = await engine.get("order-1")
        await run.result()
        assert len(CHARGES) == 1


async def test_the_same_id_with_another_workflow_is_a_conflict(url: str) -> None:
    async with mg.Engine(url) as engine:
        await engine.start(buy, Order("1"), id="order-1")
        with pytest.raises(mg.RunConflict, match="of workflow buy, not buy_twice"):
            await engine.start(buy_twice, Order("1"), id="order-1")


async def test_a_conflict_is_found_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    async with mg.Engine(url) as engine:
        await engine.run(buy, Order("1"), id="order-1")
    async with mg.Engine(url) as engine:
        with pytest.raises(mg.RunConflict):
            await engine.start(buy, Order("2"), id="order-1")
        assert await (await engine.start(buy, Order("1"), id="order-1")).result() == Order("1")
    assert CHARGES == ["1"]


async def test_giving_up_a_start_does_not_give_up_the_others_of_that_id(url: str) -> None:
    async with mg.Engine(url) as engine:
        starts = [asyncio.create_task(engine.start(buy, Order("1"), id="order-1")) for _ in range(5)]
        await asyncio.sleep(0)
        starts[0].cancel()
        runs = await asyncio.gather(*starts[1:])
        assert await runs[0].result() == Order("1")


async def test_a_result_is_waited_for_while_the_id_is_started_again(url: str) -> None:
    async with mg.Engine(url) as engine:
        await engine.run(buy, Order("1"), id="order-1")
        run = await engine.get("order-1")
        starting = asyncio.create_task(engine.start(buy, Order("1"), id="order-1"))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await run.result() == Order("1")
        await starting


async def test_a_failed_run_with_nothing_to_undo(url: str) -> None:
    async with mg.Engine(url) as engine:
        with pytest.raises(mg.RunFailed) as failed:
            await engine.run(only_fail, Order("1"), id="order-1")
        assert failed.value.step == "decline"
        assert failed.value.failure is not None
        assert failed.value.failure.is_a(PermissionError)
        assert failed.value.failure.message == "card declined"
        assert failed.value.undone == ()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_a_compensated_run_tells_what_was_undone(url: str, later: bool) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(buy_and_fail, Order("1"), id="order-1")
        if later:
            with pytest.raises(mg.RunCompensated):
                await run.result()
            run = await engine.get("order-1")
        with pytest.raises(mg.RunCompensated, match=r"order-1.*card declined.*undone: charge") as compensated:
            await run.result()
        assert (compensated.value.step, compensated.value.undone) == ("decline", ("charge",))
        assert compensated.value.run_id == "order-1"
        assert CHARGES == ["1", "-1"]


async def test_a_run_is_cancelled_from_another_task_and_undone(url: str) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(wait_for_cancellation, Order("1"), id="order-1")
        waiting = asyncio.create_task(run.result())
        await run.cancel("the customer called", by="ann")
        with pytest.raises(mg.RunCancelled, match="the customer called"):
            await waiting
        (event,) = [item for item in await run.history() if item.event == "CancelRequested"]
        assert (event.fields["by"], event.fields["why"]) == ("ann", "the customer called")
        with pytest.raises(mg.NotPossible, match="already ended, CANCELLED"):
            await run.cancel()


async def test_unknown_ids_are_told(url: str) -> None:
    async with mg.Engine(url) as engine:
        with pytest.raises(mg.RunNotFound, match="no run nowhere"):
            await engine.get("nowhere")


@pytest.mark.parametrize("bad", ["", "x" * 201, "line\nbreak", "nul\0", "\ud800", 7])
async def test_ids_that_cannot_name_a_run_are_refused(bad: str) -> None:
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.UsageError, match="not usable"):
            await engine.start(buy, Order("1"), id=bad)


async def test_what_is_no_workflow_cannot_be_started() -> None:
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.UsageError, match=r"@mg\.workflow"):
            await engine.start(refund, None, Order("1"))  # type: ignore[arg-type]


async def test_arguments_that_do_not_fit_are_refused_and_nothing_is_started(url: str) -> None:
    async with mg.Engine(url) as engine:
        for args in ((), (1,), (Order("1"), 2)):
            with pytest.raises(mg.UsageError):
                await engine.start(buy, *args)
        assert await engine.list() == []


async def test_runs_are_listed_and_described(url: str) -> None:
    async with mg.Engine(url) as engine:
        for number in range(5):
            await engine.run(buy, Order(str(number)), id=f"order-{number}")
        page = await engine.list(limit=2, workflow="buy", status="COMPLETED")
        assert [run.id for run in page] == ["order-4", "order-3"]
        rest = await engine.list(before_key=page[-1].key)
        assert [run.id for run in rest] == ["order-2", "order-1", "order-0"]
        with pytest.raises(mg.UsageError, match="no status"):
            await engine.list(status="DONE")
        run = await engine.get("order-1")
        described = await run.describe()
        assert (described.status, described.input, described.result) == (
            "COMPLETED",
            [{"id": "1", "total": 1}],
            {"id": "1", "total": 1},
        )
        assert [(step.name, step.outcome, step.attempts) for step in described.steps] == [
            ("charge", "done", 1)
        ]
        assert await run.verify() == 2


async def test_a_closed_engine_says_so() -> None:
    engine = mg.Engine("memory://")
    with pytest.raises(mg.UsageError, match="not open"):
        await engine.start(buy, Order("1"))
    async with engine:
        run = await engine.start(buy, Order("1"))
    for use in (run.result, run.describe, run.cancel, engine.list):
        with pytest.raises(mg.UsageError, match="not open"):
            await use()


@pytest.mark.parametrize(
    "url", ["orders.db", "mysql://x", "sqlite://", "sqlite:///", "sqlite://orders.db", ""]
)
def test_urls_that_name_no_store_are_refused(url: str) -> None:
    with pytest.raises(mg.UsageError, match="names no store"):
        mg.Engine(url)


async def test_a_second_engine_on_the_file_is_a_client_and_takes_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    first = mg.Engine(url)
    await first.__aenter__()
    async with mg.Engine(url, [buy, wait_for_cancellation]) as second:
        run = await second.start(buy, Order("1"), id="order-1")
        assert (await run.describe()).status == "RUNNING"
        await first.start(buy, Order("1"), id="order-1")
        assert await run.result() == Order("1")
        waiting = await second.start(wait_for_cancellation, Order("2"), id="order-2")
        result = asyncio.create_task(waiting.result())
        await first.__aexit__(None, None, None)
        async with asyncio.timeout(10):
            await waiting.cancel("enough", by="ann")
            with pytest.raises(mg.RunCancelled):
                await result
        assert await second.run(buy, Order("3")) == Order("3")


async def test_a_client_that_never_works_takes_nothing_over() -> None:
    store = MemoryStore()
    async with engine_on(store, work=False) as client:
        run = await client.start(buy, Order("1"), id="order-1")
        assert (await run.describe()).status == "RUNNING"
        assert await store.owner() == ""


async def test_two_memory_engines_share_nothing() -> None:
    async with mg.Engine("memory://") as one, mg.Engine("memory://") as other:
        await one.start(buy, Order("1"), id="order-1")
        with pytest.raises(mg.RunNotFound):
            await other.get("order-1")
