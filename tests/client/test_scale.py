"""Many runs: tagged, searched, counted, read in pages, acted on together, pruned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.sqlite import SqliteStore
from tests.worker.engines import Clock, engine_on

pytestmark = pytest.mark.anyio

GATEWAY = {"up": False}


@mg.step(retry=None, on_exhausted="park")
async def charge(order: int) -> int:
    if not GATEWAY["up"]:
        raise ConnectionError("gateway is down")
    return order


@mg.workflow
async def buy(order: int) -> int:
    return await charge(order)


@mg.workflow
async def greet(name: str) -> str:
    return f"hello {name}"


@mg.workflow
async def family(name: str) -> str:
    return await greet(name)


@pytest.fixture(autouse=True)
def _gateway_is_down() -> None:
    GATEWAY["up"] = False


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryStore | SqliteStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "orders.db"))


@asynccontextmanager
async def ten_parked(store: MemoryStore | SqliteStore) -> AsyncIterator[mg.Engine]:
    async with engine_on(store, buy) as engine:
        runs = [
            await engine.start(buy, n, id=f"order-{n}", tags={"merchant": "42" if n % 2 else "7"})
            for n in range(10)
        ]
        while await engine.count(status="PARKED") < len(runs):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)
        yield engine


async def test_runs_are_found_by_their_tags_also_after_going_on_as_new(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        found = await engine.list(tags={"merchant": "42"}, limit=3)
        assert [run.id for run in found] == ["order-9", "order-7", "order-5"]
        assert found[0].tags == {"merchant": "42"}
        rest = await engine.list(tags={"merchant": "42"}, before_key=found[-1].key)
        assert [run.id for run in rest] == ["order-3", "order-1"]
        assert await engine.count(tags={"merchant": "42"}, workflow="buy") == 5
        assert await engine.count(tags={"merchant": "1"}) == 0
        assert (await (await engine.get("order-1")).describe()).tags == {"merchant": "42"}


async def test_runs_are_found_by_when_they_were_by_parent_and_by_prefix(store: MemoryStore) -> None:
    clock = Clock()
    begin = datetime.fromtimestamp(clock.now, UTC)
    async with engine_on(store, now=clock) as engine:
        await engine.run(family, "ada", id="f-1")
        clock.now += 60
        await engine.run(greet, "bob", id="g-1")
        later = begin + timedelta(seconds=30)
        assert [run.id for run in await engine.list(started_after=later)] == ["g-1"]
        assert await engine.count(ended_before=later) == 2
        [child] = await engine.list(parent="f-1")
        assert (child.workflow, child.parent) == ("greet", "f-1")
        assert [run.id for run in await engine.list(parent="", id_prefix="f")] == ["f-1"]


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"status": "DONE"}, "there is no status 'DONE'"),
        ({"colour": "red"}, "there is no filter 'colour'"),
        ({"started_after": datetime(2027, 1, 1)}, "give an aware datetime"),  # noqa: DTZ001 - that is the mistake
        ({"tags": {"merchant": 42}}, "tag 42 is not usable"),
        ({"tags": {"": "x"}}, "tag '' is not usable"),
    ],
)
async def test_filters_that_cannot_be_meant_are_refused(filters: dict[str, object], said: str) -> None:
    async with mg.Engine("memory://") as engine:
        for search in (engine.list, engine.count):
            with pytest.raises(mg.UsageError, match=said):
                await search(**filters)


async def test_too_many_or_unusable_tags_start_nothing(store: MemoryStore) -> None:
    async with engine_on(store) as engine:
        for tags in ({str(n): "x" for n in range(21)}, {"a": "x" * 201}, {"a": "nul\0"}):
            with pytest.raises(mg.UsageError):
                await engine.start(greet, "ada", tags=tags)
        assert await engine.count() == 0


async def test_tags_are_given_within_a_transaction_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with mg.Engine(f"sqlite:///{path}", [greet]) as engine:
        connection = apsw.Connection(str(path))
        connection.execute("BEGIN IMMEDIATE")
        run = await engine.start(greet, "ada", id="g", tags={"a": "b"}, connection=connection)
        connection.execute("COMMIT")
        connection.close()
        await run.result()
        assert [one.id for one in await engine.list(tags={"a": "b"}, status="COMPLETED")] == ["g"]


async def test_history_is_read_in_pages(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        run = await engine.get("order-1")
        whole = await run.history()
        pages, after = [], 0
        while page := await run.history(after=after, limit=1):
            assert {item.entry for item in page} == {after + 1}
            pages += page
            after = page[-1].entry
        assert pages == whole
        assert await run.history(after=1) == [item for item in whole if item.entry > 1]
        with pytest.raises(mg.UsageError, match="a page begins after entry 0"):
            await run.history(after=-1)


async def test_an_action_for_many_is_recorded_in_each_with_who_and_why(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        GATEWAY["up"] = True
        tags = {"merchant": "42"}
        done = [
            one
            async for one in engine.batch("retry", "gateway is back", by="ada", status="PARKED", tags=tags)
        ]
        assert sorted(one.id for one in done) == [f"order-{n}" for n in (1, 3, 5, 7, 9)]
        assert {one.refused for one in done} == {""}
        for one in done:
            run = await engine.get(one.id)
            await run.result()
            [acted] = [item.fields for item in await run.history() if item.event == "OperatorActed"]
            assert (acted["action"], acted["by"], acted["why"]) == ("retry", "ada", "gateway is back")
        assert await engine.count(status="PARKED") == 5


async def test_an_action_that_is_stopped_in_the_middle_is_repeated_safely(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        GATEWAY["up"] = True
        action = engine.batch("retry", status="PARKED")
        first = await anext(action)
        await action.aclose()
        rest = [one.id async for one in engine.batch("retry", status="PARKED")]
        for n in range(10):
            run = await engine.get(f"order-{n}")
            await run.result()
            acts = [item for item in await run.history() if item.event == "OperatorActed"]
            assert len(acts) == 1
        assert first.id not in rest


async def test_runs_in_which_the_action_is_not_possible_say_why(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        done = [one async for one in engine.batch("resume", workflow="buy")]
        assert len(done) == 10
        assert all("cannot resume" in one.refused for one in done)
        assert [one async for one in engine.batch("retry", workflow="nobody")] == []
        with pytest.raises(mg.UsageError, match="cannot be asked of many"):
            await anext(engine.batch("resolve"))
        ended = [one async for one in engine.batch("terminate", compensate=True)]
        assert len(ended) == 10


async def test_a_pruned_run_is_not_run_again(store: MemoryStore) -> None:
    async with engine_on(store, greet) as engine:
        run = await engine.start(greet, "ada", id="g")
        await run.result()
        assert await engine.prune(timedelta(days=1)) == 0
        assert await engine.prune(0) == 1
        for again in (
            engine.start(greet, "ada", id="g"),
            engine.run(greet, "ada", id="g"),
            engine.get("g"),
            run.result(),
            run.history(),
            run.pin(),
        ):
            with pytest.raises(mg.RunPruned, match=r"it ended COMPLETED on .*, and was pruned on"):
                await again
        with pytest.raises(mg.RunConflict, match="had another input"):
            await engine.start(greet, "bob", id="g")
        assert await engine.list() == []
        assert await engine.prune(0, tombstones=True) == 1
        assert await engine.run(greet, "bob", id="g") == "hello bob"


async def test_a_pruned_run_is_not_run_again_by_a_client_or_in_a_transaction(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    url = f"sqlite:///{path}"
    async with mg.Engine(url) as engine:
        await engine.run(greet, "ada", id="g")
        await engine.prune(0)
        async with mg.Engine(url, work=False) as client:
            with pytest.raises(mg.RunPruned):
                await client.start(greet, "ada", id="g")
        connection = apsw.Connection(str(path))
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(mg.RunPruned):
            await engine.start(greet, "ada", id="g", connection=connection)
        connection.execute("ROLLBACK")
        connection.close()


async def test_a_child_whose_id_was_pruned_is_refused(store: MemoryStore) -> None:
    @mg.workflow
    async def call_again() -> str:
        return await mg.start_child(greet, "ada", id="g")

    async with engine_on(store, greet) as engine:
        await engine.run(greet, "ada", id="g")
        await engine.prune(0)
        with pytest.raises(mg.RunFailed, match="is taken by another run"):
            await engine.run(call_again, id="parent")


async def test_a_pinned_run_is_kept(store: MemoryStore) -> None:
    async with engine_on(store) as engine:
        for name in ("ada", "bob"):
            await engine.run(family, name, id=name)
        await (await engine.get("ada")).pin("audit", by="eve")
        progress: list[int] = []
        assert await engine.prune(0, progress=progress.append) == 2
        assert progress[-1] == 2
        [pinned] = await engine.list(parent="")
        assert pinned.pin is not None
        assert (pinned.id, pinned.pin.by, pinned.pin.why) == ("ada", "eve", "audit")
        await (await engine.get("ada")).unpin()
        assert await engine.prune(0) == 2


async def test_runs_that_go_on_are_never_pruned(store: MemoryStore) -> None:
    async with ten_parked(store) as engine:
        assert await engine.prune(0) == 0
        assert await engine.count() == 10
