"""An engine whose clock jumps, and whose steps can be stubbed."""

import asyncio
import time

import pytest

import makegood as mg
from makegood import testing

Decision = mg.Signal("decision", str)


@mg.step
async def charge(amount: int) -> str:
    raise AssertionError("the real gateway")


@charge.compensation
async def refund(receipt: str | None, amount: int) -> None:
    raise AssertionError("the real gateway")


@mg.step(retry=mg.Retry(delays=[0, 1, 5, 30]))
def label(to: str) -> str:
    return f"label for {to}"


@mg.step
def keyed() -> str:
    return mg.idempotency_key()


@mg.workflow
async def stay(amount: int) -> str:
    receipt = await charge(amount)
    try:
        decision = await Decision.receive(timeout=2 * mg.DAY)
    except TimeoutError:
        decision = "nobody said"
    await mg.sleep(35 * mg.DAY)
    return f"{receipt} {decision} {await label('you')}"


@testing.in_virtual_time
async def test_thirty_seven_days_with_a_signals_time_out_take_no_time():
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns="receipt")
        result = await engine.run(stay, 100)

    assert result == "receipt nobody said label for you"
    assert round(loop.time() / mg.DAY.total_seconds(), 3) == 37
    assert time.perf_counter() - began < 5


@testing.in_virtual_time
async def test_a_test_waits_as_long_as_it_likes_before_it_sends_a_signal():
    async with testing.VirtualEngine() as engine:
        engine.stub(charge, returns="receipt")
        run = await engine.start(stay, 100)
        await engine.advance(1.9 * mg.DAY)
        await run.signal(Decision, "yes")
        assert (await run.describe()).status == "RUNNING"
        assert await run.result() == "receipt yes label for you"


@testing.in_virtual_time
async def test_a_stub_is_called_with_the_steps_arguments_and_key():
    async with testing.VirtualEngine(stay) as engine:
        stub = engine.stub(charge, does=lambda amount: f"receipt of {amount}")
        assert await engine.run(stay, 100, id="stay-1") == "receipt of 100 nobody said label for you"

    assert [(call.args, call.key, call.attempt) for call in stub.calls] == [((100,), "stay-1/1/charge", 1)]


@testing.in_virtual_time
async def test_answers_in_turn_are_retried_as_the_step_says():
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns="receipt")
        stub = engine.stub(label, in_turn=[OSError("down"), OSError, "label"])
        assert await engine.run(stay, 100) == "receipt nobody said label"

    assert [call.outcome for call in stub.calls] == ["raised", "raised", "returned"]


@testing.in_virtual_time
async def test_a_stubbed_steps_compensation_does_nothing_and_is_recorded():
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns="receipt")
        engine.stub(label, raises=OSError("down"))
        with pytest.raises(mg.RunCompensated):
            await engine.run(stay, 100)

    assert [(call.step, call.kind) for call in engine.calls][-1] == ("charge", "undo")
    assert engine.calls[-1].result is None


@testing.in_virtual_time
async def test_a_compensation_can_be_stubbed_by_itself():
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns="receipt")
        engine.stub(label, raises=OSError("down"))
        undo = engine.stub(refund, in_turn=[OSError("down"), None])
        with pytest.raises(mg.RunCompensated):
            await engine.run(stay, 100)

    assert [call.args for call in undo.calls] == [(100,), (100,)]


@testing.in_virtual_time
async def test_a_step_that_is_not_stubbed_runs_as_it_is_and_is_recorded():
    @mg.workflow
    async def one() -> str:
        return await keyed()

    async with testing.VirtualEngine(one) as engine:
        assert await engine.run(one, id="a") == "a/1/keyed"
    assert [(call.step, call.result) for call in engine.calls] == [("keyed", "a/1/keyed")]


@testing.in_virtual_time
async def test_a_stub_belongs_to_its_engine():
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(label, returns="stubbed")
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns="receipt")
        assert (await engine.run(stay, 1)).endswith("label for you")


@testing.in_virtual_time
async def test_a_result_that_does_not_fit_the_steps_annotation_is_refused():
    async with testing.VirtualEngine(stay) as engine:
        engine.stub(charge, returns=17)
        with pytest.raises(mg.RunError, match="charge"):
            await engine.run(stay, 1)


@testing.in_virtual_time
async def test_a_run_goes_on_on_another_engine_with_the_same_store():
    async with testing.VirtualEngine(stay) as before:
        before.stub(charge, returns="receipt")
        await before.start(stay, 1, id="stay-1")
        await before.advance(mg.DAY)
    async with testing.VirtualEngine(stay, store=before.store) as engine:
        assert await (await engine.get("stay-1")).result() == "receipt nobody said label for you"
        assert [call.step for call in engine.calls] == ["label"]


def test_on_an_ordinary_clock_it_says_what_to_do():
    async def main():
        testing.VirtualEngine(stay)

    with pytest.raises(mg.UsageError, match="in_virtual_time"):
        asyncio.run(main())


@testing.in_virtual_time
async def test_a_stub_gives_one_kind_of_answer():
    engine = testing.VirtualEngine(stay)
    with pytest.raises(mg.UsageError, match="one of"):
        engine.stub(charge, returns=1, raises=OSError)
    with pytest.raises(mg.UsageError, match="at least one"):
        engine.stub(charge, in_turn=[])
    with pytest.raises(mg.UsageError, match="takes a step"):
        engine.stub("charge")
