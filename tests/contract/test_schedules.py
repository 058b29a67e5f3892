"""Every store: schedules, which advance together with the creation of their ticks' runs."""

import asyncio

import pytest

from makegood.errors import StoreFenced
from makegood.store.protocol import ScheduleRow, Store
from tests.contract.places import Place
from tests.contract.scripts import Script
from tests.contract.test_commit import journal_of, opened, working

pytestmark = pytest.mark.anyio


def row(revision: int, data: bytes = b"{}", workflow: str = "nightly") -> ScheduleRow:
    return ScheduleRow(workflow, revision, data)


async def ids(store: Store) -> list[str]:
    return [run.id for run in await store.list()]


async def test_there_are_no_schedules_at_first(place: Place) -> None:
    async with opened(place) as store:
        assert list(await store.schedules()) == []


async def test_a_schedule_comes_back_with_the_number_of_its_writes(place: Place) -> None:
    async with opened(place) as store:
        assert await store.change_schedule(row(0, b"new"))
        assert list(await store.schedules()) == [row(1, b"new")]
        assert await store.change_schedule(row(1, b"paused"))
        assert list(await store.schedules()) == [row(2, b"paused")]


async def test_schedules_are_listed_by_name(place: Place) -> None:
    async with opened(place) as store:
        for name in ("weekly", "nightly", "Ä", "hourly"):
            await store.change_schedule(row(0, workflow=name))
        assert [one.workflow for one in await store.schedules()] == ["hourly", "nightly", "weekly", "Ä"]


@pytest.mark.parametrize("revision", [0, 1, 3])
async def test_what_was_read_at_another_revision_is_not_written(place: Place, revision: int) -> None:
    async with working(place) as (store, epoch):
        await store.change_schedule(row(0))
        await store.change_schedule(row(1, b"newest"))
        tick = Script("nightly@2").create()
        assert not await store.change_schedule(row(revision, b"stale"))
        assert not await store.advance_schedule(epoch, row(revision, b"stale"), [tick])
        assert list(await store.schedules()) == [row(2, b"newest")]
        assert await ids(store) == []
        assert tick.key is None


async def test_a_schedule_that_was_never_written_has_no_revision(place: Place) -> None:
    async with opened(place) as store:
        assert not await store.change_schedule(row(1))
        assert list(await store.schedules()) == []


async def test_advancing_creates_the_ticks_runs_to_be_adopted(place: Place) -> None:
    async with working(place) as (store, epoch):
        ticks = [Script(f"nightly@{n}", "nightly").create(b"started") for n in (1, 2)]
        assert await store.advance_schedule(epoch, row(0, b"at 2"), ticks)
        assert list(await store.schedules()) == [row(1, b"at 2")]
        assert [run.id for run in await store.unadopted(epoch)] == ["nightly@1", "nightly@2"]
        assert [run.key for run in await store.adopt(epoch, [("nightly", 1)], 10)] == [
            tick.key for tick in ticks
        ]
        assert await journal_of(store, "nightly@2") == [b"started"]


async def test_a_run_that_exists_is_left_alone_and_the_others_are_created(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script("nightly@1", "nightly").create(b"first")])
        ticks = [Script(f"nightly@{n}", "nightly").create(b"again") for n in (1, 2)]
        assert await store.advance_schedule(epoch, row(0), ticks)
        assert [tick.key is None for tick in ticks] == [True, False]
        assert await journal_of(store, "nightly@1") == [b"first"]
        assert await journal_of(store, "nightly@2") == [b"again"]


async def test_a_fenced_worker_advances_nothing(place: Place) -> None:
    async with working(place) as (_, old):
        pass
    async with working(place) as (store, _):
        tick = Script("nightly@1").create()
        with pytest.raises(StoreFenced):
            await store.advance_schedule(old, row(0), [tick])
        assert list(await store.schedules()) == []
        assert await ids(store) == []
        assert tick.key is None


async def test_a_change_by_another_process_is_noticed(shared_place: Place) -> None:
    async with working(shared_place) as (store, _), opened(shared_place) as client:
        version = await store.next_change(-1)
        await client.change_schedule(row(0))
        assert await store.next_change(version) != version
        assert list(await store.schedules()) == [row(1)]


async def test_of_two_processes_that_change_it_at_once_one_has_to_read_again(shared_place: Place) -> None:
    async with working(shared_place) as (store, epoch), opened(shared_place) as client:
        written = await asyncio.gather(
            store.advance_schedule(epoch, row(0, b"worker"), []), client.change_schedule(row(0, b"client"))
        )
        assert sorted(written) == [False, True]
        assert list(await store.schedules()) == [row(1, b"worker" if written[0] else b"client")]


async def test_a_schedule_is_removed_if_nobody_wrote_it_since_it_was_read(place: Place) -> None:
    async with opened(place) as store:
        await store.change_schedule(row(0))
        await store.change_schedule(row(1, b"newest"))
        await store.change_schedule(row(0, workflow="weekly"))
        assert not await store.remove_schedule(row(1))
        assert not await store.remove_schedule(row(0, workflow="unknown"))
        assert await store.remove_schedule(row(2))
        assert [one.workflow for one in await store.schedules()] == ["weekly"]
        assert await store.change_schedule(row(0))
        assert not await store.remove_schedule(row(2))
