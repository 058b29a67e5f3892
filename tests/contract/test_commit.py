"""What every store must keep: runs, their entries, and who may write them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from makegood.errors import StoreError, StoreFenced
from makegood.store.protocol import RunRow, Store, Where
from tests.contract.places import Place
from tests.contract.scripts import Script

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    store = place.store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def working(place: Place) -> AsyncIterator[tuple[Store, int]]:
    """A store whose worker the test is, and the epoch."""
    async with opened(place) as store:
        epoch = await store.take_over("tester")
        assert epoch is not None
        yield store, epoch


async def journal_of(store: Store, run_id: str) -> list[bytes]:
    row = await store.find(run_id)
    assert row is not None
    return [entry.data for entry in await store.journal(row.key)]


async def test_a_created_run_is_found_with_its_first_entry(place: Place) -> None:
    async with working(place) as (store, epoch):
        write = Script("order-1").create(b'{"first":1}')
        assert await store.commit(epoch, [write]) == []
        assert write.key is not None
        assert await store.find("order-1") == RunRow(write.key, "order-1", "greet", "RUNNING", 1000.0, None)
        assert await journal_of(store, "order-1") == [b'{"first":1}']


async def test_an_unknown_run_is_not_found_and_an_unknown_journal_is_empty(place: Place) -> None:
    async with working(place) as (store, _):
        assert await store.find("nobody") is None
        assert list(await store.journal(12345)) == []


async def test_entries_come_back_in_order_with_number_data_and_hash(place: Place) -> None:
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create(b"1")])
        for number in range(2, 15):
            await store.commit(epoch, [script.append(str(number).encode())])
        row = await store.find("order-1")
        assert row is not None
        assert list(await store.journal(row.key)) == script.entries
        assert list(await store.journal(row.key, after=1)) == script.entries[1:]
        assert list(await store.journal(row.key, after=len(script.entries))) == []
        assert await store.length(row.key) == len(script.entries)
        assert await store.length(12345) == 0


async def test_finishing_a_run_sets_its_status_and_end(place: Place) -> None:
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create()])
        await store.commit(epoch, [script.finish("COMPENSATED", 1234.5)])
        row = await store.find("order-1")
        assert row is not None
        assert (row.status, row.ended_at) == ("COMPENSATED", 1234.5)


async def test_a_run_may_be_created_and_finished_by_the_same_entry(place: Place) -> None:
    async with working(place) as (store, epoch):
        write = Script("order-1").finish("COMPLETED", 1000.5)
        await store.commit(epoch, [write])
        row = await store.find("order-1")
        assert row is not None
        assert (row.status, row.ended_at) == ("COMPLETED", 1000.5)
        assert await store.adopt(epoch, [("greet", 1)], 10) == []


async def test_one_commit_creates_appends_and_finishes_many_runs(place: Place) -> None:
    async with working(place) as (store, epoch):
        old = [Script(f"old-{n}") for n in range(50)]
        await store.commit(epoch, [script.create() for script in old])
        new = [Script(f"new-{n}") for n in range(50)]
        batch = [script.append(b"more") for script in old[:25]]
        batch += [script.finish() for script in old[25:]]
        batch += [script.create() for script in new]
        assert await store.commit(epoch, batch) == []
        assert await journal_of(store, "old-3") == [b"{}", b"more"]
        assert len(await store.list(Where("COMPLETED"))) == 25
        assert len(await store.list(Where("RUNNING"))) == 75


@pytest.mark.parametrize("others", [0, 1, 3, 4, 5, 40])
async def test_a_taken_id_is_left_out_and_the_others_are_written(place: Place, others: int) -> None:
    async with working(place) as (store, epoch):
        first = Script("order-1").create(b"the first")
        running = Script("running")
        await store.commit(epoch, [first, running.create()])
        again = Script("order-1", workflow="other").create(b"again")
        fresh = [Script(f"fresh-{n}").create() for n in range(others)]
        taken = await store.commit(epoch, [*fresh[:1], again, *fresh[1:], running.append(b"next")])
        assert taken == [again]
        assert await journal_of(store, "order-1") == [b"the first"]
        assert await journal_of(store, "running") == [b"{}", b"next"]
        assert len({write.key for write in fresh}) == others
        for write in fresh:
            assert await journal_of(store, write.id) == [b"{}"]


async def test_an_id_stays_taken_after_its_run_has_ended(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script("order-1").finish()])
        again = Script("order-1").create(b"again")
        assert await store.commit(epoch, [again]) == [again]
        assert await journal_of(store, "order-1") == [b"{}"]


async def test_of_two_creations_of_one_id_in_one_commit_the_first_wins(place: Place) -> None:
    async with working(place) as (store, epoch):
        first, second = Script("order-1").create(b"first"), Script("order-1").create(b"second")
        other = Script("order-2").create()
        assert await store.commit(epoch, [first, second, other]) == [second]
        assert await journal_of(store, "order-1") == [b"first"]
        assert await journal_of(store, "order-2") == [b"{}"]


async def test_equal_writes_of_a_taken_id_are_all_left_out(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script("order-1").create()])
        again = [Script("order-1").create(b"again"), Script("order-1").create(b"again")]
        assert await store.commit(epoch, again) == again
        assert await journal_of(store, "order-1") == [b"{}"]


async def test_a_commit_that_fails_writes_nothing_at_all(place: Place) -> None:
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create()])
        await store.commit(epoch, [script.append()])
        del script.entries[1:]
        before, after = Script("before").create(), Script("after").create()
        with pytest.raises(StoreError):
            await store.commit(epoch, [before, script.append(b"another entry 2"), after])
        assert await journal_of(store, "order-1") == [b"{}", b"{}"]
        assert await store.find("before") is None
        assert await store.find("after") is None
        assert (before.key, after.key) == (None, None)


async def test_the_store_can_be_written_after_a_commit_that_failed(place: Place) -> None:
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create()])
        del script.entries[:]
        fresh = Script("fresh").create()
        with pytest.raises(StoreError):
            await store.commit(epoch, [fresh, script.append(b"another entry 1")])
        assert await store.commit(epoch, [fresh]) == []
        assert await journal_of(store, "fresh") == [b"{}"]


async def test_reopening_keeps_everything(place: Place) -> None:
    ended, running = Script("ended"), Script("running")
    async with working(place) as (store, epoch):
        await store.commit(epoch, [ended.create(b"1"), running.create(b"2")])
        await store.commit(epoch, [ended.finish(), running.append(b"3")])
        number = await store.post("running", b"request")
        before = list(await store.list())
    async with opened(place) as store:
        assert list(await store.list()) == before
        assert await journal_of(store, "ended") == [b"1", b"{}"]
        assert await journal_of(store, "running") == [b"2", b"3"]
        assert [request.number for request in await store.inbox()] == [number]


async def test_each_incarnation_gets_a_newer_epoch(place: Place) -> None:
    epochs = []
    for _ in range(3):
        async with working(place) as (_, epoch):
            epochs.append(epoch)
    assert epochs == sorted(set(epochs))


async def test_the_owner_is_the_newest_worker(place: Place) -> None:
    async with opened(place) as store:
        assert await store.owner() == ""
        await store.take_over("first")
        assert await store.owner() == "first"
    async with opened(place) as store:
        await store.take_over("second")
        assert await store.owner() == "second"


async def test_an_old_epoch_can_write_nothing(place: Place) -> None:
    script, finished = Script("order-1"), Script("order-2")
    async with working(place) as (store, old):
        await store.commit(old, [script.create(), finished.create()])
        number = await store.post("order-1", b"request")
    async with working(place) as (store, new):
        assert new > old
        for write in (Script("order-3").create(), script.append(), finished.finish()):
            with pytest.raises(StoreFenced, match=str(old)):
                await store.commit(old, [write])
        with pytest.raises(StoreFenced):
            await store.adopt(old, [("greet", 1)], 10)
        with pytest.raises(StoreFenced):
            await store.answer(old, [])
        assert await store.find("order-3") is None
        assert await journal_of(store, "order-1") == [b"{}"]
        assert [request.number for request in await store.inbox()] == [number]


async def test_an_old_epoch_can_write_nothing_after_the_newest_has_written(place: Place) -> None:
    async with working(place) as (store, old):
        await store.commit(old, [Script("order-1").create()])
    async with working(place) as (store, new):
        await store.commit(new, [Script("order-2").create()])
        with pytest.raises(StoreFenced):
            await store.commit(old, [Script("order-3").create()])
        await store.commit(new, [Script("order-4").create()])
        assert [row.id for row in await store.list()] == ["order-4", "order-2", "order-1"]


async def test_an_epoch_that_never_was_can_write_nothing(place: Place) -> None:
    async with working(place) as (store, epoch):
        with pytest.raises(StoreFenced):
            await store.commit(epoch + 1, [Script("order-1").create()])


async def test_a_store_that_is_not_open_says_so(place: Place) -> None:
    async with working(place) as (store, epoch):
        pass
    with pytest.raises(StoreError, match="not open"):
        await store.commit(epoch, [Script("order-1").create()])


NAMES = [
    "plain",
    "with space",
    "nul\0inside",
    "nul\0",
    "naïve ☃ 🚚",
    "'; DROP TABLE runs; --",
    "%_*?[a]",
    "a" * 5000,
]


async def test_any_text_names_runs_and_workflows(place: Place) -> None:
    async with working(place) as (store, epoch):
        writes = [Script(name, workflow=name[::-1]).create(name.encode()) for name in NAMES]
        assert await store.commit(epoch, writes) == []
        for name in NAMES:
            row = await store.find(name)
            assert row is not None
            assert (row.id, row.workflow) == (name, name[::-1])
            assert await journal_of(store, name) == [name.encode()]
        again = [Script(name).create() for name in NAMES]
        assert await store.commit(epoch, again) == again
    async with working(place) as (store, epoch):
        workflows = [(name[::-1], 1) for name in NAMES if "\0" not in name]
        assert len(await store.adopt(epoch, workflows, 100)) == len(workflows)


async def test_any_bytes_are_kept_as_data(place: Place) -> None:
    payloads = [b"", b"\0", bytes(range(256)), b"\xff\xfe\0\0", '{"snow":"☃"}'.encode(), b"x" * 5_000_000]
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create(payloads[0])])
        for data in payloads[1:]:
            await store.commit(epoch, [script.append(data)])
        assert await journal_of(store, "order-1") == payloads


async def test_ten_thousand_runs(place: Place) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script(f"order-{n}") for n in range(10_000)]
        assert await store.commit(epoch, [script.create() for script in scripts]) == []
        await store.commit(epoch, [script.append(script.id.encode()) for script in scripts])
        await store.commit(epoch, [script.finish() for script in scripts[::2]])
        assert len(await store.list(Where("RUNNING"), limit=20_000)) == 5_000
        assert len({row.key for row in await store.list(limit=20_000)}) == 10_000
        assert await journal_of(store, "order-7777") == [b"{}", b"order-7777"]
