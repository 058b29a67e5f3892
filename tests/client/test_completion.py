"""Steps that somebody outside completes: ``mg.PENDING``, ``engine.complete`` and ``engine.fail``."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from tests.until import eventually, until
from tests.worker.engines import Clock, WatchedStore, engine_on

pytestmark = pytest.mark.anyio

TOKENS: list[str] = []


@dataclass
class Approval:
    by: str


@pytest.fixture(autouse=True)
def _no_tokens() -> None:
    TOKENS.clear()


@mg.step(retry=mg.Retry(delays=[0, 0]))
async def ask(order: str) -> Approval | mg.Pending:
    TOKENS.append(mg.completion_token())
    return mg.PENDING


@mg.step(retry=None, timeout=60)
def ask_in_a_thread(order: str) -> Approval | mg.Pending:
    TOKENS.append(mg.completion_token())
    return mg.PENDING


@mg.workflow
async def approve(order: str) -> Approval:
    return await ask(order)


@mg.workflow
async def approve_in_time(order: str) -> Approval:
    return await ask_in_a_thread(order)


async def pending(run: mg.RunHandle[Approval]) -> None:
    """Wait until the run's step is pending."""

    async def is_pending() -> bool:
        return any(step.state == "pending" for step in (await run.describe()).steps)

    await eventually(is_pending)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/orders.db"


async def test_a_pending_step_is_completed_through_its_token(url: str) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(approve, "o")
        await pending(run)
        await engine.complete(TOKENS[0], Approval("ann"), by="ann")
        assert await run.result() == Approval("ann")
        [arrived] = [event for event in await run.history() if event.event == "CompletionArrived"]
        assert arrived.fields["by"] == "ann"


async def test_a_completion_before_the_step_has_said_that_it_is_pending_is_kept(url: str) -> None:
    @mg.step
    async def ask_somebody_fast(order: str) -> str | mg.Pending:
        await engine.complete(mg.completion_token(), "at once")
        return mg.PENDING

    @mg.workflow
    async def approve_fast(order: str) -> str:
        return await ask_somebody_fast(order)

    async with mg.Engine(url) as engine:
        assert await engine.run(approve_fast, "o") == "at once"


async def test_the_second_completion_is_told_that_the_first_one_counts(url: str) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(approve, "o")
        await pending(run)
        await engine.complete(TOKENS[0], Approval("ann"))
        await run.result()
        with pytest.raises(mg.NotPossible, match="it has already ended, COMPLETED"):
            await engine.complete(TOKENS[0], Approval("bob"))
        assert await run.result() == Approval("ann")


async def test_a_failure_is_a_failed_attempt_and_the_next_one_has_a_token_of_its_own(url: str) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(approve, "o")
        await pending(run)
        await engine.fail(TOKENS[0], "ask again")
        await until(lambda: len(TOKENS) == 2)
        await pending(run)
        await engine.fail(TOKENS[1], "never", fatal=True)
        with pytest.raises(mg.RunFailed, match="never"):
            await run.result()
    assert len(set(TOKENS)) == 2


async def test_a_result_of_the_wrong_type_is_refused_and_the_step_stays_pending(url: str) -> None:
    async with mg.Engine(url) as engine:
        run = await engine.start(approve, "o")
        await pending(run)
        with pytest.raises(mg.PayloadError, match="does not fit the annotation"):
            await engine.complete(TOKENS[0], {"name": "ann"})
        await engine.complete(TOKENS[0], {"by": "ann"})
        assert await run.result() == Approval("ann")


@pytest.mark.parametrize("token", ["", "nonsense", "b3JkZXI.1", "b3JkZXI.0.1", "b3JkZXI.1.x", "!.1.1", None])
async def test_what_is_no_token_is_refused(token: str) -> None:
    async with mg.Engine("memory://") as engine:
        with pytest.raises(mg.UsageError, match="is no completion token"):
            await engine.complete(token)


async def test_a_token_of_an_unknown_run_is_refused(url: str) -> None:
    async with mg.Engine(url) as engine:
        with pytest.raises(mg.RunNotFound, match="there is no run order"):
            await engine.complete("b3JkZXI.1.1")


async def test_a_token_is_given_out_in_steps_only() -> None:
    with pytest.raises(mg.NotInStep):
        mg.completion_token()


async def test_a_pending_attempt_whose_time_is_over_is_unknown() -> None:
    clock = Clock()
    async with mg.Engine("memory://", now=clock) as engine:
        run = await engine.start(approve_in_time, "o")
        await pending(run)
        assert not [event for event in await run.history() if event.event == "AttemptFailed"]
    store = MemoryStore()
    async with engine_on(store, approve_in_time, now=clock) as engine:
        run = await engine.start(approve_in_time, "o", id="late")
        await pending(run)
    clock.now += 61
    async with engine_on(store, approve_in_time, now=clock) as engine:
        run = await engine.get("late")
        with pytest.raises(mg.RunFailed, match="nobody completed it in time"):
            await run.result()
        assert (await run.describe()).steps[0].outcome == "unknown"


async def test_a_pending_attempt_survives_a_restart_and_is_not_made_again() -> None:
    store = MemoryStore()
    async with engine_on(store, approve) as engine:
        run = await engine.start(approve, "o", id="order-42")
        await pending(run)
    async with engine_on(store, approve) as engine:
        await engine.complete(TOKENS[0], Approval("ann"))
        assert await (await engine.get("order-42")).result() == Approval("ann")
    assert len(TOKENS) == 1


async def test_another_process_completes_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    async with mg.Engine(url) as worker, mg.Engine(url, work=False) as client:
        run = await worker.start(approve, "o")
        await pending(run)
        with pytest.raises(mg.PayloadError, match="does not fit the annotation"):
            await client.complete(TOKENS[0], 7)
        await client.complete(TOKENS[0], Approval("ann"))
        assert await run.result() == Approval("ann")


async def test_a_run_with_a_pending_step_can_leave_memory(tmp_path: Path) -> None:
    async with mg.Engine(f"sqlite:///{tmp_path}/orders.db", waiting_limit=0) as engine:
        run = await engine.start(approve, "o")
        await pending(run)
        worker = engine.backend.worker
        await until(lambda: not worker.runs)
        await engine.complete(TOKENS[0], Approval("ann"))
        assert await run.result() == Approval("ann")


async def test_pending_attempts_hold_no_lane_and_no_thread() -> None:
    """More of them than there are lanes (2,000), and threads (64)."""
    async with mg.Engine("memory://") as engine:
        runs = [await engine.start(approve, str(n)) for n in range(2_100)]
        threaded = [await engine.start(approve_in_time, str(n)) for n in range(100)]
        await until(lambda: len(TOKENS) == 2_200)
        await pending(runs[-1])
        for token in TOKENS:
            await engine.complete(token, Approval("ann"))
        for run in (*runs, *threaded):
            assert await run.result() == Approval("ann")


async def test_a_completion_at_shutdown_is_not_dropped() -> None:
    """Temporal's sdk-python #368: a completion that came while the worker was shutting down was lost."""
    store = WatchedStore()
    gate = asyncio.Event()
    async with engine_on(store, approve) as engine:
        run = await engine.start(approve, "o", id="order-42")
        await pending(run)
        store.gate = gate.wait
        completing = asyncio.create_task(engine.complete(TOKENS[0], Approval("ann")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(engine.__aexit__(None, None, None))
        await asyncio.sleep(0)
        gate.set()
        await completing
        await closing
    async with engine_on(store, approve) as engine:
        assert await (await engine.get("order-42")).result() == Approval("ann")
    assert len(TOKENS) == 1


async def test_a_step_that_is_pending_at_shutdown_is_recorded_as_such() -> None:
    store = MemoryStore()
    entered, go_on = asyncio.Event(), asyncio.Event()

    @mg.step
    async def ask_slowly(order: str) -> str | mg.Pending:
        TOKENS.append(mg.completion_token())
        entered.set()
        await go_on.wait()
        return mg.PENDING

    @mg.workflow
    async def approve_slowly(order: str) -> str:
        return await ask_slowly(order)

    async with engine_on(store, approve_slowly) as engine:
        await engine.start(approve_slowly, "o", id="order-42")
        await entered.wait()
        asyncio.get_running_loop().call_later(0.01, go_on.set)
    async with engine_on(store, approve_slowly) as engine:
        await engine.complete(TOKENS[0], "yes")
        assert await (await engine.get("order-42")).result() == "yes"
    assert len(TOKENS) == 1


async def test_a_compensation_cannot_be_pending() -> None:
    @mg.step
    async def charge(order: str) -> int:
        return 1

    @charge.compensation(retry=None)
    async def refund(receipt: int | None, order: str) -> mg.Pending:
        return mg.PENDING

    @mg.workflow
    async def buy(order: str) -> None:
        await charge(order)
        raise ValueError("no")

    async with mg.Engine("memory://") as engine:
        run = await engine.start(buy, "o")

        async def is_parked() -> bool:
            return bool((await run.describe()).parked)

        await eventually(is_parked)
        assert "mg.PENDING" in next(iter((await run.describe()).parked.values()))
