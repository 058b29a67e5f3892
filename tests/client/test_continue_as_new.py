"""Runs of many legs: one id, one journal, and the cost of the last leg only."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import msgspec
import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import SealedEntry, Store
from makegood.store.sqlite import SqliteStore
from tests.until import eventually
from tests.worker.engines import engine_on, names

LEGS = 1_000


@mg.step
async def work(number: int) -> int:
    return number


Go = mg.Signal("go", int)


@mg.workflow
async def endless(number: int, last: int) -> str:
    await work(number)
    await work(-number)
    if number < last:
        mg.continue_as_new(number + 1, last)
    return f"{number} legs"


@mg.workflow
async def collector(total: int = 0) -> int:
    value = await Go.receive()
    mg.update_view(total=total + value)
    if value:
        mg.continue_as_new(total + value)
    return total


@mg.workflow
async def waits_at_last(number: int, last: int) -> int:
    await work(number)
    if number < last:
        mg.continue_as_new(number + 1, last)
    return await Go.receive()


class CountingStore(MemoryStore):
    """Counts the entries that are read."""

    read = 0

    async def journal(self, key: int, *, after: int = 0, limit: int = -1) -> list[SealedEntry]:
        entries = list(await super().journal(key, after=after, limit=limit))
        self.read += len(entries)
        return entries


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runs.db"))


def test_a_run_of_a_thousand_legs_is_one_run_with_one_verified_history(store):
    async def main() -> None:
        async with engine_on(store, endless) as engine:
            run = await engine.start(endless, 1, LEGS, id="endless")
            assert await run.result() == f"{LEGS} legs"
            assert len(await engine.list()) == 1
            described = await run.describe()
            assert (described.leg, described.input, len(described.steps)) == (LEGS, [LEGS, LEGS], 2)
            assert [step.number for step in described.steps] == [2 * LEGS - 1, 2 * LEGS]
            history = await run.history()
            assert names(history).count("RunContinued") == LEGS - 1
            assert names(history).count("StepScheduled") == 2 * LEGS
            assert await run.verify() == 2 * LEGS + 1
            again = await engine.start(endless, 1, LEGS, id="endless")
            assert await again.result() == f"{LEGS} legs"
            with pytest.raises(mg.RunConflict, match="with another input"):
                await engine.start(endless, LEGS, LEGS, id="endless")

    asyncio.run(main())


def test_keys_of_all_legs_are_others(store):
    keys = []

    @mg.step
    async def note() -> None:
        keys.append(mg.idempotency_key())

    @mg.workflow
    async def notes(number: int = 1) -> None:
        await note()
        if number < 5:
            mg.continue_as_new(number + 1)

    async def main() -> None:
        async with engine_on(store, notes) as engine:
            await engine.run(notes, id="n")

    asyncio.run(main())
    assert keys == [f"n/{number}/note" for number in range(1, 6)]


def entries_read_by_a_restart(legs: int) -> int:
    store = CountingStore()

    async def main() -> int:
        async with engine_on(store, waits_at_last) as engine:
            run = await engine.start(waits_at_last, 1, legs, id="r")
            await eventually(lambda: waits_for_go(run))
        store.read = 0
        async with engine_on(store, waits_at_last) as engine:
            run = await engine.get("r")
            await run.signal(Go, 7)
            assert await run.result() == 7
            read = store.read
            await run.describe()
            await run.view()
            assert store.read - read <= 2 * 4
        return read

    return asyncio.run(main())


async def waits_for_go(run: mg.RunHandle) -> bool:
    return "signal go" in (await run.describe()).waiting_for


def test_a_restart_and_a_description_read_the_last_leg_only():
    assert entries_read_by_a_restart(2) == entries_read_by_a_restart(LEGS)


def test_memory_does_not_grow_with_the_legs(tmp_path):
    """On a file, as the memory store keeps every journal by its nature."""
    sizes = []

    @mg.step
    async def weigh() -> None:
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])

    @mg.workflow
    async def heavy(number: int, text: str) -> None:
        await work(number)
        if number in (100, LEGS):
            await weigh()
        if number < LEGS:
            mg.continue_as_new(number + 1, text)

    async def main() -> None:
        async with engine_on(SqliteStore(str(tmp_path / "runs.db")), heavy) as engine:
            tracemalloc.start()
            try:
                await engine.run(heavy, 1, "x" * 1_000)
            finally:
                tracemalloc.stop()

    asyncio.run(main())
    early, late = sizes
    assert late - early < 100_000, f"{early:,} bytes after 100 legs, {late:,} after {LEGS:,}"


def test_a_collector_of_signals_goes_on_over_restarts(store):
    async def main() -> None:
        async with engine_on(store, collector) as engine:
            await engine.start(collector, id="c")
        total = 0
        for life in range(5):
            async with engine_on(store, collector, waiting_limit=0 if life % 2 else 1_000) as engine:
                run = await engine.get("c")
                for value in range(1, 21):
                    await run.signal(Go, value)
                    total += value
                await eventually(lambda run=run, total=total: has_total(run, total))
        async with engine_on(store, collector) as engine:
            run = await engine.get("c")
            await run.signal(Go, 0)
            assert await run.result() == total
            assert (await run.describe()).leg == 101
            await run.verify()

    asyncio.run(main())


async def has_total(run: mg.RunHandle, total: int) -> bool:
    return (await run.view()).get("total") == total


def test_a_watcher_sees_every_leg(store):
    async def main() -> list[object]:
        async with engine_on(store, collector) as engine:
            run = await engine.start(collector, id="c")
            await run.signal(Go, 1)

            async def watch() -> list[object]:
                return [view.get("total") async for view in run.watch()]

            watching = asyncio.create_task(watch())
            for value in (2, 3, 0):
                await run.signal(Go, value)
            await run.result()
            return await watching

    assert asyncio.run(main())[-1] == 6


def test_a_child_may_go_on_as_new(store):
    @mg.workflow
    async def parent() -> str:
        return await endless(1, 5)

    async def main() -> None:
        async with engine_on(store, parent, endless) as engine:
            run = await engine.start(parent, id="p")
            assert await run.result() == "5 legs"
            assert {row.id for row in await engine.list()} == {"p", "p/1-endless"}

    asyncio.run(main())


def test_a_child_is_named_by_its_parents_leg(store):
    @mg.workflow
    async def parent(number: int = 1) -> int:
        mg.pivot()
        await endless(1, 1)
        if number < 3:
            mg.continue_as_new(number + 1)
        return number

    async def main() -> None:
        async with engine_on(store, parent, endless) as engine:
            run = await engine.start(parent, id="p")
            assert await run.result() == 3
            children = {row.id for row in await engine.list()} - {"p"}
            assert children == {f"p/{number}-endless" for number in (1, 2, 3)}

    asyncio.run(main())


def test_a_run_can_be_terminated_in_a_later_leg_without_its_code(store):
    async def main() -> None:
        async with engine_on(store, waits_at_last) as engine:
            run = await engine.start(waits_at_last, 1, 10, id="r")
            await eventually(lambda: waits_for_go(run))
        async with engine_on(store) as engine:
            run = await engine.get("r")
            await run.terminate("no longer needed")
            assert (await run.describe()).status == "TERMINATED"
            await run.verify()

    asyncio.run(main())


def test_verify_notices_a_row_that_points_to_another_leg(store):
    async def main() -> None:
        async with engine_on(store, endless) as engine:
            run = await engine.start(endless, 1, 3, id="e")
            await run.result()
            row = await store.find("e")
            assert row is not None
            if isinstance(store, MemoryStore):
                store._rows["e"] = msgspec.structs.replace(row, leg_entry=3)
            else:
                store._writer.connection.execute("UPDATE runs SET leg_entry = 3")
            with pytest.raises(mg.JournalCorrupt, match="one of the two was altered"):
                await run.verify()

    asyncio.run(main())
