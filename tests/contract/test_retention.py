"""Every store: what ended long ago is pruned, its tombstone keeps the id, and what is needed stays."""

import pytest

from makegood.store.protocol import InboxAnswer, Pin, Store, Where
from tests.contract.places import Place
from tests.contract.scripts import Script
from tests.contract.test_commit import opened, working

pytestmark = pytest.mark.anyio

NOW = 9_000.0


def digest(data: bytes) -> bytes:
    return b"of " + data


async def prune(store: Store, before: float) -> int:
    pruned, after_key = 0, 0
    while True:
        runs, following = await store.prune(before, NOW, digest, after_key=after_key)
        pruned += runs
        if following is None:
            return pruned
        assert following > after_key
        after_key = following


async def ended(store: Store, epoch: int, *scripts: Script, at: float = 2_000.0) -> None:
    await store.commit(epoch, [script.create(script.id.encode()) for script in scripts])
    await store.commit(epoch, [script.finish(ended_at=at) for script in scripts])


async def test_only_runs_that_ended_before_the_time_are_pruned(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("old"), at=1_999.0)
        await ended(store, epoch, Script("young"), at=2_000.0)
        await store.commit(epoch, [Script("running").create()])
        assert await prune(store, 2_000.0) == 1
        assert [row.id for row in await store.list()] == ["running", "young"]
        assert await store.count() == 2
        assert await store.count(Where("COMPLETED")) == 1
        assert await prune(store, 2_000.0) == 0


async def test_a_tombstone_keeps_the_id_how_it_ended_and_what_it_was_asked(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("old", tags={"a": "b"}))
        await prune(store, 3_000.0)
        row = await store.find("old")
        assert row is not None
        assert (row.status, row.ended_at, row.pruned_at, row.input_hash) == (
            "COMPLETED",
            2_000.0,
            NOW,
            b"of old",
        )
        assert list(await store.journal(row.key)) == []
        assert await store.list(Where(tags={"a": "b"})) == []
        assert await store.submit(Script("old").create()) is False
        again = Script("old").create()
        assert await store.commit(epoch, [again, Script("new").create()]) == [again]


async def test_a_pinned_run_stays_until_it_is_unpinned(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("old"))
        pin = Pin("ada", "audit ☃", 8_000.0)
        assert await store.set_pin("old", pin)
        assert await prune(store, 3_000.0) == 0
        row = await store.find("old")
        assert row is not None
        assert row.pin == pin
        assert await store.set_pin("old", None)
        assert await prune(store, 3_000.0) == 1
        assert not await store.set_pin("old", pin)
        assert not await store.set_pin("nobody", pin)


async def test_a_run_goes_with_all_that_it_called(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("p"), Script("p/1", parent="p"), Script("p/1/1", parent="p/1"))
        assert await prune(store, 3_000.0) == 3
        assert await store.count() == 0


@pytest.mark.parametrize("kept", ["p", "p/1", "p/1/1"])
async def test_a_family_stays_as_long_as_one_of_it_has_to(place: Place, kept: str) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("p"), Script("p/1", parent="p"), Script("p/1/1", parent="p/1"))
        await store.set_pin(kept, Pin("ada", "", 1.0))
        assert await prune(store, 3_000.0) == 0
        assert await store.count() == 3


async def test_a_child_is_needed_as_long_as_its_parent_goes_on(place: Place) -> None:
    async with working(place) as (store, epoch):
        parent = Script("p")
        await store.commit(epoch, [parent.create()])
        await ended(store, epoch, Script("p/1", parent="p"))
        assert await prune(store, 3_000.0) == 0
        await store.commit(epoch, [parent.finish(ended_at=2_500.0)])
        assert await prune(store, 2_500.0) == 0
        assert await prune(store, 2_501.0) == 2


async def test_requests_and_answers_go_with_their_run(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, Script("old"))
        waiting, answered = [await store.post("old", b"request") for _ in range(2)]
        other = await store.post("other", b"request")
        await store.answer(epoch, [InboxAnswer(answered)])
        await prune(store, 3_000.0)
        assert [one.number for one in await store.inbox()] == [other]
        assert await store.take_answer(answered) is None
        assert waiting != other


async def test_many_runs_are_pruned_in_many_short_steps(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, *(Script(f"old-{n}") for n in range(2_500)))
        runs, after_key = await store.prune(3_000.0, NOW, digest)
        assert 0 < runs < 200
        assert after_key is not None
        assert await prune(store, 3_000.0) == 2_500 - runs
        assert await store.count() == 0


async def test_a_client_may_prune_beside_a_worker(shared_place: Place) -> None:
    async with working(shared_place) as (worker, epoch), opened(shared_place) as client:
        await ended(worker, epoch, Script("old"))
        assert await prune(client, 3_000.0) == 1
        assert await worker.count() == 0
        await worker.commit(epoch, [Script("new").create()])


async def test_tombstones_are_removed_when_asked_and_their_ids_are_free(place: Place) -> None:
    async with working(place) as (store, epoch):
        await ended(store, epoch, *(Script(f"old-{n}") for n in range(3)))
        await prune(store, 3_000.0)
        assert (await store.forget(NOW)).runs == 0
        assert (await store.forget(NOW + 1)).runs == 3
        assert await store.find("old-1") is None
        assert await store.commit(epoch, [Script("old-1").create(b"anew")]) == []
        assert [row.id for row in await store.list()] == ["old-1"]
        assert await store.count() == 1
