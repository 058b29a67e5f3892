"""Every store: how runs stand: which have not ended, how long they took, which have missed steps."""

import pytest

from tests.contract.places import Place
from tests.contract.scripts import Script
from tests.contract.test_commit import working

pytestmark = pytest.mark.anyio


async def test_runs_that_have_not_ended_come_the_oldest_first_by_workflow(place: Place) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script(f"r-{n}", "ship" if n % 3 else "greet") for n in range(9)]
        await store.commit(epoch, [script.create() for script in scripts])
        await store.commit(epoch, [scripts[1].finish()])
        assert await store.unfinished_workflows() == ["greet", "ship"]
        ship = await store.unfinished("ship", 0, 3)
        assert [row.id for row in ship] == ["r-2", "r-4", "r-5"]
        assert [row.id for row in await store.unfinished("ship", ship[-1].key, 100)] == ["r-7", "r-8"]
        assert await store.unfinished("nobody", 0, 100) == []


async def test_durations_are_those_of_completed_runs_among_the_newest(place: Place) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script(f"r-{n}", started_at=100.0 * n) for n in range(4)]
        await store.commit(epoch, [script.create() for script in scripts])
        ends = [("COMPLETED", 500.0), ("FAILED", 500.0), ("COMPLETED", 210.0)]
        await store.commit(epoch, [one.finish(*end) for one, end in zip(scripts, ends, strict=False)])
        assert sorted(await store.durations(10)) == [("greet", 10.0), ("greet", 500.0)]
        assert await store.durations(2) == [("greet", 10.0)]


async def test_completed_runs_with_missed_steps_are_listed_until_those_are_made_good_or_the_run_pruned(
    place: Place,
) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script(f"r-{n}") for n in range(4)]
        await store.commit(epoch, [script.create() for script in scripts])
        ended = [script.finish() for script in scripts[:3]]
        for write in ended[:2]:
            write.missed = 2
        await store.commit(epoch, ended)
        newest, oldest = await store.missed(None, 10)
        assert (newest.id, oldest.id) == ("r-1", "r-0")
        assert [row.id for row in await store.missed("greet", 1)] == ["r-1"]
        assert [row.id for row in await store.missed("greet", 10, newest.key)] == ["r-0"]
        assert await store.missed("ship", 10) == []
        made_good = scripts[1].append()
        made_good.status, made_good.missed = "COMPLETED", 0
        await store.commit(epoch, [made_good])
        assert [row.id for row in await store.missed(None, 10)] == ["r-0"]
        await store.prune(3000.0, 4000.0, lambda data: data)
        assert await store.missed(None, 10) == []
