"""Whatever is done to them, the stores answer alike: random operations on each, compared one by one."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from makegood.errors import StoreError
from makegood.store.memory import MemoryStore
from makegood.store.protocol import InboxAnswer, Pin, ScheduleRow, Store, Where, Write
from tests.contract.places import PLACES, Place
from tests.contract.scripts import Script

IDS = ["a", "b", "c", "nul\0", "☃", "'"]
WORKFLOWS = ["greet", "ship", "☃"]
OPERATIONS = 60
SEEDS = range(15)


def _digest(data: bytes) -> bytes:
    return b"hash of " + data


class Player:
    """Plays one seed's operations on one store, and tells what it saw."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._random = random.Random(seed)
        self._store: Store
        self._epochs: list[int] = []
        self._scripts: dict[str, Script] = {}
        self._numbers: list[int] = []

    async def play(self) -> list[Any]:
        await self._reopen()
        seen = []
        operations: list[Callable[[], Awaitable[Any]]] = [
            self._commit,
            self._commit,
            self._commit,
            self._broken_commit,
            self._submit,
            self._adopt,
            self._reopen,
            self._post,
            self._answer,
            self._take_answer,
            self._list,
            self._advance_schedule,
            self._change_schedule,
            self._prune,
            self._forget,
            self._set_pin,
        ]
        for _ in range(OPERATIONS):
            operation = self._random.choice(operations)
            try:
                answer = await operation()
            except StoreError as error:
                answer = type(error).__name__
            seen.append((operation.__name__, answer, await self._state()))
        await self._store.close()
        return seen

    # ---- operations: the same draws on every store -----------------------------------------------------

    def _write(self, run_id: str) -> tuple[Script, Write]:
        action = self._random.choice(["create", "append", "move", "finish"])
        script = self._scripts.get(run_id)
        if script is None or action == "create":
            tags = self._random.choice([None, {"tag": "x"}, {"tag": "y", "nul\0": "☃"}])
            parent = self._random.choice(["", "", *IDS])
            script = Script(run_id, self._random.choice(WORKFLOWS), tags=tags, parent=parent)
            return script, script.create(self._random.randbytes(5))
        if action == "append":
            return script, script.append(self._random.randbytes(5))
        if action == "move":
            return script, script.move(self._random.choice(["PARKED", "RUNNING"]))
        ended_at = 2000.0 + self._random.randrange(4)
        return script, script.finish(self._random.choice(["COMPLETED", "FAILED"]), ended_at)

    async def _commit(self) -> Any:
        chosen = {
            script.id: (script, write) for script, write in map(self._write, self._random.sample(IDS, 3))
        }
        epoch = self._epoch()
        writes = [write for _, write in chosen.values()]
        try:
            taken = await self._store.commit(epoch, writes)
        except StoreError:
            for script, _ in chosen.values():
                script.entries.pop()
            raise
        for script, write in chosen.values():
            if write not in taken:
                self._scripts[script.id] = script
        return [write.id for write in taken]

    async def _broken_commit(self) -> Any:
        """A batch that holds an entry which is there already: refused as a whole."""
        if not self._scripts:
            return None
        script = self._scripts[self._random.choice(sorted(self._scripts))]
        again = script.append()
        again.entry = script.entries[0]
        script.entries.pop()
        return await self._store.commit(self._epoch(), [Script("fresh").create(), again])

    async def _submit(self) -> Any:
        script = Script(
            self._random.choice(IDS), self._random.choice(WORKFLOWS), version=self._random.choice((1, 2))
        )
        created = await self._store.submit(script.create(b"submitted"))
        if created:
            self._scripts[script.id] = script
        return created

    async def _adopt(self) -> Any:
        known = self._random.sample(WORKFLOWS, self._random.randrange(len(WORKFLOWS) + 1))
        workflows = [
            (name, version) for name in known for version in self._random.choice(((1,), (2,), (1, 2)))
        ]
        rows = await self._store.adopt(self._epoch(), workflows, self._random.randrange(1, 4))
        return [row.id for row in rows]

    async def _reopen(self) -> None:
        if self._epochs:
            await self._store.close()
        self._store = self._place.store()
        await self._store.open()
        epoch = await self._store.take_over(f"worker {len(self._epochs)}")
        assert epoch is not None
        self._epochs.append(epoch)

    async def _post(self) -> None:
        self._numbers.append(await self._store.post(self._random.choice(IDS), self._random.randbytes(3)))

    async def _answer(self) -> None:
        answers = [InboxAnswer(number, "no") for number in self._numbers if self._random.random() < 0.5]
        await self._store.answer(self._epoch(), answers)

    async def _take_answer(self) -> Any:
        return await self._store.take_answer(self._random.choice([*self._numbers, 999]))

    def _schedule(self) -> ScheduleRow:
        return ScheduleRow(
            self._random.choice(WORKFLOWS), self._random.randrange(4), self._random.randbytes(3)
        )

    async def _change_schedule(self) -> bool:
        return await self._store.change_schedule(self._schedule())

    async def _advance_schedule(self) -> Any:
        scripts = [Script(run_id, self._random.choice(WORKFLOWS)) for run_id in self._random.sample(IDS, 2)]
        starts = [script.create(b"tick") for script in scripts]
        written = await self._store.advance_schedule(self._epoch(), self._schedule(), starts)
        self._scripts.update((script.id, script) for script in scripts if script.key is not None)
        return written, [write.key is None for write in starts]

    async def _list(self) -> Any:
        status = self._random.choice([None, "RUNNING", "COMPLETED"])
        where = Where(
            status,
            self._random.choice([None, *WORKFLOWS]),
            ended_before=self._random.choice([None, None, 2002.0]),
            tags=self._random.choice([{}, {}, {"tag": "x"}]),
            parent=self._random.choice([None, None, "", *IDS]),
            id_prefix=self._random.choice(["", "", "nul"]),
        )
        rows = await self._store.list(where, limit=self._random.randrange(5))
        return [row.id for row in rows], await self._store.count(where)

    async def _prune(self) -> Any:
        before = self._random.choice([2000.0, 2002.0, 3000.0])
        pruned, after_key = 0, 0
        while after_key is not None:
            runs, after_key = await self._store.prune(before, 5000.0, _digest, after_key=after_key)
            pruned += runs
        for run_id in IDS:
            row = await self._store.find(run_id)
            if row is not None and row.pruned_at is not None:
                self._scripts.pop(run_id, None)
        return pruned

    async def _forget(self) -> Any:
        return (await self._store.forget(self._random.choice([5000.0, 5001.0]))).runs

    async def _set_pin(self) -> Any:
        pin = self._random.choice([None, Pin("ada", "audit", 4000.0)])
        return await self._store.set_pin(self._random.choice(IDS), pin)

    def _epoch(self) -> int:
        return self._random.choice([self._epochs[-1]] * 9 + [self._epochs[0]])

    # ---- everything that can be observed ---------------------------------------------------------------

    async def _state(self) -> Any:
        rows = await self._store.list()
        return (
            [
                (row.id, row.workflow, row.status, row.started_at, row.ended_at, row.tags, row.parent)
                for row in rows
            ],
            [
                (row.pin, row.pruned_at, row.input_hash)
                for row in [await self._store.find(run_id) for run_id in IDS]
                if row is not None
            ],
            [
                await self._store.count(Where(status, workflow))
                for status in (None, "RUNNING", "PARKED", "COMPLETED", "FAILED")
                for workflow in (None, *WORKFLOWS)
            ],
            [list(await self._store.journal(row.key)) for row in rows],
            [(request.run_id, request.data) for request in await self._store.inbox()],
            [row.id for row in await self._store.unadopted(self._epochs[-1])],
            await self._store.owner(),
            list(await self._store.schedules()),
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("other", [name for name in PLACES if name != "memory"])
def test_stores_answer_alike(other: str, seed: int, tmp_path: Path) -> None:
    model = asyncio.run(Player(PLACES["memory"](tmp_path), seed).play())
    actual = asyncio.run(Player(PLACES[other](tmp_path), seed).play())
    for number, (expected, got) in enumerate(zip(model, actual, strict=True)):
        assert got == expected, f"operation {number} of seed {seed}"


def test_the_comparison_finds_a_store_that_forgets(tmp_path: Path) -> None:
    class Forgetful(MemoryStore):
        async def journal(self, key: int) -> Any:
            return (await super().journal(key))[:2]

    class ForgetfulPlace:
        def __init__(self) -> None:
            self._store = Forgetful()

        def store(self) -> Forgetful:
            return self._store

    model = asyncio.run(Player(PLACES["memory"](tmp_path), 1).play())
    assert asyncio.run(Player(ForgetfulPlace(), 1).play()) != model
