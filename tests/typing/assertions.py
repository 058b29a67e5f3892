"""What a type checker sees of the public API. Checked by mypy, never run; an expected error that is missing fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn, assert_type
from uuid import UUID

import makegood as mg
from makegood import testing


@dataclass
class Receipt:
    id: str


# ---- steps ---------------------------------------------------------------------------------------------------------


@mg.step
async def charge(order: str, amount: int = 1) -> Receipt:
    return Receipt(order * amount)


@mg.step
def pack(order: str, *, fragile: bool = False) -> int:
    return len(order) + fragile


@mg.step(retry=mg.Retry(delays=[0, 1, 5, 30]), timeout=10, fatal=(ValueError,), unknown=(OSError,))
async def reserve(order: str) -> str:
    return order


GATEWAY = mg.Breaker("gateway", failures=5, within=timedelta(seconds=10), drain="50/s", counts=(OSError,))


@mg.step(breaker=GATEWAY, rate_limit="10/s", max_concurrency=3)
async def capture(order: str) -> Receipt:
    return Receipt(order)


@capture.compensation(breaker="gateway", retry=None)
async def void(receipt: Receipt | None, order: str) -> None:
    assert_type(receipt, Receipt | None)


@mg.step(critical=False, breaker="gateway")
def announce(order: str) -> int:
    return len(order)


@mg.transaction(breaker=GATEWAY, rate_limit=None)
def enter(db: mg.Connection, order: str) -> int:
    return len(order)


async def gates() -> None:
    assert_type(await capture("o"), Receipt)
    assert_type(await announce("o"), int | None)
    assert_type(await enter("o"), int)
    mg.step(rate_limit=10)  # type: ignore[call-overload]
    mg.step(breaker=5)  # type: ignore[call-overload]
    mg.step(max_concurrency="5")  # type: ignore[call-overload]
    mg.Breaker("gateway", drain=50)  # type: ignore[arg-type]
    capture.options(breaker=GATEWAY)  # type: ignore[call-overload]


@mg.step(on_exhausted="park", retry=None)
def sign(order: str) -> bytes:
    return order.encode()


@mg.step(critical=False)
async def send_email(order: str) -> Receipt:
    return Receipt(order)


@mg.step(critical=False, timeout=5)
def count(order: str) -> int:
    return len(order)


@mg.step(critical=False)
async def send_text(order: str) -> None:
    print(order)


async def calls() -> None:
    call: Coroutine[Any, Any, Receipt] = charge("o")
    assert_type(await call, Receipt)
    assert_type(await charge("o", 2), Receipt)
    assert_type(await charge(order="o", amount=2), Receipt)
    assert_type(await pack("o", fragile=True), int)
    assert_type(await reserve("o"), str)
    assert_type(await sign("o"), bytes)
    assert_type(await send_email("o"), Receipt | None)
    assert_type(await count("o"), int | None)
    await send_text("o")


async def wrong_calls() -> None:
    await charge()  # type: ignore[call-arg]
    await charge(5)  # type: ignore[arg-type]
    await charge("o", price=3)  # type: ignore[call-arg]
    await pack("o", True)  # type: ignore[call-arg]
    await reserve("o", "p")  # type: ignore[call-arg]
    wrong: int = await charge("o")  # type: ignore[assignment]
    print(wrong)


mg.step(on_exhausted="explode")  # type: ignore[call-overload]
mg.step(retry=3)  # type: ignore[call-overload]
mg.step(timeout="5s")  # type: ignore[call-overload]
mg.Retry(delays=["soon"])  # type: ignore[list-item]


# ---- options -------------------------------------------------------------------------------------------------------


async def options() -> None:
    assert_type(await charge.options(timeout=5, retry=None, name="fast")(order="o"), Receipt)
    assert_type(await charge.options(timeout=5)("o", 2), Receipt)
    assert_type(await charge.options(retry=mg.Retry.forever())("o", amount=2), Receipt)
    assert_type(await charge.options(critical=True)("o"), Receipt)
    assert_type(await charge.options(critical=False)("o"), Receipt | None)
    assert_type(await pack.options(on_exhausted="park")("o", fragile=True), int)
    await charge.options(timeout=5)(5)  # type: ignore[arg-type]
    charge.options(retry=3)  # type: ignore[call-overload]


# ---- compensations -------------------------------------------------------------------------------------------------


@charge.compensation
async def refund(receipt: Receipt | None, order: str, amount: int = 1) -> None:
    print(receipt, order, amount)


@pack.compensation(retry=mg.Retry.forever(), timeout=5)
def unpack(parcels: int | None, order: str, *, fragile: bool = False) -> None:
    print(parcels, order, fragile)


@send_email.compensation
async def apologise(receipt: Receipt | None, order: str) -> None:
    print(receipt, order)


async def compensations_stay_functions() -> None:
    await refund(None, "o", 1)
    unpack(1, "o", fragile=True)


@reserve.compensation  # type: ignore[arg-type]
async def forgets_none(hold: str, order: str) -> None:
    print(hold, order)


@reserve.compensation  # type: ignore[arg-type]
async def wrong_result(hold: int | None, order: str) -> None:
    print(hold, order)


@reserve.compensation  # type: ignore[arg-type]
async def wrong_argument(hold: str | None, order: int) -> None:
    print(hold, order)


@reserve.compensation  # type: ignore[arg-type]
async def missing_argument(hold: str | None) -> None:
    print(hold)


@reserve.compensation(timeout=5)  # type: ignore[arg-type]
async def missing_result(order: str) -> None:
    print(order)


# ---- probes --------------------------------------------------------------------------------------------------------


@charge.probe
async def find_charge(order: str, amount: int = 1) -> Receipt | mg.NotDone:
    return mg.NotDone() if amount else Receipt(order)


@pack.probe
def find_parcels(order: str, *, fragile: bool = False) -> int | mg.NotDone:
    return len(order) + fragile


@send_email.probe
async def find_email(order: str) -> Receipt | mg.NotDone:
    return Receipt(order)


async def probes_stay_functions() -> None:
    assert_type(await find_charge("o", 1), Receipt | mg.NotDone)
    assert_type(find_parcels("o", fragile=True), int | mg.NotDone)


@reserve.probe  # type: ignore[arg-type]
async def finds_something_else(order: str) -> int | mg.NotDone:
    return len(order)


@reserve.probe  # type: ignore[arg-type]
async def asks_something_else(order: int) -> str | mg.NotDone:
    return str(order)


# ---- workflows and runs --------------------------------------------------------------------------------------------


@mg.workflow
async def fulfil(order: str, amount: int = 1) -> Receipt:
    receipt = await charge(order, amount)
    await reserve(order)
    return receipt


@mg.workflow(name="shorter")
async def nothing(order: str) -> None:
    await send_text(order)


@mg.workflow  # type: ignore[arg-type]
def not_async(order: str) -> str:
    return order


async def runs(engine: mg.Engine) -> None:
    run = await engine.start(fulfil, "o", amount=2, id="order-42")
    assert_type(run, mg.RunHandle[Receipt])
    assert_type(await run.result(), Receipt)
    assert_type(await engine.run(fulfil, "o"), Receipt)
    await engine.run(nothing, "o")
    assert_type(await engine.start(nothing, "o"), mg.RunHandle[None])
    assert_type(await engine.get("order-42"), mg.RunHandle[Any])
    await engine.start(charge, "o")  # type: ignore[arg-type]
    await engine.start("fulfil", "o")  # type: ignore[arg-type]


@mg.workflow
async def family(order: str) -> str:
    assert_type(await fulfil(order, amount=2), Receipt)
    child = mg.start_child(fulfil, order, id="child")
    assert_type(child, mg.Child[Receipt])
    assert_type(child.id, str)
    assert_type(await child, Receipt)
    first, second = await asyncio.gather(fulfil(order), mg.start_child(nothing, order))
    assert_type(first, Receipt)
    assert_type(second, None)
    try:
        await fulfil(7)  # type: ignore[arg-type]
    except mg.ChildFailed as failed:
        assert_type(failed.child, str)
    await mg.start_child(charge, "o")  # type: ignore[arg-type]
    return order


# ---- signals -------------------------------------------------------------------------------------------------------

HostDecision = mg.Signal("host_decision", Receipt)
Positions = mg.Signal("positions", list[int])
Ready = mg.Signal("ready")
Either = mg.Signal("either", int | None)


async def receiving() -> None:
    assert_type(HostDecision, mg.Signal[Receipt])
    assert_type(await HostDecision.receive(timeout=5), Receipt)
    assert_type(await Either.receive(), Any)
    async for positions in Positions:
        assert_type(positions, list[int])


async def sending(run: mg.RunHandle[Any]) -> None:
    await run.signal(HostDecision, Receipt("r"), id="first", by="ann")
    await run.signal(Ready)
    await run.signal("anything", {"at": "all"})
    await run.signal("anything")
    await run.signal(Positions, "elsewhere")  # type: ignore[misc]
    await run.signal(HostDecision)  # type: ignore[arg-type]
    await run.signal(5)  # type: ignore[call-overload]


async def errors(run: mg.RunHandle[Receipt]) -> None:
    try:
        await run.result()
    except mg.RunError as error:
        assert_type(error.step, str | None)
        assert_type(error.failure, mg.Failure | None)
        assert_type(error.undone, tuple[str, ...])
        assert_type(error.residue, tuple[str, ...])


async def step_failures() -> None:
    try:
        await charge("o")
    except mg.StepFailed as failed:
        assert_type(failed.failure, mg.Failure)
        assert_type(failed.unknown, bool)
        assert_type(failed.was(ValueError, OSError), bool)


async def in_a_step() -> None:
    assert_type(mg.idempotency_key(), str)
    assert_type(mg.attempt(), int)


# ---- schedules -----------------------------------------------------------------------------------------------------


@mg.workflow(schedule=mg.Schedule("0 2 * * *", timezone="Europe/Berlin", overlap="buffer one", catch_up=60))
async def nightly(tick: datetime, depth: int = 1) -> float:
    return tick.timestamp() * depth


@mg.workflow(schedule="0 2 * * *", name="weekly")
async def weekly() -> None: ...


mg.Schedule("0 2 * * *", overlap="buffer two")  # type: ignore[arg-type]


async def runs_a_scheduled_workflow_by_hand(engine: mg.Engine, tick: datetime) -> None:
    assert_type(await engine.run(nightly, tick), float)
    assert_type(await engine.run(weekly), None)
    assert_type(await engine.backfill("nightly", tick), list[str])
    assert_type((await engine.schedules())[0].next_tick, float | None)


# ---- transactions --------------------------------------------------------------------------------------------------


@mg.transaction
def move_money(db: mg.Connection, source: str, target: str, amount: int = 1) -> int:
    rows = db.execute("SELECT 1")
    assert_type(rows, list[tuple[Any, ...]])
    return amount


@move_money.compensating_transaction
def move_back(db: mg.Connection, left: int, source: str, target: str, amount: int = 1) -> None:
    db.execute("SELECT 1")


@mg.transaction(critical=False, timeout=1, fatal=(ValueError,))
def note(db: mg.Connection, order: str) -> int:
    return db.changes


@note.compensation
async def unnote(number: int | None, order: str) -> None:
    print(number, order)


async def transactions() -> None:
    assert_type(await move_money("a", "b", amount=2), int)
    assert_type(await note("o"), int | None)
    assert_type(await move_money.options(timeout=1)("a", "b"), int)


async def wrong_transactions() -> None:
    await move_money("a")  # type: ignore[call-arg]
    await move_money("a", "b", "c")  # type: ignore[arg-type]


@mg.transaction  # type: ignore[arg-type]
def without_connection(order: str) -> int:
    return len(order)


# ---- deterministic values and versions -----------------------------------------------------------------------------


@mg.workflow
async def values() -> None:
    assert_type(mg.now(), datetime)
    assert_type(mg.random(), float)
    assert_type(mg.uuid4(), UUID)
    assert_type(mg.patched("a"), bool)
    mg.patched(1)  # type: ignore[arg-type]


@mg.workflow(name="values", version=2)
async def goes_on(number: int) -> NoReturn:
    mg.continue_as_new(number + 1)


async def resumes(run: mg.RunHandle[None]) -> None:
    assert_type(await run.resume(why="corrected"), None)


# ---- updates and views ---------------------------------------------------------------------------------------------

Change = mg.Update("change", str, Receipt)
Close = mg.Update("close", int)
Loose = mg.Update("loose", int | None, list[str])


@mg.workflow
async def answering() -> None:
    @Change.handler
    async def change(address: str) -> Receipt:
        return Receipt(address)

    @Change.handler(validator=len)
    def change_at_once(address: str) -> Receipt:
        return Receipt(address)

    Close.handler(lambda _: None)
    Change.handler(change, validator=len)
    Change.handler(5)  # type: ignore[call-overload]
    mg.update_view(status="new", eta=5)
    mg.update_view("new")  # type: ignore[call-arg]


async def asks(run: mg.RunHandle[str]) -> None:
    assert_type(await run.update(Change, "a"), Receipt)
    assert_type(await run.update(Change, "a", id="click-1", by="ann"), Receipt)
    assert_type(await run.update(Close, 5), None)
    assert_type(await run.update(Loose, None), Any)
    assert_type(await run.view(), dict[str, Any])
    async for view in run.watch():
        assert_type(view, dict[str, Any])
    assert_type(await run.update("change", "a"), Any)
    await run.update(5, "a")  # type: ignore[call-overload]


# ---- external completion -------------------------------------------------------------------------------------------


@mg.step(timeout=60)
async def ask_for_approval(order: str) -> Receipt | mg.Pending:
    assert_type(mg.completion_token(), str)
    return mg.PENDING


@mg.step
def ask_in_a_thread(order: str) -> bool | mg.Pending:
    return mg.PENDING


@mg.step(critical=False)
async def ask_at_best(order: str) -> int | mg.Pending:
    return mg.PENDING


@ask_for_approval.compensation
async def take_approval_back(receipt: Receipt | None, order: str) -> None:
    print(receipt, order)


async def external_completion(engine: mg.Engine) -> None:
    assert_type(await ask_for_approval("o"), Receipt)
    assert_type(await ask_in_a_thread("o"), bool)
    assert_type(await ask_at_best("o"), int | None)
    await engine.complete("token", Receipt("r"))
    await engine.fail("token", "no", fatal=True)


# ---- undoing -------------------------------------------------------------------------------------------------------


@mg.step
async def say_sorry(to: str, times: int = 1) -> None:
    print(to, times)


@mg.workflow
async def journey() -> int:
    mg.on_rollback(say_sorry, "porter", times=2)
    mg.on_rollback(say_sorry, 2)  # type: ignore[arg-type]
    mg.on_rollback(say_sorry)  # type: ignore[call-arg]
    mg.on_rollback(print, "porter")  # type: ignore[arg-type]
    async with mg.saga():
        mg.pivot()
        return 1


async def terminating(run: mg.RunHandle[int]) -> None:
    await run.terminate("why", compensate=True, by="ann")
    await run.terminate(compensate="yes")  # type: ignore[arg-type]


# ---- the test kit ----------------------------------------------------------------------------------------------------


@testing.in_virtual_time
async def in_no_time(days: int) -> str:
    async with testing.VirtualEngine(journey) as engine:
        assert_type(engine.stub(say_sorry, raises=OSError), testing.Stub)
        assert_type(await engine.run(journey), int)
        await engine.advance(days * mg.DAY)
    return "over"


def testing_them() -> None:
    assert_type(in_no_time(37), str)
    in_no_time("37")  # type: ignore[arg-type]
    assert_type(testing.crash_matrix(journey, may_stay=[say_sorry]), testing.Report)
    testing.crash_matrix(journey, ends="CANCELLED")  # type: ignore[arg-type]
    testing.crash_matrix(say_sorry)  # type: ignore[arg-type]


# ---- time limits and heartbeats --------------------------------------------------------------------------------------


@mg.step(heartbeat_timeout=30, timeout=timedelta(minutes=5))
async def copy(pages: int) -> int:
    mg.heartbeat(Receipt("half"))
    mg.heartbeat()
    assert_type(mg.last_heartbeat(), Any)
    assert_type(mg.last_heartbeat(Receipt), Receipt | None)
    mg.last_heartbeat("Receipt")  # type: ignore[call-overload]
    return pages


mg.step(heartbeat_timeout="5s")  # type: ignore[call-overload]


@mg.workflow(timeout=timedelta(hours=1))
async def limited(pages: int) -> int:
    assert_type(await copy.options(heartbeat_timeout=5)(pages), int)
    return await copy.options(heartbeat_timeout="same")(pages)


mg.workflow(timeout="5s")  # type: ignore[call-overload]


# ---- operating at scale ----------------------------------------------------------------------------------------------


async def operating_at_scale(engine: mg.Engine, since: datetime) -> None:
    run = await engine.start(fulfil, "o", tags={"merchant": "42"})
    assert_type(await engine.count(status="PARKED", tags={"merchant": "42"}, started_after=since), int)
    assert_type((await engine.list(workflow="fulfil", parent="", limit=3))[0].tags, dict[str, str])
    await engine.list(colour="red")  # type: ignore[call-arg]
    await engine.count(started_after=1.0)  # type: ignore[arg-type]
    async for outcome in engine.batch("retry", "the gateway is back", status="PARKED"):
        assert_type(outcome.refused, str)
    engine.batch("explode", status="PARKED")  # type: ignore[arg-type]
    assert_type(await engine.prune(timedelta(days=30), progress=print), int)
    assert_type(await run.pin("audit"), None)
    await engine.start(fulfil, "o", tags={"merchant": 42})  # type: ignore[dict-item]
