"""Every store: who drives a run, and how runs of a dead worker find a new one."""

import pytest

from makegood.store.protocol import Store
from tests.contract.places import Place
from tests.contract.scripts import Script
from tests.contract.test_commit import journal_of, opened, working

pytestmark = pytest.mark.anyio


async def left_behind(place: Place, scripts: list[Script]) -> None:
    """A worker creates these runs and dies."""
    async with working(place) as (store, epoch):
        await store.commit(epoch, [script.create() for script in scripts])


async def adopted(store: Store, epoch: int, workflows: list[str], limit: int = 100) -> list[str]:
    return [row.id for row in await store.adopt(epoch, [(name, 1) for name in workflows], limit)]


async def test_the_next_worker_adopts_what_the_last_left_once(place: Place) -> None:
    await left_behind(place, [Script(f"order-{n}") for n in range(3)])
    async with working(place) as (store, epoch):
        rows = await store.adopt(epoch, [("greet", 1)], 100)
        assert [row.id for row in rows] == ["order-0", "order-1", "order-2"]
        assert rows[0] == await store.find("order-0")
        assert await adopted(store, epoch, ["greet"]) == []


async def test_adopting_goes_in_chunks_the_oldest_first(place: Place) -> None:
    await left_behind(place, [Script(f"order-{n}") for n in range(5)])
    async with working(place) as (store, epoch):
        assert await adopted(store, epoch, ["greet"], 2) == ["order-0", "order-1"]
        assert await adopted(store, epoch, ["greet"], 2) == ["order-2", "order-3"]
        assert await adopted(store, epoch, ["greet"], 2) == ["order-4"]
        assert await adopted(store, epoch, ["greet"], 2) == []


async def test_only_runs_of_known_workflows_are_adopted(place: Place) -> None:
    await left_behind(place, [Script("a", "greet"), Script("b", "ship"), Script("c", "bill")])
    async with working(place) as (store, epoch):
        assert await adopted(store, epoch, []) == []
        assert await adopted(store, epoch, ["greet", "bill"]) == ["a", "c"]
        assert [row.id for row in await store.unadopted(epoch)] == ["b"]
        assert await adopted(store, epoch, ["ship"]) == ["b"]
        assert await store.unadopted(epoch) == []


async def test_only_runs_of_known_versions_are_adopted(place: Place) -> None:
    runs = [Script("a", "greet"), Script("b", "greet", version=2), Script("c", "ship", version=3)]
    await left_behind(place, runs)
    async with working(place) as (store, epoch):
        assert [row.id for row in await store.adopt(epoch, [("greet", 2), ("ship", 1)], 10)] == ["b"]
        assert {row.id: row.version for row in await store.unadopted(epoch)} == {"a": 1, "c": 3}
        assert {row.id: row.version for row in await store.list()} == {"a": 1, "b": 2, "c": 3}
        assert [row.id for row in await store.adopt(epoch, [("greet", 1), ("ship", 3)], 10)] == ["a", "c"]


async def test_a_sleeping_run_is_woken_only_for_its_version(place: Place) -> None:
    script = Script("a", version=2)
    async with working(place) as (store, epoch):
        await store.commit(epoch, [script.create()])
        assert script.key is not None
        await store.set_wake(epoch, [(script.key, 5.0)])
        assert await store.adopt(epoch, [("greet", 1)], 10, 6.0) == []
        assert [row.id for row in await store.adopt(epoch, [("greet", 2)], 10, 6.0)] == ["a"]


async def test_ended_runs_are_not_adopted(place: Place) -> None:
    ended, running = Script("ended"), Script("running")
    async with working(place) as (store, epoch):
        await store.commit(epoch, [ended.create(), running.create()])
        await store.commit(epoch, [ended.finish()])
    async with working(place) as (store, epoch):
        assert await adopted(store, epoch, ["greet"]) == ["running"]


async def test_parked_runs_are_adopted(place: Place) -> None:
    parked = Script("parked")
    async with working(place) as (store, epoch):
        await store.commit(epoch, [parked.create()])
        await store.commit(epoch, [parked.move("PARKED")])
    async with working(place) as (store, epoch):
        assert [row.status for row in await store.adopt(epoch, [("greet", 1)], 10)] == ["PARKED"]


async def test_a_worker_does_not_adopt_its_own_runs(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script("order-1").create()])
        assert await adopted(store, epoch, ["greet"]) == []
        assert await store.unadopted(epoch) == []


async def test_the_next_worker_goes_on_writing_an_adopted_run(place: Place) -> None:
    script = Script("order-1")
    await left_behind(place, [script])
    async with working(place) as (store, epoch):
        await store.adopt(epoch, [("greet", 1)], 10)
        await store.commit(epoch, [script.append(b"more")])
        await store.commit(epoch, [script.finish()])
        assert await journal_of(store, "order-1") == [b"{}", b"more", b"{}"]


async def test_a_run_adopted_and_left_again_is_adopted_by_the_third(place: Place) -> None:
    await left_behind(place, [Script("order-1")])
    for _ in range(2):
        async with working(place) as (store, epoch):
            assert await adopted(store, epoch, ["greet"]) == ["order-1"]


async def test_a_client_submits_a_run_and_the_worker_adopts_it(place: Place) -> None:
    async with opened(place) as store:
        assert await store.submit(Script("order-1").create(b"first"))
        row = await store.find("order-1")
        assert row is not None
        assert (row.status, row.workflow) == ("RUNNING", "greet")
        epoch = await store.take_over("tester")
        assert epoch is not None
        assert [row.id for row in await store.unadopted(epoch)] == ["order-1"]
        assert await adopted(store, epoch, ["greet"]) == ["order-1"]
        assert await journal_of(store, "order-1") == [b"first"]


async def test_submitting_a_taken_id_writes_nothing(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script("committed").create(b"first")])
        assert await store.submit(Script("submitted").create(b"first"))
        for run_id in ("committed", "submitted"):
            assert not await store.submit(Script(run_id).create(b"again"))
            assert await journal_of(store, run_id) == [b"first"]


async def test_a_run_submitted_while_the_worker_creates_others(place: Place) -> None:
    async with working(place) as (store, epoch):
        keys = set()
        for number in range(20):
            write = Script(f"{number}").create()
            if number % 2:
                assert await store.submit(write)
            else:
                await store.commit(epoch, [write])
            keys.add(write.key)
        assert len(keys) == 20


async def test_a_store_has_one_worker_at_a_time(place: Place) -> None:
    async with working(place) as (store, epoch):
        if await store.take_over("the same again") is not None:
            pytest.fail("a worker took over from itself while it was working")
        await store.commit(epoch, [Script("order-1").create()])


async def test_another_process_is_refused_while_a_worker_works(shared_place: Place) -> None:
    async with working(shared_place) as (first, epoch), opened(shared_place) as second:
        assert await second.take_over("second") is None
        assert await second.owner() == "tester"
        await first.commit(epoch, [Script("order-1").create()])


async def test_another_process_takes_over_after_the_worker_has_closed(shared_place: Place) -> None:
    async with opened(shared_place) as second:
        async with working(shared_place) as (first, old):
            await first.commit(old, [Script("order-1").create()])
            assert await second.take_over("second") is None
        new = await second.take_over("second")
        assert new is not None
        assert new > old
        assert await adopted(second, new, ["greet"]) == ["order-1"]


async def test_closing_a_client_leaves_the_worker_its_place(shared_place: Place) -> None:
    async with working(shared_place) as (first, epoch), opened(shared_place) as third:
        async with opened(shared_place) as second:
            assert await second.take_over("second") is None
        assert await third.take_over("third") is None
        await first.commit(epoch, [Script("order-1").create()])


async def test_clients_see_what_the_worker_has_committed(shared_place: Place) -> None:
    async with working(shared_place) as (worker, epoch), opened(shared_place) as client:
        script = Script("order-1")
        await worker.commit(epoch, [script.create(b"1")])
        assert await journal_of(client, "order-1") == [b"1"]
        await worker.commit(epoch, [script.finish()])
        row = await client.find("order-1")
        assert row is not None
        assert row.status == "COMPLETED"


async def test_the_worker_sees_what_clients_submit(shared_place: Place) -> None:
    async with working(shared_place) as (worker, epoch), opened(shared_place) as client:
        await worker.commit(epoch, [Script("own").create()])
        assert await client.submit(Script("order-1").create())
        await worker.commit(epoch, [Script("own too").create()])
        assert await adopted(worker, epoch, ["greet"]) == ["order-1"]


async def test_two_clients_submit_one_id_and_one_of_them_creates_it(shared_place: Place) -> None:
    async with opened(shared_place) as first, opened(shared_place) as second:
        assert await first.submit(Script("order-1").create(b"first"))
        assert not await second.submit(Script("order-1").create(b"second"))
        assert await journal_of(second, "order-1") == [b"first"]


async def test_whether_a_worker_is_alive_can_be_seen(place: Place) -> None:
    async with opened(place) as store:
        assert not await store.is_worked()
    async with working(place) as (store, _epoch):
        assert await store.is_worked()
    async with opened(place) as store:
        assert not await store.is_worked()
