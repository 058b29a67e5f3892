"""What an operator does with a parked run: retry, skip, resolve; by whom and why is in the journal."""

from pathlib import Path

import pytest

import makegood as mg
from tests.until import parked

pytestmark = pytest.mark.anyio


class Desk:
    """A back office: what is refused, and what has been done."""

    def __init__(self) -> None:
        self.refused = {"approve", "refund"}
        self.done: list[str] = []

    def do(self, what: str) -> None:
        if what in self.refused:
            raise RuntimeError(f"{what} is refused")
        self.done.append(what)


DESK = Desk()


@pytest.fixture(autouse=True)
def desk() -> Desk:
    DESK.__init__()  # type: ignore[misc]
    return DESK


@mg.step
async def charge(amount: int) -> int:
    DESK.do("charge")
    return amount


@charge.compensation(retry=None)
async def refund(receipt: int | None, amount: int) -> None:
    DESK.do("refund")


@mg.step(retry=None, on_exhausted="park")
async def approve(amount: int) -> int:
    DESK.do("approve")
    return amount * 2


@mg.step(retry=None)
async def fail() -> None:
    raise RuntimeError("out of stock")


@mg.workflow
async def approval(amount: int) -> int | None:
    await charge(amount)
    return await approve(amount)


@mg.workflow
async def rollback(amount: int) -> None:
    await charge(amount)
    await fail()


async def acted(run: "mg.RunHandle[object]") -> tuple[str, str, str]:
    (event,) = [item.fields for item in await run.history() if item.event == "OperatorActed"]
    return event["action"], event["by"], event.get("why", "")


async def test_a_parked_run_is_listed_and_says_what_it_waits_for() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5, id="order-1")
        await parked(run)
        described = await run.describe()
        assert described.status == "PARKED"
        assert "an operator" in described.waiting_for
        assert "approve is refused" in described.parked["approve"]
        assert [row.id for row in await engine.list(status="PARKED")] == ["order-1"]


async def test_a_parked_step_is_retried(desk: Desk) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        desk.refused.clear()
        await run.retry(by="ann", why="the boss is back")
        assert await run.result() == 10
        assert await acted(run) == ("retry", "ann", "the boss is back")


async def test_a_parked_step_that_fails_again_parks_again(desk: Desk) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        await run.retry()
        await parked(run)
        assert (await run.describe()).steps[1].attempts == 2


async def test_a_parked_step_is_skipped() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        await run.skip("approve", by="ann", why="not needed")
        assert await run.result() is None
        assert await acted(run) == ("skip", "ann", "not needed")


async def test_a_parked_step_is_resolved_with_a_result() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        await run.resolve(77, by="ann", why="approved by phone")
        assert await run.result() == 77
        assert await acted(run) == ("resolve", "ann", "approved by phone")


@pytest.mark.parametrize("wrong", ["seventy", None, [1], 1.5, object()])
async def test_a_result_of_the_wrong_type_is_refused_and_nothing_is_changed(wrong: object) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        before = await run.history()
        with pytest.raises(mg.PayloadError):
            await run.resolve(wrong)
        assert await run.history() == before
        await run.resolve(77)
        assert await run.result() == 77


async def test_a_step_that_is_not_parked_is_refused_and_nothing_is_changed() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        before = await run.history()
        for action in (run.retry, run.skip):
            with pytest.raises(mg.NotPossible, match=r"2 \(approve\); step 'charge' is not among them"):
                await action("charge")
        assert await run.history() == before


async def test_a_run_that_is_not_parked_admits_no_action() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        await run.skip()
        await run.result()
        for action in (run.retry, run.skip, run.resolve, run.cancel):
            with pytest.raises(mg.NotPossible, match="already ended, COMPLETED"):
                await action()


async def test_a_parked_step_is_cancelled_and_the_run_undone(desk: Desk) -> None:
    desk.refused = {"approve"}
    async with mg.Engine("memory://") as engine:
        run = await engine.start(approval, 5)
        await parked(run)
        await run.cancel("changed my mind")
        with pytest.raises(mg.RunCancelled) as cancelled:
            await run.result()
        assert cancelled.value.undone == ("charge",)


async def test_a_parked_compensation_is_retried(desk: Desk) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(rollback, 5)
        await parked(run)
        desk.refused.clear()
        await run.retry(by="ann")
        with pytest.raises(mg.RunCompensated, match="out of stock"):
            await run.result()
        assert desk.done == ["charge", "refund"]


async def test_a_parked_compensation_that_was_done_by_hand_is_resolved(desk: Desk) -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(rollback, 5)
        await parked(run)
        await run.resolve(by="ann", why="refunded at the counter")
        with pytest.raises(mg.RunCompensated) as compensated:
            await run.result()
        assert compensated.value.undone == ("charge",)
        assert desk.done == ["charge"]


async def test_a_skipped_compensation_leaves_residue() -> None:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(rollback, 5)
        await parked(run)
        await run.skip("charge", by="ann", why="the customer keeps it")
        with pytest.raises(mg.RunTerminated, match="left open: charge") as terminated:
            await run.result()
        assert terminated.value.residue == ("charge",)
        assert (await run.describe()).residue == ["charge"]


async def test_a_parked_run_is_acted_on_from_another_process(tmp_path: Path, desk: Desk) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    async with mg.Engine(url) as worker, mg.Engine(url, work=False) as client:
        mine = await worker.start(approval, 5, id="order-1")
        await parked(mine)
        run = await client.get("order-1")
        with pytest.raises(mg.NotPossible, match="not among them"):
            await run.skip("charge")
        with pytest.raises(mg.MakegoodError, match="does not fit"):
            await run.resolve("seventy")
        await run.resolve(77, by="ann", why="by phone")
        assert await mine.result() == await run.result() == 77
        assert await acted(run) == ("resolve", "ann", "by phone")


async def test_a_parked_run_is_acted_on_right_after_a_restart(tmp_path: Path, desk: Desk) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    async with mg.Engine(url) as engine:
        await parked(await engine.start(approval, 5, id="order-1"))
    desk.refused.clear()
    async with mg.Engine(url, [approval]) as engine:
        run = await engine.get("order-1")
        await run.retry(by="ann")
        assert await run.result() == 10
        assert await acted(run) == ("retry", "ann", "")
