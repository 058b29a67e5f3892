"""A bad run harms no other, a closed engine loses nothing."""

import asyncio

import msgspec
import pytest

import makegood as mg
from makegood.engine import loop
from makegood.engine.operator import Request
from makegood.store.memory import MemoryStore
from tests.until import until
from tests.worker.engines import WatchedStore, engine_on, names

pytestmark = pytest.mark.anyio


@mg.step
async def greet(name: str) -> str:
    return f"hello {name}"


@mg.workflow
async def greeting(name: str) -> str:
    return await greet(name)


async def test_a_workflow_that_spins_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SPIN_LIMIT_CALLBACKS", 10_000)

    @mg.workflow
    async def spinning() -> None:
        while True:  # noqa: ASYNC110 - the mistake under test
            await asyncio.sleep(0)

    async with engine_on(MemoryStore()) as engine:
        bad = await engine.start(spinning)
        assert await engine.run(greeting, "world") == "hello world"
        with pytest.raises(mg.RunFailed, match="spins"):
            await bad.result()


async def test_a_result_that_cannot_be_stored_harms_no_other() -> None:
    @mg.step
    async def odd() -> int:
        return object()  # type: ignore[return-value]

    @mg.workflow
    async def failing() -> int:
        return await odd()

    async with engine_on(MemoryStore()) as engine:
        with pytest.raises(mg.RunFailed, match="cannot be stored"):
            await engine.run(failing)
        assert await engine.run(greeting, "world") == "hello world"


async def test_an_unreadable_request_in_the_inbox_is_answered_and_the_worker_goes_on() -> None:
    store = MemoryStore()
    async with engine_on(store) as engine:
        await engine.run(greeting, "world", id="run-1")
        requests = [b"garbage", b'{"action":"explode","by":"x"}', msgspec.json.encode(Request("cancel", "x"))]
        numbers = [await store.post(run_id, data) for data in requests for run_id in ("run-1", "nobody")]
        await until(lambda: len(store._answers) == len(numbers))
        assert all([(await store.take_answer(number)).error for number in numbers])  # type: ignore[union-attr]
        assert await engine.run(greeting, "world") == "hello world"


async def test_a_run_that_fails_inside_the_engine_is_set_aside_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from makegood.engine.journal import StepScheduled
    from makegood.worker.dispatch import HANDLERS
    from makegood.worker.live import LiveRun

    on_scheduled = HANDLERS[StepScheduled]

    def fail_for_bad(its_worker: object, run: LiveRun, event: StepScheduled) -> None:
        if run.id == "bad":
            raise ZeroDivisionError("a bug of ours")
        on_scheduled(its_worker, run, event)  # type: ignore[arg-type]

    monkeypatch.setitem(HANDLERS, StepScheduled, fail_for_bad)
    store = MemoryStore()
    async with engine_on(store) as engine:
        bad = await engine.start(greeting, "world", id="bad")
        assert await engine.run(greeting, "world") == "hello world"
        assert "a bug of ours" in (await bad.describe()).waiting_for
    monkeypatch.undo()
    async with engine_on(store, greeting) as engine:
        assert await (await engine.get("bad")).result() == "hello world"


async def test_closing_waits_for_attempts_under_way_and_records_them() -> None:
    begun, release, calls = asyncio.Event(), asyncio.Event(), []

    @mg.step
    async def first() -> str:
        calls.append("first")
        begun.set()
        await release.wait()
        return "recorded"

    @mg.step
    async def second(before: str) -> str:
        calls.append("second")
        return before

    @mg.workflow
    async def both() -> str:
        return await second(await first())

    store = MemoryStore()
    engine = engine_on(store)
    await engine.__aenter__()
    run = await engine.start(both, id="run-1")
    waiting = asyncio.create_task(run.result())
    await begun.wait()
    closing = asyncio.create_task(engine.__aexit__(None, None, None))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    await closing
    with pytest.raises(mg.StoreError, match="goes on when its store is opened again"):
        await waiting
    assert calls == ["first"]
    async with engine_on(store, both) as engine:
        assert await (await engine.get("run-1")).result() == "recorded"
    assert calls.count("first") == 1


async def test_what_outlasts_the_grace_is_cut_off_and_repeated_later() -> None:
    calls: list[str] = []

    @mg.step
    async def quick() -> None:
        calls.append("quick")

    @mg.step
    async def endless() -> str:
        calls.append("endless")
        if calls.count("endless") == 1:
            await asyncio.Event().wait()
        return "done"

    @mg.workflow
    async def both() -> str:
        await quick()
        return await endless()

    store = MemoryStore()
    async with engine_on(store, grace_seconds=0.01) as engine:
        await engine.start(both, id="run-1")
        await until(lambda: "endless" in calls)
    async with engine_on(store, both) as engine:
        run = await engine.get("run-1")
        assert await run.result() == "done"
        (lost,) = [item for item in await run.history() if item.event == "AttemptFailed"]
        assert lost.fields["lost"]
    assert calls == ["quick", "endless", "endless"]


async def test_an_engine_can_be_closed_at_once() -> None:
    async with engine_on(MemoryStore()):
        pass


async def test_a_run_of_an_unknown_workflow_waits_says_so_and_goes_on_when_it_is_given() -> None:
    store = await left_waiting()
    async with engine_on(store) as engine:
        run = await engine.get("waits")
        assert "no live worker knows its workflow" in (await run.describe()).waiting_for
        with pytest.raises(mg.NotPossible, match="no live worker knows its workflow"):
            await run.retry()
        again = await engine.start(greeting, "world", id="waits")
        async with asyncio.timeout(5):
            assert await again.result() == "hello world"


async def left_waiting() -> MemoryStore:
    """A store with a greeting that was submitted and never driven."""
    store = WatchedStore()
    store.before = lambda _writes: (_ for _ in ()).throw(mg.StoreError("crash before the commit"))
    client = engine_on(store, work=False)
    async with client:
        await client.start(greeting, "world", id="waits")
    store.before = lambda _writes: None
    return store


async def test_starting_the_same_run_again_while_it_is_being_recovered_drives_it_once() -> None:
    store = await left_waiting()
    async with engine_on(store, greeting) as engine:
        runs = await asyncio.gather(*(engine.start(greeting, "world", id="waits") for _ in range(10)))
        async with asyncio.timeout(5):
            assert {await run.result() for run in runs} == {"hello world"}
        assert names(await runs[0].history()).count("StepScheduled") == 1
