"""What a customer's app may see of a run, now and as it changes, wherever the run is."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store
from makegood.store.sqlite import SqliteStore
from tests.until import eventually, until
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


class Gates:
    """Each step waits here until it is let through."""

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Event] = {}

    def of(self, step: str) -> asyncio.Event:
        return self.open.setdefault(step, asyncio.Event())

    def let(self, *steps: str) -> None:
        for step in steps:
            self.of(step).set()


GATES = Gates()


@pytest.fixture(autouse=True)
def gates() -> Gates:
    GATES.__init__()  # type: ignore[misc]
    return GATES


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Stores on the same data, as one process after the other opens them."""
    memory = MemoryStore()
    return lambda: memory if request.param == "memory" else SqliteStore(str(tmp_path / "orders.db"))


class Location(msgspec.Struct):
    lat: float
    lng: float


@mg.step
async def confirm(order_id: str) -> str:
    await GATES.of("confirm").wait()
    return f"card of {order_id}: 4242"


@mg.step
async def prepare(order_id: str) -> None:
    await GATES.of("prepare").wait()


@mg.step
async def pick_up(order_id: str) -> None:
    await GATES.of("pick_up").wait()


@mg.step
async def deliver(order_id: str) -> None:
    await GATES.of("deliver").wait()


@mg.step
async def complete(order_id: str) -> None:
    await GATES.of("complete").wait()


@mg.workflow
async def deliver_food(order_id: str) -> None:
    mg.update_view(
        order_id=order_id,
        status="pending",
        steps_pending=["confirmed", "preparing", "picked_up", "delivering", "complete"],
    )
    await confirm.options(name="confirmed")(order_id)
    mg.update_view(status="confirmed")
    await prepare.options(name="preparing")(order_id)
    await pick_up.options(name="picked_up")(order_id)
    mg.update_view(
        status="dasher_on_the_way",
        dasher_name="John",
        dasher_location=Location(52.52, 13.405),
        eta_minutes=12,
    )
    await deliver.options(name="delivering")(order_id)
    mg.update_view(status="delivered", eta_minutes=0)
    await complete(order_id)


ON_THE_WAY = {
    "order_id": "order_abc",
    "status": "dasher_on_the_way",
    "dasher_name": "John",
    "dasher_location": {"lat": 52.52, "lng": 13.405},
    "eta_minutes": 12,
    "steps_completed": ["confirmed", "preparing", "picked_up"],
    "steps_pending": ["delivering", "complete"],
}
"""The delivery example's JSON, word by word."""
DELIVERED = ON_THE_WAY | {
    "status": "delivered",
    "eta_minutes": 0,
    "steps_completed": ["confirmed", "preparing", "picked_up", "delivering", "complete"],
    "steps_pending": [],
}


async def shows(run: mg.RunHandle[Any], expected: Json) -> None:
    """Wait until this is the run's view."""

    async def is_shown() -> bool:
        return await run.view() == expected

    await eventually(is_shown)


async def watched(run: mg.RunHandle[Any], into: list[Json]) -> None:
    async for view in run.watch():
        into.append(view)  # noqa: PERF401 - the test looks at them as they come


async def test_the_customer_sees_exactly_the_json_of_the_delivery_example(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm", "prepare", "pick_up")
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc", id="order_abc")
        await shows(run, ON_THE_WAY)
        gates.let("deliver", "complete")
        await run.result()
        assert await run.view() == DELIVERED


async def test_the_view_of_a_run_that_nobody_drives_is_still_there(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm", "prepare", "pick_up")
    async with engine_on(store(), grace_seconds=0) as engine:
        await shows(await engine.start(deliver_food, "order_abc", id="order_abc"), ON_THE_WAY)
    async with engine_on(store(), work=False) as client:
        assert await (await client.get("order_abc")).view() == ON_THE_WAY


async def test_a_watcher_gets_the_view_as_it_is_and_then_each_change_to_the_end(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm", "prepare", "pick_up")
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc", id="order_abc")
        await shows(run, ON_THE_WAY)
        seen: list[Json] = []
        watching = asyncio.create_task(watched(run, seen))
        await until(lambda: seen)
        gates.let("deliver")
        await until(lambda: seen[-1]["status"] == "delivered")
        gates.let("complete")
        await watching
    delivered = DELIVERED | {
        "steps_completed": DELIVERED["steps_completed"][:4],
        "steps_pending": ["complete"],
    }
    assert seen == [ON_THE_WAY, delivered, DELIVERED]


async def test_a_watcher_from_the_start_sees_every_state_once_whatever_the_pace(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm", "prepare", "pick_up", "deliver", "complete")
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc")
        seen: list[Json] = []
        await watched(run, seen)
    assert [len(view["steps_completed"]) for view in seen][-1] == 5
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert seen[-1]["status"] == "delivered"


async def test_watching_a_run_that_has_ended_gives_its_last_view_once(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm", "prepare", "pick_up", "deliver", "complete")
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc", id="order_abc")
        await run.result()
        assert [view async for view in run.watch()] == [DELIVERED | {"order_id": "order_abc"}]


async def test_another_process_watches_and_runs_no_code_of_the_workflow(tmp_path: Path, gates: Gates) -> None:
    path = str(tmp_path / "orders.db")
    seen: list[Json] = []
    async with engine_on(SqliteStore(path)) as worker, engine_on(SqliteStore(path), work=False) as client:
        await worker.start(deliver_food, "order_abc", id="order_abc")
        watching = asyncio.create_task(watched(await client.get("order_abc"), seen))
        for step in ("confirm", "prepare", "pick_up", "deliver", "complete"):
            count = len(seen)
            gates.let(step)
            await until(lambda count=count: len(seen) > count)
        await watching
    assert seen[-1] == DELIVERED
    assert ON_THE_WAY in seen


async def test_several_watch_the_same_run(store: Callable[[], Store], gates: Gates) -> None:
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc", id="order_abc")
        several: list[list[Json]] = [[], [], []]
        watching = [asyncio.create_task(watched(run, seen)) for seen in several]
        await until(lambda: all(several))
        watching[0].cancel()
        gates.let("confirm", "prepare", "pick_up", "deliver", "complete")
        await asyncio.gather(*watching[1:])
    assert several[1][-1] == several[2][-1] == DELIVERED


async def test_a_watcher_changes_its_view_and_harms_no_other(
    store: Callable[[], Store], gates: Gates
) -> None:
    gates.let("confirm")
    async with engine_on(store()) as engine:
        run = await engine.start(deliver_food, "order_abc")
        async for view in run.watch():
            view["steps_pending"].append("dance")
            if view["status"] == "confirmed":
                break
        assert "dance" not in (await run.view())["steps_pending"]


async def test_what_is_not_durable_is_not_shown() -> None:
    store = MemoryStore()
    held = asyncio.Event()
    commit = store.commit

    async def slow(epoch: int, writes: Any) -> Any:
        if any(b"ViewUpdated" in write.entry.data for write in writes):
            await held.wait()
        return await commit(epoch, writes)

    @mg.step
    async def first() -> None: ...

    @mg.workflow
    async def showing() -> None:
        await first()
        mg.update_view(status="shown")

    async with engine_on(store) as engine:
        run = await engine.start(showing)
        store.commit = slow  # type: ignore[method-assign]
        worker = engine.backend.worker  # type: ignore[attr-defined]
        await until(lambda: worker.runs[run.id].state.view is not None)
        assert (await run.view())["status"] == "RUNNING"
        held.set()
        await run.result()
        assert (await run.view())["status"] == "shown"


async def test_the_view_of_a_run_that_is_parked_because_of_its_code_says_so(
    store: Callable[[], Store],
) -> None:
    @mg.workflow(name="deliver_food")
    async def other(order_id: str) -> None:
        await complete(order_id)

    async with engine_on(store(), grace_seconds=0) as engine:
        run = await engine.start(deliver_food, "order_abc", id="order_abc")
        await until(lambda: GATES.open)
    async with engine_on(store(), other) as engine:
        run = await engine.get("order_abc")

        async def is_parked() -> bool:
            return (await run.describe()).status == "PARKED"

        await eventually(is_parked)
        assert (await run.view())["status"] == "pending"


async def test_watching_ends_with_an_error_when_the_engine_is_closed(store: Callable[[], Store]) -> None:
    seen: list[Json] = []
    async with engine_on(store(), grace_seconds=0) as engine:
        run = await engine.start(deliver_food, "order_abc")
        watching = asyncio.create_task(watched(run, seen))
        await until(lambda: seen)
    with pytest.raises(mg.StoreError, match="closed"):
        await watching


async def test_an_unknown_run_has_no_view(store: Callable[[], Store]) -> None:
    async with engine_on(store()) as engine:
        run = mg.RunHandle("lost", engine, None)
        with pytest.raises(mg.RunNotFound):
            await run.view()
        with pytest.raises(mg.RunNotFound):
            await anext(run.watch())


async def test_a_watcher_in_the_workers_process_polls_nothing(gates: Gates) -> None:
    async with engine_on(MemoryStore(), grace_seconds=0) as engine:
        run = await engine.start(deliver_food, "order_abc")
        seen: list[Json] = []
        watching = asyncio.create_task(watched(run, seen))
        await until(lambda: seen)
        await until(lambda: GATES.open)
        assert "makegood-follow" not in {task.get_name() for task in asyncio.all_tasks()}
        watching.cancel()


async def test_a_watcher_sees_the_end_of_a_run_that_is_terminated_asleep(
    store: Callable[[], Store],
) -> None:
    @mg.workflow
    async def patient() -> None:
        mg.update_view(room=5)
        await mg.sleep(1_000_000)

    async with engine_on(store(), waiting_limit=0) as engine:
        run = await engine.start(patient)
        seen: list[Json] = []
        watching = asyncio.create_task(watched(run, seen))
        worker = engine.backend.worker  # type: ignore[attr-defined]
        await until(lambda: seen and run.id not in worker.runs)
        await run.terminate(why="closing")
        await watching
    assert [view["status"] for view in seen] == ["RUNNING", "TERMINATED"]
    assert seen[-1]["room"] == 5
