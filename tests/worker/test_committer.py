"""Group commit: one fsync for many runs, and nothing is carried out before it."""

import asyncio

import pytest

import makegood as mg
from makegood.store.protocol import Write
from tests.until import until
from tests.worker.engines import WatchedStore, engine_on

pytestmark = pytest.mark.anyio


@mg.step
async def greet(name: str) -> str:
    return f"hello {name}"


@mg.workflow
async def greeting(name: str) -> str:
    return await greet(name)


async def test_runs_that_are_started_together_share_their_commits() -> None:
    store = WatchedStore()
    async with engine_on(store) as engine:
        results = await asyncio.gather(*(engine.run(greeting, str(n)) for n in range(500)))
    assert results == [f"hello {n}" for n in range(500)]
    assert len(store.batches) <= 6
    assert len(store.batches[0]) == 500


async def test_a_run_alone_has_one_commit_for_each_thing_that_happens() -> None:
    store = WatchedStore()
    async with engine_on(store) as engine:
        await engine.run(greeting, "world")
    assert len(store.batches) == 2


async def test_a_step_starts_after_the_commit_of_its_intent() -> None:
    seen: list[str] = []

    @mg.step
    async def charge() -> None:
        seen.append("charge")

    @mg.step
    async def ship() -> None:
        seen.append("ship")

    @mg.workflow
    async def order() -> None:
        await charge()
        await ship()

    store = WatchedStore()
    store.before = lambda writes: seen.extend(f"commit {write.entry.number}" for write in writes)
    async with engine_on(store) as engine:
        await engine.run(order)
    assert seen == ["commit 1", "charge", "commit 2", "ship", "commit 3"]


async def test_a_caller_sees_nothing_before_it_is_durable() -> None:
    opened = asyncio.Event()
    opened.set()
    store = WatchedStore()
    store.gate = opened.wait
    async with engine_on(store) as engine:
        opened.clear()
        starting = asyncio.create_task(engine.start(greeting, "world", id="run-1"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not starting.done()
        opened.set()
        run = await starting
        opened.clear()
        result = asyncio.create_task(run.result())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not result.done()
        opened.set()
        assert await result == "hello world"


async def test_while_a_commit_is_under_way_the_next_is_collected() -> None:
    opened = asyncio.Event()
    store = WatchedStore()
    store.gate = opened.wait
    async with engine_on(store) as engine:
        first = asyncio.create_task(engine.start(greeting, "0", id="first"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(engine.start(greeting, str(n), id=f"run-{n}")) for n in range(50)]
        for _ in range(5):
            await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(first, *others)
    assert store.batches[0] == ["first"]
    assert store.batches[1][:50] == [f"run-{n}" for n in range(50)]


async def test_a_fenced_worker_stops_and_everybody_who_waits_gets_an_error() -> None:
    started = asyncio.Event()

    @mg.step
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    @mg.workflow
    async def waiting() -> None:
        await wait()

    store = WatchedStore()
    async with engine_on(store) as engine:
        run = await engine.start(waiting, id="waits")
        await started.wait()
        results = [asyncio.create_task(run.result()) for _ in range(3)]
        cancelling = asyncio.create_task(run.cancel())
        store.fence()
        starting = [asyncio.create_task(engine.start(greeting, "x", id=f"run-{n}")) for n in range(3)]
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*results, cancelling, *starting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[:3]] == [mg.StoreFenced] * 3
        assert all(isinstance(outcome, mg.StoreError) for outcome in outcomes), outcomes
        with pytest.raises(mg.StoreError, match="has taken over"):
            await engine.start(greeting, "late")
    store._open = True
    assert await store.find("run-0") is None


async def test_a_fenced_worker_begins_no_more_steps() -> None:
    begun: list[str] = []

    @mg.step
    async def first() -> None:
        store.fence()

    @mg.step
    async def second() -> None:
        begun.append("second")

    @mg.workflow
    async def both() -> None:
        await first()
        await second()

    store = WatchedStore()
    async with engine_on(store) as engine:
        with pytest.raises(mg.StoreError):
            await engine.run(both)
    assert begun == []


async def test_an_operators_request_is_durable_when_it_returns_also_under_steady_load() -> None:
    store = WatchedStore()
    stop = False

    @mg.workflow
    async def sleeping() -> None:
        await asyncio.sleep(3600)

    async with engine_on(store) as engine:

        async def load() -> None:
            while not stop:
                await engine.run(greeting, "x")

        async def a_turn() -> None:
            await asyncio.sleep(0)

        store.gate = a_turn
        run = await engine.start(sleeping, id="sleeps")
        loads = [asyncio.create_task(load()) for _ in range(20)]
        await until(lambda: len(store.batches) > 20)
        async with asyncio.timeout(10):
            await run.cancel()
        assert "CancelRequested" in [item.event for item in await run.history()]
        stop = True
        await asyncio.gather(*loads)


async def test_an_unexpected_error_of_the_store_stops_the_worker_with_that_error() -> None:
    def explode(_writes: object) -> None:
        raise mg.StoreError("the store has burnt down")

    store = WatchedStore()
    async with engine_on(store) as engine:
        await engine.run(greeting, "world")
        store.before = explode
        with pytest.raises(mg.StoreError, match="burnt down"):
            await engine.run(greeting, "world")
        with pytest.raises(mg.StoreError, match=r"has stopped.*burnt down"):
            await engine.run(greeting, "world")


async def test_a_refused_commit_is_tried_again_with_the_same_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("makegood.worker.committer.REFUSED_WAIT_SECONDS", 0.001)
    tried: list[list[bytes]] = []

    def refuse_twice(writes: list[Write]) -> None:
        tried.append([write.entry.hash for write in writes])
        if len(tried) <= 2:
            raise mg.StoreFull("full")

    store = WatchedStore()
    store.before = refuse_twice
    async with engine_on(store) as engine:
        assert await engine.run(greeting, "world", id="run-1") == "hello world"
        assert tried[0] == tried[1] == tried[2]
        assert await (await engine.get("run-1")).verify() == 2
