"""Sending signals: from the worker's process and from others, to runs in every state; what is refused, and what is left."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from makegood.backend import local
from makegood.store.memory import MemoryStore
from tests.until import eventually, parked

pytestmark = pytest.mark.anyio


@dataclass
class Decision:
    accepted: bool
    reason: str = ""


HostDecision = mg.Signal("host_decision", Decision)
Position = mg.Signal("position", int)
Ready = mg.Signal("ready")
YES = Decision(accepted=True, reason="welcome")


@mg.step
async def book(guest: str) -> str:
    return f"table of {guest}"


@mg.workflow
async def visit(guest: str) -> str:
    await book(guest)
    return (await HostDecision.receive()).reason


@mg.workflow
async def follow(count: int) -> list[int]:
    return [await Position.receive() for _ in range(count)]


@mg.workflow
async def begin() -> None:
    await Ready.receive()


class Place:
    """A store, with an engine that works on it and one that is a pure client of it."""

    def __init__(self, worker: mg.Engine, sender: mg.Engine) -> None:
        self.worker = worker
        self.sender = sender

    async def start(self, workflow: mg.Workflow[..., Any], *args: Any, id: str = "run-1") -> Any:
        await self.worker.start(workflow, *args, id=id)
        return await self.sender.get(id)


@pytest.fixture(
    params=["in the worker's process, in memory", "in the worker's process", "from another process"]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    url = "memory://" if "memory" in request.param else f"sqlite:///{tmp_path}/visits.db"
    async with mg.Engine(url) as worker:
        if "another" not in request.param:
            yield Place(worker, worker)
        else:
            async with mg.Engine(url, work=False) as sender:
                yield Place(worker, sender)


async def waiting_for(run: mg.RunHandle[Any], what: str) -> None:
    async def waits() -> bool:
        return (await run.describe()).waiting_for == what

    await eventually(waits)


async def events(run: mg.RunHandle[Any], kind: str) -> list[dict[str, Any]]:
    return [item.fields for item in await run.history() if item.event == kind]


async def test_a_signal_reaches_the_run_that_waits_for_it(place: Place) -> None:
    run = await place.start(visit, "ann")
    await waiting_for(run, "signal host_decision")
    await run.signal(HostDecision, YES)
    assert await run.result() == "welcome"


async def test_a_signal_is_sent_by_its_name(place: Place) -> None:
    run = await place.start(visit, "ann")
    await run.signal("host_decision", {"accepted": True, "reason": "welcome"})
    assert await run.result() == "welcome"


async def test_a_signal_without_a_payload_is_sent(place: Place) -> None:
    run = await place.start(begin)
    await run.signal(Ready)
    await run.result()


async def test_signals_of_one_sender_are_received_in_the_order_of_sending(place: Place) -> None:
    run = await place.start(follow, 10)
    for number in range(10):
        await run.signal(Position, number)
    assert await run.result() == list(range(10))


async def test_of_many_senders_at_once_none_is_lost_and_none_comes_twice(place: Place) -> None:
    run = await place.start(follow, 50)
    await asyncio.gather(*(run.signal(Position, number) for number in range(50)))
    assert sorted(await run.result()) == list(range(50))


async def test_a_signal_that_is_sent_again_under_its_id_is_accepted_once(place: Place) -> None:
    run = await place.start(follow, 2)
    for number, name in ((1, "a"), (1, "a"), (2, "b")):
        await run.signal(Position, number, id=name, by="ann")
    assert await run.result() == [1, 2]
    assert [(e["id"], e["by"]) for e in await events(run, "SignalReceived")] == [("a", "ann"), ("b", "ann")]


async def test_an_ended_run_takes_no_signal(place: Place) -> None:
    run = await place.start(begin)
    await run.signal(Ready)
    await run.result()
    with pytest.raises(
        mg.NotPossible, match="run run-1 takes no signal ready: it has already ended, COMPLETED"
    ):
        await run.signal(Ready)


async def test_an_unknown_run_takes_no_signal(place: Place) -> None:
    with pytest.raises(mg.RunNotFound, match="no run run-2"):
        await (await place.sender.get("run-2")).signal(Ready)


@pytest.mark.parametrize("wrong", ["perhaps", {"accepted": 1}, [True], None])
async def test_a_payload_of_the_wrong_type_is_refused_for_the_sender(place: Place, wrong: Any) -> None:
    run = await place.start(visit, "ann")
    with pytest.raises(mg.UsageError, match=r"signal host_decision: .* annotation Decision"):
        await run.signal("host_decision", wrong)
    with pytest.raises(mg.PayloadError, match="signal host_decision"):
        await run.signal(HostDecision, wrong)
    assert await events(run, "SignalReceived") == []


async def test_a_signal_declared_otherwise_by_the_sender_is_refused(place: Place) -> None:
    run = await place.start(visit, "ann")
    with pytest.raises(mg.UsageError, match=r"signal host_decision: .* annotation Decision"):
        await run.signal(mg.Signal("host_decision", int), 5)


async def test_a_payload_above_the_limit_is_refused(place: Place) -> None:
    run = await place.start(visit, "ann")
    with pytest.raises(
        mg.PayloadError, match="signal report: 2,097,155 bytes of JSON, and the limit is 2,097,152"
    ):
        await run.signal("report", "x" * (2 * 1024 * 1024 + 1))
    with pytest.raises(mg.PayloadError, match=r"signal host_decision: .* and the limit is 2,097,152"):
        await run.signal(HostDecision, Decision(accepted=True, reason="x" * (2 * 1024 * 1024)))


@pytest.mark.parametrize("value", [object(), {1, "ä\ud800"}, float("nan")])
async def test_a_value_without_a_json_form_is_refused(place: Place, value: Any) -> None:
    run = await place.start(follow, 1)
    with pytest.raises(mg.PayloadError, match="signal position"):
        await run.signal(Position, value)
    with pytest.raises(mg.UsageError, match="signal position"):
        await run.signal("position", value)


@pytest.mark.parametrize("name", ["", "host decision", "a/b", "<script>", "x" * 101, 5])
async def test_a_name_that_no_signal_can_have_is_refused(place: Place, name: Any) -> None:
    run = await place.start(follow, 1)
    with pytest.raises(mg.UsageError, match="no signal of this name"):
        await run.signal(name, 1)


@pytest.mark.parametrize("wrong", ["x" * 201, "line\nbreak", "\ud800", 5])
async def test_an_unusable_id_is_refused(place: Place, wrong: Any) -> None:
    run = await place.start(follow, 1)
    with pytest.raises(mg.UsageError, match="signal id"):
        await run.signal(Position, 1, id=wrong)


async def test_signals_left_over_are_in_the_journal_and_in_the_description(place: Place) -> None:
    run = await place.start(follow, 1)
    await run.signal("misspelt", {"x": 1})
    await run.signal(Position, 1)
    await run.result()
    assert await events(run, "SignalsLeft") == [{"signals": [1]}]
    (left,) = (await run.describe()).signals_left
    assert (left.number, left.name, left.value) == (1, "misspelt", {"x": 1})
    assert left.received_at <= (await run.describe()).ended_at


async def test_what_a_run_waits_for_is_told_with_its_time_limit(place: Place) -> None:
    @mg.workflow
    async def impatient() -> None:
        await Ready.receive(timeout=3600)

    run = await place.start(impatient)

    async def waits() -> bool:
        return (await run.describe()).waiting_for.startswith("signal ready, timer until ")

    await eventually(waits)


# ---- restarts, and senders without a worker ------------------------------------------------------------------------------


async def test_a_signal_sent_before_any_worker_is_there_is_delivered_by_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path}/visits.db"
    async with mg.Engine(url, work=False) as sender:
        run = await sender.start(follow, 3, id="run-1")
        for number in range(3):
            with pytest.raises(mg.NoWorker):
                await run.signal(Position, number, id=f"{number}")
    async with mg.Engine(url, [follow]) as worker:
        run = await worker.get("run-1")
        assert await run.result() == [0, 1, 2]


async def test_a_signal_and_a_wait_survive_a_restart() -> None:
    store = MemoryStore()
    async with mg.Engine(store, [follow]) as engine:
        run = await engine.start(follow, 2, id="run-1")
        await run.signal(Position, 1)
    async with mg.Engine(store, [follow]) as engine:
        run = await engine.get("run-1")
        await waiting_for(run, "signal position")
        await run.signal(Position, 2)
        assert await run.result() == [1, 2]


async def test_a_signal_to_a_run_whose_workflow_no_worker_knows_is_delivered_once_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.05)
    store = MemoryStore()
    async with mg.Engine(store, [follow]) as engine:
        await engine.start(follow, 2, id="run-1")
    async with mg.Engine(store) as engine:
        run = await engine.get("run-1")
        for number in (1, 2):
            with pytest.raises(mg.NoWorker, match="is stored"):
                await run.signal(Position, number)
        await engine.start(follow, 0, id="run-2")
        assert await run.result() == [1, 2]


async def test_a_signal_to_a_run_whose_code_does_not_fit_is_delivered_once_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.05)

    @mg.workflow(name="follow")
    async def changed(count: int) -> None:
        await Ready.receive()

    store = MemoryStore()
    async with mg.Engine(store, [follow]) as engine:
        await engine.start(follow, 1, id="run-1")
    async with mg.Engine(store, [changed]) as engine:
        run = await engine.get("run-1")
        await parked(run)
        with pytest.raises(mg.NoWorker, match="is stored"):
            await run.signal(Position, 7)
    async with mg.Engine(store, [follow]) as engine:
        run = await engine.get("run-1")
        await run.retry(why="the code fits again")
        assert await run.result() == [7]


async def test_a_signal_wakes_a_run_that_was_evicted() -> None:
    store = MemoryStore()
    async with mg.Engine(store, waiting_limit=0) as engine:
        run = await engine.start(follow, 2)

        async def asleep() -> bool:
            row = await store.find(run.id)
            return row is not None and row.wake_at is not None

        for number in (1, 2):
            await eventually(asleep)
            await run.signal(Position, number)
        assert await run.result() == [1, 2]


async def test_a_journal_with_signals_verifies(place: Place) -> None:
    run = await place.start(follow, 1)
    await run.signal(Position, 1)
    await run.result()
    assert await run.verify() == 2


# ---- declarations -----------------------------------------------------------------------------------------------------


def workflow_with(signal: mg.Signal[Any], name: str) -> mg.Workflow[..., Any]:
    async def receives() -> None:
        await signal.receive()

    return mg.workflow(name=name)(receives)


async def test_two_workflows_may_share_a_signal_and_not_only_its_name() -> None:
    first = workflow_with(mg.Signal("answer", int), "first")
    same = workflow_with(mg.Signal("answer", int), "same")
    other = workflow_with(mg.Signal("answer", str), "other")
    mg.Engine("memory://", [first, same])
    with pytest.raises(mg.DefinitionError, match="two signals are called answer"):
        mg.Engine("memory://", [first, other])


async def test_a_signal_is_not_received_outside_a_workflow() -> None:
    with pytest.raises(mg.OutsideWorkflow, match="signal ready: receive"):
        await Ready.receive()
    with pytest.raises(mg.UsageError, match="iterate with `async for`"):
        iter(Ready)


@pytest.mark.parametrize("name", ["", "two words", "1st", None])
def test_an_unusable_name_is_refused(name: Any) -> None:
    with pytest.raises(mg.DefinitionError, match="no usable name"):
        mg.Signal(name, int)


@pytest.mark.parametrize("carries", ["Decision", object(), 5])
def test_a_type_that_cannot_be_stored_is_refused(carries: Any) -> None:
    with pytest.raises(mg.DefinitionError, match="signal odd"):
        mg.Signal("odd", carries)
