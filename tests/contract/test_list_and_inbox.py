"""Every store: listing runs, operators' requests, and noticing what other processes wrote."""

import asyncio

import pytest

from makegood.store import memory, sqlite
from makegood.store.protocol import InboxAnswer, InboxRequest, Store, Where
from tests.contract.places import Place
from tests.contract.scripts import Script, answering
from tests.contract.test_commit import opened, working

pytestmark = pytest.mark.anyio


async def test_runs_are_listed_the_newest_first(place: Place) -> None:
    async with working(place) as (store, epoch):
        for number in range(3):
            await store.commit(epoch, [Script(f"order-{number}").create()])
        assert [row.id for row in await store.list()] == ["order-2", "order-1", "order-0"]


async def test_a_list_of_nothing_is_empty(place: Place) -> None:
    async with working(place) as (store, _):
        assert list(await store.list()) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "RUNNING"}, ["d", "a"]),
        ({"workflow": "ship"}, ["d", "c"]),
        ({"status": "COMPLETED", "workflow": "ship"}, ["c"]),
        ({"status": "FAILED"}, []),
        ({"workflow": "nobody"}, []),
        ({"status": "running"}, []),
    ],
)
async def test_runs_are_listed_by_status_and_workflow(
    place: Place, filters: dict[str, str], expected: list[str]
) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script("a"), Script("b"), Script("c", "ship"), Script("d", "ship")]
        await store.commit(epoch, [script.create() for script in scripts])
        await store.commit(epoch, [scripts[1].finish(), scripts[2].finish()])
        assert [row.id for row in await store.list(Where(**filters))] == expected


async def test_pages_hold_every_run_once_also_when_runs_are_added_meanwhile(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.commit(epoch, [Script(f"order-{number:02}").create() for number in range(10)])
        seen: list[str] = []
        before_key = None
        while rows := await store.list(limit=3, before_key=before_key):
            assert len(rows) <= 3
            seen += [row.id for row in rows]
            before_key = rows[-1].key
            await store.commit(epoch, [Script(f"added-{before_key}").create()])
        assert seen == [f"order-{number:02}" for number in reversed(range(10))]


async def test_pages_of_a_filtered_list(place: Place) -> None:
    async with working(place) as (store, epoch):
        scripts = [Script(f"{number}") for number in range(9)]
        await store.commit(epoch, [script.create() for script in scripts])
        await store.commit(epoch, [script.finish() for script in scripts[::2]])
        first = await store.list(Where("COMPLETED"), limit=3)
        rest = await store.list(Where("COMPLETED"), limit=3, before_key=first[-1].key)
        assert [row.id for row in [*first, *rest]] == ["8", "6", "4", "2", "0"]


async def test_requests_wait_in_the_inbox_in_order(place: Place) -> None:
    async with working(place) as (store, _):
        first = await store.post("order-1", b"first")
        second = await store.post("nul\0 ☃", b"\0second")
        assert list(await store.inbox()) == [
            InboxRequest(first, "order-1", b"first"),
            InboxRequest(second, "nul\0 ☃", b"\0second"),
        ]
        assert await store.take_answer(first) is None


async def test_an_answer_is_taken_once(place: Place) -> None:
    async with working(place) as (store, epoch):
        number = await store.post("order-1", b"request")
        await store.answer(epoch, [InboxAnswer(number, "it is not possible\0 ☃")])
        assert list(await store.inbox()) == []
        assert await store.take_answer(number) == InboxAnswer(number, "it is not possible\0 ☃")
        assert await store.take_answer(number) is None
        assert list(await store.inbox()) == []


async def test_an_answer_may_be_that_it_was_carried_out(place: Place) -> None:
    async with working(place) as (store, epoch):
        number = await store.post("order-1", b"request")
        await store.answer(epoch, [InboxAnswer(number)])
        assert await store.take_answer(number) == InboxAnswer(number, "")


async def test_an_entry_settles_requests_as_it_is_committed(place: Place) -> None:
    async with working(place) as (store, epoch):
        script = Script("order-1")
        await store.commit(epoch, [script.create()])
        numbers = [await store.post("order-1", b"request") for _ in range(3)]
        await store.commit(
            epoch, [answering(script.append(), InboxAnswer(numbers[0]), InboxAnswer(numbers[2]))]
        )
        assert [request.number for request in await store.inbox()] == [numbers[1]]
        assert await store.take_answer(numbers[0]) == InboxAnswer(numbers[0])


async def test_answering_a_request_that_nobody_made_changes_nothing(place: Place) -> None:
    async with working(place) as (store, epoch):
        await store.answer(epoch, [InboxAnswer(777)])
        assert await store.take_answer(777) is None
        assert list(await store.inbox()) == []


async def test_an_answer_survives_until_it_is_taken(place: Place) -> None:
    async with working(place) as (store, epoch):
        number = await store.post("order-1", b"request")
        await store.answer(epoch, [InboxAnswer(number)])
    async with opened(place) as store:
        assert await store.take_answer(number) == InboxAnswer(number)


async def test_answers_that_nobody_takes_are_forgotten_in_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory, sqlite):
        monkeypatch.setattr(module, "ANSWERS_KEPT", 3)
    async with working(place) as (store, epoch):
        unanswered = await store.post("order-1", b"first")
        numbers = [await store.post("order-1", b"request") for _ in range(6)]
        answered_last = numbers.pop(0)
        script = Script("order-1")
        await store.commit(epoch, [script.create()])
        await store.commit(epoch, [answering(script.append(), *map(InboxAnswer, numbers))])
        await store.answer(epoch, [InboxAnswer(answered_last)])
        kept = [number for number in (*numbers, answered_last) if await store.take_answer(number) is not None]
        assert kept == [*numbers[-2:], answered_last]
        assert [request.number for request in await store.inbox()] == [unanswered]


async def test_numbers_of_requests_are_never_used_again(place: Place) -> None:
    async with working(place) as (store, epoch):
        first = await store.post("order-1", b"request")
        await store.answer(epoch, [InboxAnswer(first)])
        await store.take_answer(first)
        assert await store.post("order-1", b"request") > first


async def is_quiet(store: Store, since: int) -> bool:
    try:
        async with asyncio.timeout(0.1):
            await store.next_change(since)
    except TimeoutError:
        return True
    return False


async def test_what_a_worker_writes_itself_is_no_change(place: Place) -> None:
    async with working(place) as (store, epoch):
        version = await store.next_change(-1)
        await store.commit(epoch, [Script("own").create()])
        assert await is_quiet(store, version)


async def test_a_change_by_another_process_is_noticed_once(shared_place: Place) -> None:
    async with working(shared_place) as (worker, _), opened(shared_place) as client:
        version = await worker.next_change(-1)
        await client.submit(Script("order-1").create())
        version = await worker.next_change(version)
        assert await is_quiet(worker, version)
        noticed = asyncio.create_task(worker.next_change(version))
        await client.post("order-1", b"request")
        assert await noticed != version


async def test_several_may_watch_for_changes(shared_place: Place) -> None:
    async with opened(shared_place) as watching, opened(shared_place) as client:
        version = await watching.next_change(-1)
        watchers = [asyncio.create_task(watching.next_change(version)) for _ in range(3)]
        await client.submit(Script("order-1").create())
        assert len({await watcher for watcher in watchers}) == 1


async def test_the_worker_answers_and_the_client_takes_the_answer(shared_place: Place) -> None:
    async with working(shared_place) as (worker, epoch), opened(shared_place) as client:
        number = await client.post("order-1", b"request")
        (request,) = await worker.inbox()
        assert (request.number, request.run_id, request.data) == (number, "order-1", b"request")
        assert await client.take_answer(number) is None
        await worker.answer(epoch, [InboxAnswer(number, "no", "NotPossible")])
        assert await client.take_answer(number) == InboxAnswer(number, "no", "NotPossible")


async def test_several_runs_are_read_at_once_each_with_its_last_leg(place: Place) -> None:
    async with working(place) as (store, epoch):
        short, long, ended = Script("short"), Script("long"), Script("ended")
        await store.commit(epoch, [script.create() for script in (short, long, ended)])
        for number in range(4):
            write = long.append(b"%d" % number)
            if number == 2:
                write.leg_entry, write.row_changed = 4, True
            await store.commit(epoch, [write])
        await store.commit(epoch, [ended.finish()])
        stored = {one.row.id: one for one in await store.stored(["long", "nobody", "short", "ended"])}
        assert {run_id: [entry.number for entry in one.leg] for run_id, one in stored.items()} == {
            "short": [1],
            "long": [3, 4, 5],
            "ended": [],
        }
        for run_id, one in stored.items():
            assert one.row == await store.find(run_id)
        assert stored["short"].leg[0] == short.entries[0]


async def test_no_runs_are_read_of_none(place: Place) -> None:
    async with working(place) as (store, _):
        assert list(await store.stored([])) == []
