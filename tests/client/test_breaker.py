"""Circuit breakers: while what steps depend on does not answer, their runs wait, and nothing is burnt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.testing import VirtualEngine, in_virtual_time
from makegood.times import moment

PAYMENTS = mg.Breaker("payments", failures=3, within=10, cool_down=30, drain="2/s")


class Declined(Exception):
    """The bank answers, and says no."""


class Bank:
    """Answers, or does not; knows when it was called, and by whom."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.calls: list[tuple[float, str]] = []

    def down(self, error: Exception | None = None) -> None:
        self.error = error or ConnectionError("no route to the bank")

    def up(self) -> None:
        self.error, self.hangs = None, False

    async def call(self, what: str) -> str:
        self.calls.append((round(asyncio.get_running_loop().time(), 6), what))
        if self.hangs:
            await asyncio.sleep(mg.DAY)
        if self.error is not None:
            raise self.error
        return what

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]


BANK = Bank()


@pytest.fixture(autouse=True)
def bank() -> Bank:
    BANK.__init__()  # type: ignore[misc]
    return BANK


PATIENT = mg.Retry(max_attempts=3, initial=0.5)


@mg.step(breaker=PAYMENTS, retry=PATIENT, fatal=(Declined,), timeout=5)
async def charge(order: str) -> str:
    return await BANK.call(f"charge {order}")


@charge.compensation(breaker="payments", retry=PATIENT)
async def refund(receipt: str | None, order: str) -> None:
    await BANK.call(f"refund {order}")


@mg.step(breaker="payments", retry=PATIENT)
async def pay_out(order: str) -> str:
    return await BANK.call(f"pay out {order}")


@mg.step(breaker="payments", retry=PATIENT, unknown=(ConnectionError,))
async def transfer(order: str) -> str:
    return await BANK.call(f"transfer {order}")


@transfer.probe
async def find_transfer(order: str) -> str | mg.NotDone:
    return await BANK.call(f"find {order}")


@mg.step(breaker=mg.Breaker("mint", failures=1, counts=(ConnectionError,)), retry=None)
async def coin(order: str) -> str:
    return await BANK.call(f"coin {order}")


@mg.step(retry=None)
async def ship(order: str) -> str:
    return f"{order} shipped"


@mg.step(retry=None)
async def lose(order: str) -> str:
    await asyncio.sleep(20)
    raise RuntimeError(f"{order} is lost")


@mg.workflow
async def buy(order: str) -> str:
    await charge(order)
    return await ship(order)


@mg.workflow
async def fetch(order: str) -> str:
    return await ship(order)


@mg.workflow
async def sell(order: str) -> str:
    return await pay_out(order)


@mg.workflow
async def buy_in_vain(order: str) -> str:
    await charge(order)
    return await lose(order)


@mg.workflow
async def send(order: str) -> str:
    return await transfer(order)


@mg.workflow
async def mint(order: str) -> str:
    return await coin(order)


ALL = (buy, fetch, sell, send, buy_in_vain, mint)


async def begin(
    engine: mg.Engine, count: int, workflow: mg.Workflow[[str], str] = buy
) -> list[mg.RunHandle[str]]:
    return [await engine.start(workflow, f"o-{number}", id=f"o-{number}") for number in range(count)]


async def all_held(engine: mg.Engine, count: int = 5) -> list[mg.RunHandle[str]]:
    """Runs that wait for the bank, which is down."""
    BANK.down()
    runs = await begin(engine, count)
    await asyncio.sleep(5)
    for run in runs:
        assert "held by breaker payments" in (await run.describe()).waiting_for
    return runs


@in_virtual_time
async def test_no_run_fails_because_nobody_answers_and_all_go_on_when_somebody_does() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine, 10)
        assert len(BANK.calls) == 3
        await engine.advance(mg.HOUR)
        BANK.up()
        assert [await run.result() for run in runs] == [f"o-{number} shipped" for number in range(10)]


@in_virtual_time
async def test_while_it_is_open_one_attempt_is_made_each_time_it_has_cooled_down() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine)
        await engine.advance(90)

        assert BANK.times == pytest.approx([0, 0, 0, 30, 60, 90], abs=0.001)


@in_virtual_time
async def test_each_run_takes_its_turn_in_trying() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine)
        await engine.advance(90)

        assert len({what for _, what in BANK.calls[3:]}) == 3


@in_virtual_time
async def test_what_was_held_drains_at_its_rate() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        BANK.up()
        for run in runs:
            await run.result()

        assert BANK.times[3:] == pytest.approx([30, 30.5, 31, 31.5, 32], abs=0.001)


@in_virtual_time
async def test_once_that_is_done_attempts_begin_at_once() -> None:
    async with VirtualEngine(*ALL) as engine:
        for run in await all_held(engine):
            BANK.up()
            await run.result()
        BANK.calls.clear()
        await asyncio.gather(*(engine.run(buy, f"p-{number}", id=f"p-{number}") for number in range(10)))

        assert len(set(BANK.times)) == 1


@in_virtual_time
async def test_it_opens_again_when_the_bank_fails_while_it_drains() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine, 20)
        BANK.up()
        await engine.advance(26.7)  # the first answer came less than two seconds ago
        BANK.down()
        await engine.advance(20)

        assert len([at for at in BANK.times if at > 31.7]) == 3


@in_virtual_time
async def test_all_steps_that_name_it_share_it() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine)
        other = await engine.start(sell, "s-1", id="s-1")
        await asyncio.sleep(5)

        assert "pay out s-1" not in [what for _, what in BANK.calls]
        assert "breaker payments, open since" in (await other.describe()).waiting_for
        BANK.up()
        assert await other.result() == "pay out s-1"


@in_virtual_time
async def test_steps_that_do_not_name_it_go_on() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine)

        assert await engine.run(fetch, "f-1", id="f-1") == "f-1 shipped"


@in_virtual_time
async def test_an_error_that_is_an_answer_does_not_open_it() -> None:
    BANK.down(Declined("not enough"))
    async with VirtualEngine(*ALL) as engine:
        for run in await begin(engine, 10):
            with pytest.raises(mg.RunFailed):
                await run.result()
        assert len(BANK.calls) == 10


@in_virtual_time
async def test_only_what_counts_opens_it() -> None:
    async with VirtualEngine(*ALL) as engine:
        BANK.down(ValueError("a bug of our own"))
        with pytest.raises(mg.RunFailed):
            await engine.run(mint, "m-1", id="m-1")
        BANK.down(ConnectionResetError("gone"))
        run = await engine.start(mint, "m-2", id="m-2")
        await asyncio.sleep(1)

        assert "breaker mint, open since" in (await run.describe()).waiting_for


@in_virtual_time
async def test_no_answer_in_time_opens_it() -> None:
    BANK.hangs = True
    async with VirtualEngine(*ALL) as engine:
        runs = await begin(engine, 5)
        await engine.advance(20)
        assert len(BANK.calls) == 3
        BANK.up()
        for run in runs:
            await run.result()


@in_virtual_time
async def test_the_time_limit_of_a_step_does_not_run_while_it_is_held() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        await engine.advance(600)
        BANK.up()
        await runs[4].result()

        assert "TimeoutError" not in str(await runs[4].history())


@in_virtual_time
async def test_a_compensation_waits_as_well_and_parks_nothing() -> None:
    async with VirtualEngine(*ALL) as engine:
        run = await engine.start(buy_in_vain, "v-1", id="v-1")
        await engine.advance(1)
        await all_held(engine)
        await engine.advance(600)
        assert "undoing step charge" in (await run.describe()).waiting_for
        assert "held by breaker payments, open since" in (await run.describe()).waiting_for
        BANK.up()
        with pytest.raises(mg.RunCompensated):
            await run.result()


@in_virtual_time
async def test_nobody_is_asked_what_became_of_an_attempt_until_somebody_answers() -> None:
    BANK.down()
    async with VirtualEngine(*ALL) as engine:
        run = await engine.start(send, "t-1", id="t-1")
        await engine.advance(100)
        assert "step transfer: its probe held by breaker payments" in (await run.describe()).waiting_for
        BANK.up()

        assert await run.result() == "find t-1"
        assert [what for _, what in BANK.calls].count("transfer t-1") == 2


@in_virtual_time
async def test_it_is_told_what_a_run_waits_for() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)

        assert (await runs[4].describe()).waiting_for == (
            f"step charge: attempt 1 held by breaker payments, open since {moment(1_000_000_000)} after 3 failures, "
            f"next try {moment(1_000_000_030)}"
        )


@in_virtual_time
async def test_another_process_tells_what_is_recorded(tmp_path: Path) -> None:
    now = asyncio.get_running_loop().now  # type: ignore[attr-defined]
    url = f"sqlite:///{tmp_path}/shop.db"
    async with mg.Engine(url, ALL, now=now) as worker, mg.Engine(url, work=False, now=now) as client:
        await all_held(worker)
        described = await (await client.get("o-4")).describe()

        assert (
            described.waiting_for
            == f"step charge: attempt 1 held by breaker payments since {moment(1_000_000_001)}"
        )


@in_virtual_time
async def test_a_held_run_is_cancelled_at_once_and_calls_nobody() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        await runs[4].cancel("changed my mind")
        with pytest.raises(mg.RunCancelled):
            await runs[4].result()

        assert "charge o-4" not in [what for _, what in BANK.calls]
        assert "refund o-4" not in [what for _, what in BANK.calls]


@in_virtual_time
async def test_a_held_run_is_terminated_at_once_and_leaves_nothing() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        await runs[4].terminate("enough")
        with pytest.raises(mg.RunTerminated) as ended:
            await runs[4].result()

        assert ended.value.residue == ()
        BANK.up()
        await runs[3].result()
        assert "charge o-4" not in [what for _, what in BANK.calls]


@in_virtual_time
async def test_a_held_run_that_is_paused_stays_where_it_is_until_it_is_resumed() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        await runs[3].pause("stock-taking")
        BANK.up()
        await runs[4].result()
        await engine.advance(mg.HOUR)
        assert "charge o-3" not in [what for _, what in BANK.calls]
        await runs[3].resume()

        assert await runs[3].result() == "o-3 shipped"


@in_virtual_time
async def test_a_run_that_is_paused_at_the_moment_of_its_release_does_not_begin() -> None:
    async with VirtualEngine(*ALL) as engine:
        runs = await all_held(engine)
        worker = engine.backend.worker
        gate = worker.gates._breakers["payments"]
        pause = Request("pause", "ann")
        asyncio.get_running_loop().call_at(gate.due, worker.request, worker.runs["o-3"], pause, [])
        BANK.up()
        await engine.advance(mg.HOUR)

        assert "charge o-3" not in [what for _, what in BANK.calls]
        recorded = [item.event for item in await runs[3].history()]
        assert recorded[-2:] == ["AttemptReleased", "OperatorActed"]
        await runs[3].resume()
        assert await runs[3].result() == "o-3 shipped"
        assert await runs[4].result() == "o-4 shipped"


@in_virtual_time
async def test_closing_the_engine_loses_no_attempt_of_held_runs() -> None:
    async with VirtualEngine(*ALL) as engine:
        BANK.down()
        await begin(engine, 50)
        await asyncio.sleep(0.1)
    for _ in range(10):
        BANK.calls.clear()
        async with VirtualEngine(*ALL, store=engine.store) as engine:
            await engine.advance(1)
            assert len(BANK.calls) <= PAYMENTS.failures
    BANK.up()
    async with VirtualEngine(*ALL, store=engine.store) as engine:
        for number in range(50):
            run = await engine.get(f"o-{number}")
            assert await run.result() == f"o-{number} shipped"
            assert not [item for item in await run.history() if item.fields.get("lost")]


@in_virtual_time
async def test_what_an_earlier_worker_had_held_drains_at_its_rate_as_well() -> None:
    async with VirtualEngine(*ALL) as engine:
        await all_held(engine, 20)
    BANK.up()
    BANK.calls.clear()
    async with VirtualEngine(*ALL, store=engine.store) as engine:
        for number in range(20):
            await (await engine.get(f"o-{number}")).result()

        assert BANK.times[-1] - BANK.times[0] >= (20 - PAYMENTS.failures) / 2


@in_virtual_time
async def test_after_a_start_thousands_of_runs_find_out_with_a_few_attempts() -> None:
    BANK.hangs = True
    async with VirtualEngine(*ALL) as engine:
        await begin(engine, 2_000)
        await engine.advance(20)

        assert len(BANK.calls) == PAYMENTS.failures


@in_virtual_time
async def test_after_a_start_the_first_answer_lets_all_of_them_begin() -> None:
    async with VirtualEngine(*ALL) as engine:
        for run in await begin(engine, 100):
            await run.result()

        assert BANK.times[-1] < 0.001
