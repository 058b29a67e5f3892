"""Every store: runs are found and counted by what they are, by when they were, and by tags."""

import pytest

from makegood.store.protocol import Store, Where
from tests.contract.places import Place
from tests.contract.scripts import Script
from tests.contract.test_commit import working

pytestmark = pytest.mark.anyio


async def shop(store: Store, epoch: int) -> None:
    """Five runs: a (10 to 20, tagged), b (11, goes on), c (12 to 13), d (9 to 30, child of b), e (parked)."""
    a = Script("a", started_at=10.0, tags={"merchant": "42", "tier": "gold"})
    b = Script("b", started_at=11.0, tags={"merchant": "42"})
    c = Script("c", "ship", started_at=12.0, tags={"merchant": "7"})
    d = Script("d-1", "ship", started_at=9.0, parent="b")
    e = Script("d-2", started_at=13.0)
    await store.commit(epoch, [script.create() for script in (a, b, c, d, e)])
    await store.commit(
        epoch, [a.finish("FAILED", 20.0), c.finish(ended_at=13.0), d.finish(ended_at=30.0), e.move("PARKED")]
    )


CASES = [
    (Where(), "d-2 d-1 c b a"),
    (Where("PARKED"), "d-2"),
    (Where("COMPLETED", "ship"), "d-1 c"),
    (Where("COMPLETED", "greet"), ""),
    (Where(started_after=11.0), "d-2 c b"),
    (Where(started_before=11.0), "d-1 a"),
    (Where(started_after=10.0, started_before=12.0), "b a"),
    (Where(ended_after=20.0), "d-1 a"),
    (Where(ended_before=20.0), "c"),
    (Where(ended_before=31.0), "d-1 c a"),
    (Where("COMPLETED", ended_before=31.0), "d-1 c"),
    (Where("PARKED", ended_before=31.0), ""),
    (Where(tags={"merchant": "42"}), "b a"),
    (Where(tags={"merchant": "42", "tier": "gold"}), "a"),
    (Where(tags={"tier": "gold", "merchant": "7"}), ""),
    (Where("FAILED", tags={"merchant": "42"}), "a"),
    (Where(tags={"tier": "42"}), ""),
    (Where(parent="b"), "d-1"),
    (Where(parent=""), "d-2 c b a"),
    (Where(parent="a"), ""),
    (Where(id_prefix="d"), "d-2 d-1"),
    (Where(id_prefix="d-1"), "d-1"),
    (Where(id_prefix="%"), ""),
    (Where("COMPLETED", id_prefix="d", tags={}), "d-1"),
]


@pytest.mark.parametrize(("where", "expected"), CASES)
async def test_runs_are_found_and_counted(place: Place, where: Where, expected: str) -> None:
    async with working(place) as (store, epoch):
        await shop(store, epoch)
        assert " ".join(row.id for row in await store.list(where)) == expected
        assert await store.count(where) == len(expected.split())


async def test_tags_and_parents_come_back(place: Place) -> None:
    async with working(place) as (store, epoch):
        tags = {"merchant": "42 ☃", "nul\0'\"": "\0"}
        await store.commit(epoch, [Script("a", tags=tags, parent="b").create()])
        await store.submit(Script("c", tags=tags).create())
        for run_id in ("a", "c"):
            row = await store.find(run_id)
            assert row is not None
            assert row.tags == tags
            assert [found.id for found in await store.list(Where(tags=tags))] == ["c", "a"][:2]


async def test_pages_of_a_search_over_many_blocks(place: Place) -> None:
    """More runs than one block of SQLite's tallies holds, and those asked for spread thinly among them."""
    async with working(place) as (store, epoch):
        for first in range(0, 10_000, 1_000):
            scripts = [
                Script(
                    f"run-{n}",
                    "rare" if n % 1_700 == 0 else "greet",
                    started_at=float(n),
                    tags={"m": str(n % 1_700)} if n % 1_700 < 2 else None,
                )
                for n in range(first, first + 1_000)
            ]
            await store.commit(epoch, [script.create() for script in scripts])
        for where in (Where(workflow="rare"), Where(tags={"m": "0"}), Where("RUNNING", "rare")):
            pages, before_key = [], None
            while rows := await store.list(where, limit=2, before_key=before_key):
                pages.append([row.id for row in rows])
                before_key = rows[-1].key
            assert pages == [
                ["run-8500", "run-6800"],
                ["run-5100", "run-3400"],
                ["run-1700", "run-0"],
            ]
            assert await store.count(where) == 6
        assert [row.id for row in await store.list(Where(started_before=3.0))] == ["run-2", "run-1", "run-0"]
        assert await store.count(Where(started_after=1_000.0, started_before=9_500.0)) == 8_500
        assert await store.count(Where(id_prefix="run-1")) == 1_111
        assert await store.count(Where(id_prefix="run-")) == 10_000
        assert len(await store.list(Where(id_prefix="run-"), limit=7)) == 7
        assert await store.list(limit=0) == []
