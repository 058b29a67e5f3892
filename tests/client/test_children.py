"""Children as their authors use them: results, failures, cancellation, rollback, restarts, ids, operators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Store
from makegood.store.sqlite import SqliteStore
from tests.until import eventually, parked, until
from tests.worker.engines import Clock, engine_on

pytestmark = pytest.mark.anyio


class Port:
    """The world outside: what is refused, what hangs, and what has been done."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.hanging: set[str] = set()
        self.done: list[str] = []

    async def do(self, what: str) -> str:
        if what in self.refused:
            raise RuntimeError(f"{what} is refused")
        self.done.append(what)
        if what in self.hanging:
            await asyncio.get_running_loop().create_future()
        return what


PORT = Port()


@pytest.fixture(autouse=True)
def port() -> Port:
    PORT.__init__()  # type: ignore[misc]
    return PORT


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "port.db"))


@mg.step(retry=None)
async def load(what: str) -> str:
    return await PORT.do(f"load {what}")


@load.compensation(retry=None)
async def unload(loaded: str | None, what: str) -> None:
    await PORT.do(f"unload {what}")


@mg.step(retry=None)
async def sign() -> str:
    return await PORT.do("sign")


@mg.workflow
async def pallet(name: str) -> str:
    return await load(f"{name}.box")


@mg.workflow
async def crate(name: str) -> str:
    await load(f"{name}.lid")
    inner = await pallet(name)
    await load(f"{name}.seal")
    return inner


@mg.workflow
async def ship() -> list[str]:
    done = [await load("crew"), await crate("a"), await mg.start_child(crate, "b", id="crate-b")]
    await sign()
    return done


async def stands(engine: mg.Engine) -> dict[str, str]:
    return {run.id: run.status for run in await engine.list()}


@contextlib.asynccontextmanager
async def stopped_at(store: Store, what: str) -> AsyncIterator[mg.RunHandle[list[str]]]:
    """A ship whose process ended while this was under way."""
    PORT.hanging = {what}
    async with engine_on(store, grace_seconds=0.0) as engine:
        run = await engine.start(ship, id="ship")
        await until(lambda: what in PORT.done)
        yield run
    PORT.hanging = set()


async def grandchild(engine: mg.Engine) -> mg.RunHandle[Any]:
    """The ship's first pallet, once it is there."""

    async def is_there() -> bool:
        return "ship/2-crate/2-pallet" in await stands(engine)

    await eventually(is_there)
    return await engine.get("ship/2-crate/2-pallet")


# ---- results and failures --------------------------------------------------------------------------------------------


async def test_a_call_returns_its_childs_result(store: Store) -> None:
    async with engine_on(store) as engine:
        assert await engine.run(ship, id="ship") == ["load crew", "load a.box", "load b.box"]
        assert set(await stands(engine)) == {
            "ship",
            "ship/2-crate",
            "ship/2-crate/2-pallet",
            "crate-b",
            "crate-b/2-pallet",
        }
        child = await engine.get("crate-b")
        assert await child.result() == "load b.box"
        assert (await child.describe()).parent == "ship"


async def test_a_failing_step_undoes_completed_children_and_grandchildren_in_reverse_order(
    store: Store,
) -> None:
    PORT.refused = {"sign"}
    async with engine_on(store) as engine:
        with pytest.raises(mg.RunCompensated, match="undone: crate, crate, load"):
            await engine.run(ship, id="ship")
        undone = [what.removeprefix("unload ") for what in PORT.done if what.startswith("unload")]
        loaded = [what.removeprefix("load ") for what in PORT.done if what.startswith("load")]
        assert undone == loaded[::-1]
        assert set((await stands(engine)).values()) == {"COMPENSATED"}
        with pytest.raises(mg.RunCompensated, match="run ship, of which this one is a part, was rolled back"):
            await (await engine.get("crate-b")).result()
        for run in await engine.list():
            await (await engine.get(run.id)).verify()


async def test_a_childs_failure_is_its_parents_with_the_cause(store: Store) -> None:
    PORT.refused = {"load b.box"}
    async with engine_on(store) as engine:
        with pytest.raises(mg.RunCompensated, match=r"load b\.box is refused") as ended:
            await engine.run(ship, id="ship")
        assert ended.value.step == "crate"
        assert (await stands(engine))["crate-b"] == "COMPENSATED"
        assert (await stands(engine))["crate-b/2-pallet"] == "FAILED"


async def test_a_thousand_children_side_by_side_take_no_task_each() -> None:
    @mg.workflow
    async def nap(number: int) -> int:
        await asyncio.sleep(0.5)
        return number

    @mg.workflow
    async def many(count: int) -> int:
        return sum(await asyncio.gather(*(nap(number) for number in range(count))))

    async with engine_on(MemoryStore()) as engine:
        before = len(asyncio.all_tasks())
        run = await engine.start(many, 1_000)

        async def all_sleep() -> bool:
            return len(await engine.list(workflow="nap", limit=2_000)) == 1_000

        await eventually(all_sleep)
        assert len(asyncio.all_tasks()) <= before + 1
        assert await run.result() == sum(range(1_000))


async def test_a_bound_on_how_many_children_run_at_once_holds() -> None:
    running, most = 0, 0

    @mg.step
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    @mg.workflow
    async def job() -> None:
        await work()

    @mg.workflow
    async def many(count: int) -> None:
        bound = asyncio.Semaphore(5)

        async def one() -> None:
            async with bound:
                await job()

        await asyncio.gather(*(one() for _ in range(count)))

    async with engine_on(MemoryStore()) as engine:
        await engine.run(many, 100)
        assert most <= 5


# ---- cancellation ----------------------------------------------------------------------------------------------------


async def test_cancelling_the_parent_cancels_a_running_child_first(store: Store) -> None:
    PORT.hanging = {"load b.box"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        await until(lambda: "load b.box" in PORT.done)
        await run.cancel("storm", by="harbour")
        with pytest.raises(mg.RunCancelled):
            await run.result()
        order = [what for what in PORT.done if what.startswith("unload")]
        assert order == [f"unload {what}" for what in ("b.box", "b.lid", "a.seal", "a.box", "a.lid", "crew")]
        assert (await stands(engine))["crate-b"] == "CANCELLED"


async def test_a_child_that_a_client_cancels_fails_its_parents_call(store: Store) -> None:
    PORT.hanging = {"load b.box"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        await until(lambda: "load b.box" in PORT.done)
        await (await engine.get("crate-b")).cancel(by="harbour")
        with pytest.raises(mg.RunCompensated):
            await run.result()


async def test_the_loser_of_a_race_is_cancelled_and_undone(store: Store) -> None:
    @mg.workflow
    async def race() -> str:
        slow, fast = mg.start_child(crate, "slow"), mg.start_child(pallet, "fast")
        won = await fast
        slow.cancel()
        return won

    PORT.hanging = {"load slow.box"}
    async with engine_on(store) as engine:
        assert await engine.run(race, id="race") == "load fast.box"
        assert (await stands(engine))["race/1-crate"] == "CANCELLED"


# ---- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["load crew", "load a.lid", "load a.box", "load b.seal", "sign"])
async def test_a_family_goes_on_after_a_restart(store: Store, what: str) -> None:
    async with stopped_at(store, what):
        pass
    async with engine_on(store, ship) as engine:
        run = await engine.get("ship")
        assert await run.result() == ["load crew", "load a.box", "load b.box"]
        assert set((await stands(engine)).values()) == {"COMPLETED"}


async def test_a_rollback_of_a_family_goes_on_after_a_restart(store: Store) -> None:
    PORT.refused = {"sign"}
    async with stopped_at(store, "unload a.box"):
        pass
    async with engine_on(store, ship) as engine:
        with pytest.raises(mg.RunCompensated):
            await (await engine.get("ship")).result()
        assert set((await stands(engine)).values()) == {"COMPENSATED"}


async def test_a_child_that_ended_while_its_parent_could_not_go_on_is_not_lost(store: Store) -> None:
    @mg.workflow(name="ship")
    async def other_ship() -> list[str]:
        return [await sign()]

    async with stopped_at(store, "load b.seal"):
        pass
    async with engine_on(store, other_ship, crate, pallet) as engine:
        assert await (await engine.get("crate-b")).result() == "load b.box"
        assert (await stands(engine))["ship"] == "PARKED"
    async with engine_on(store, ship) as engine:
        run = await engine.get("ship")
        await run.retry()
        assert await run.result() == ["load crew", "load a.box", "load b.box"]


async def test_a_child_whose_code_no_longer_fits_parks_when_it_is_to_be_undone(store: Store) -> None:
    @mg.workflow(name="pallet")
    async def other_pallet(name: str) -> str:
        return await sign()

    @mg.workflow(name="crate")
    async def other_crate(name: str) -> str:
        await load(f"{name}.lid")
        inner = await other_pallet(name)
        await load(f"{name}.seal")
        return inner

    @mg.workflow(name="ship")
    async def same_ship() -> list[str]:
        done = [
            await load("crew"),
            await other_crate("a"),
            await mg.start_child(other_crate, "b", id="crate-b"),
        ]
        await sign()
        return done

    async with stopped_at(store, "sign"):
        pass
    PORT.refused = {"sign"}
    async with engine_on(store, same_ship) as engine:
        pallet_b = await engine.get("crate-b/2-pallet")
        await parked(pallet_b)
        assert (await stands(engine))["ship"] == "COMPENSATING"
    async with engine_on(store, ship, crate, pallet) as engine:
        await (await engine.get("crate-b/2-pallet")).retry()
        with pytest.raises(mg.RunCompensated):
            await (await engine.get("ship")).result()


async def test_a_family_that_sleeps_is_evicted_and_each_child_wakes_its_parent(store: Store) -> None:
    @mg.workflow
    async def nap(name: str) -> str:
        await asyncio.sleep(3_600)
        return await load(name)

    @mg.workflow
    async def nest(name: str) -> str:
        return await nap(name)

    @mg.workflow
    async def family(count: int) -> list[str]:
        await load("crew")
        done = list(await asyncio.gather(*(nest(str(number)) for number in range(count))))
        await sign()
        return done

    PORT.refused, clock = {"sign"}, Clock()
    async with engine_on(store, family, nest, nap, waiting_limit=0, now=clock) as engine:
        run = await engine.start(family, 10, id="family")
        worker = engine.backend.worker  # type: ignore[attr-defined]
        await eventually(lambda: all_evicted(engine, worker))
    clock.now += 3_600
    async with engine_on(store, family, nest, nap, waiting_limit=0, now=clock) as engine:
        run = await engine.get("family")
        with pytest.raises(mg.RunCompensated):
            await run.result()
        assert sorted(PORT.done) == sorted(
            [
                "load crew",
                "unload crew",
                *(f"{kind} {number}" for kind in ("load", "unload") for number in range(10)),
            ]
        )


async def all_evicted(engine: mg.Engine, worker: Any) -> bool:
    return len(await engine.list(workflow="nap")) == 10 and not worker.runs and not worker.starting


# ---- operators -------------------------------------------------------------------------------------------------------


async def test_a_compensation_that_parks_in_a_child_is_shown_in_its_parent_and_goes_on_from_there(
    store: Store,
) -> None:
    PORT.refused = {"sign", "unload a.box"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        await parked(await grandchild(engine))
        described = await (await engine.get("ship/2-crate")).describe()
        assert described.status == "COMPENSATING"
        assert described.waiting_for.startswith(
            "undoing child run ship/2-crate/2-pallet (an operator: parked since "
        )
        assert described.waiting_for.endswith(" RuntimeError: unload a.box is refused)")
        assert described.children == {"ship/2-crate/2-pallet": "PARKED"}
        described = await run.describe()
        assert described.held_up
        assert described.children == {"ship/2-crate": "COMPENSATING", "ship/2-crate/2-pallet": "PARKED"}
        assert described.waiting_for.startswith(
            "undoing child run ship/2-crate (undoing child run ship/2-crate/2-pallet (an operator: parked since "
        )
        PORT.refused = set()
        await (await engine.get("ship/2-crate/2-pallet")).retry(by="ann")
        with pytest.raises(mg.RunCompensated):
            await run.result()


async def test_what_an_operator_leaves_open_in_a_grandchild_is_residue_all_the_way_up(store: Store) -> None:
    PORT.refused = {"sign", "unload a.box"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        inner = await grandchild(engine)
        await parked(inner)
        await inner.skip(by="ann", why="sunk")
        with pytest.raises(mg.RunTerminated) as ended:
            await run.result()
        assert ended.value.residue == ("crate/pallet/load",)
        assert PORT.done[-1] == "unload crew"


async def test_terminating_a_parent_terminates_its_running_children(store: Store) -> None:
    PORT.hanging = {"load b.box"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        await until(lambda: "load b.box" in PORT.done)
        await run.terminate(why="sunk", by="harbour")
        with pytest.raises(mg.RunTerminated):
            await (await engine.get("crate-b/2-pallet")).result()
        assert (await stands(engine))["crate-b"] == "TERMINATED"


async def test_a_child_that_is_terminated_fails_its_parents_call_and_leaves_residue(store: Store) -> None:
    PORT.hanging = {"load b.seal"}
    async with engine_on(store) as engine:
        run = await engine.start(ship, id="ship")
        await until(lambda: "load b.seal" in PORT.done)
        await (await engine.get("crate-b")).terminate(by="harbour")
        with pytest.raises(mg.RunTerminated) as ended:
            await run.result()
        assert ended.value.residue == ("crate/load", "crate/pallet", "crate/load")


# ---- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_that_another_run_has_fails_the_call_and_nothing_else(store: Store) -> None:
    async with engine_on(store) as engine:
        await engine.run(crate, "b", id="crate-b")
        with pytest.raises(mg.RunCompensated, match="the id crate-b is taken by another run"):
            await engine.run(ship, id="ship")
        assert await engine.run(pallet, "c") == "load c.box"


async def test_an_id_that_another_parents_child_has_fails_the_call(store: Store) -> None:
    async with engine_on(store) as engine:
        await engine.run(ship, id="ship-1")
        with pytest.raises(mg.RunCompensated, match="the id crate-b is taken by another run"):
            await engine.run(ship, id="ship-2")
        assert (await stands(engine))["crate-b"] == "COMPLETED"


async def test_an_id_that_is_taken_at_the_same_moment_fails_one_of_the_two(store: Store) -> None:
    async with engine_on(store) as engine:
        runs = await asyncio.gather(*(engine.start(ship, id=f"ship-{number}") for number in range(3)))
        results = await asyncio.gather(*(run.result() for run in runs), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == [
            "RunCompensated",
            "RunCompensated",
            "list",
        ]


async def test_two_workflows_of_one_name_are_refused_before_the_run_begins(store: Store) -> None:
    @mg.workflow(name="crate")
    async def other_crate(name: str) -> str:
        return name

    @mg.workflow
    async def confused() -> None:
        await crate("a")
        await other_crate("b")

    async with engine_on(store) as engine:
        with pytest.raises(mg.DefinitionError, match="two workflows are called crate"):
            await engine.run(confused)
        assert await engine.list() == []


async def test_two_workflows_of_one_name_that_nobody_could_foresee_fail_the_call(store: Store) -> None:
    @mg.workflow(name="crate")
    async def other_crate(name: str) -> str:
        return name

    crates = [crate, other_crate]

    @mg.workflow
    async def confused() -> None:
        for one in crates:
            await one("a")

    async with engine_on(store) as engine:
        with pytest.raises(mg.RunCompensated, match="two workflows are called crate"):
            await engine.run(confused)


async def test_a_child_with_arguments_that_do_not_fit_fails_at_the_call(store: Store) -> None:
    @mg.workflow
    async def wrong() -> Any:
        return await pallet(7)  # type: ignore[arg-type] # the mistake under test

    async with engine_on(store) as engine:
        with pytest.raises(mg.RunFailed, match="argument 'name' of workflow pallet"):
            await engine.run(wrong)
        assert len(await engine.list()) == 1
