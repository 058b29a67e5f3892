"""Runs a saga on a real engine whose process dies where a test says, and opens the store again, until all is quiet.

A process is an event loop (in virtual time), an engine and its clients. It dies at a store write or at a participant's
call; then nothing of it writes, takes effect or tells anybody anything, whatever its tasks would still do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import apsw

import makegood as mg
from makegood.store import sqlite
from makegood.store.memory import MemoryStore
from makegood.store.protocol import RolledBack
from makegood.testing import VirtualTimeLoop
from tests.faults.evidence import Booked, Committed, Dumped, Evidence
from tests.faults.participants import Asked, Script, Services
from tests.faults.sagas import Saga
from tests.faults.signals import send_signals

BEGIN_SECONDS = 1_000_000_000.0
PATIENCE_SECONDS = 3_600
PAUSE_SECONDS = 60.0
QUIET_LOOK_SECONDS = 600.0
LIFE_LIMIT_SECONDS = 30 * 86_400.0  # a process that hangs fails its test
RESTART_SECONDS = 0.001
GRACE_SECONDS = 5.0  # less than the steps' time limit: a drain cuts attempts off
PROCESS_LIMIT = 12
RUN_ID = "order-42"


@dataclass(frozen=True)
class Fault:
    """The process ends at the ``number``-th store write, or call of a participant, counted over all processes.

    At a write: ``before`` it; ``unacknowledged``: it is durable, the engine never hears of it; ``acknowledged``: the
    process ends before it does anything else that can be seen outside; ``stop``: no crash, the engine is closed.
    ``inside``: before the commit of a write, after all that it does.
    At a call: ``before`` its effect or ``after`` it.
    """

    kind: str
    number: int
    when: str


@dataclass(frozen=True)
class Case:
    """One scenario. ``cancel_at``: where a client asks to cancel. ``operator``: what is done to a parked run, such as
    "retry" or "retry with other arguments".

    ``terminate``: at that place an operator terminates it instead, "at once", "after undoing", or with the name of the
    last step that a rollback keeps. ``pause``: first it is
    paused, for a minute; "then resumed": and goes on, with no cancellation.
    """

    script: Script = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    cancel_at: tuple[str, int] | None = None
    terminate: str = ""
    pause: str = ""
    operator: str = ""
    insists: bool = False  # after a crash the client starts the run again, although it was acknowledged
    seconds: dict[str, float] = field(default_factory=dict)
    commit_seconds: float = 0.0
    run_ids: tuple[str, ...] = (RUN_ID,)
    signals: tuple[str, ...] = ()  # what a client sends, in this order,
    signal_seconds: float = 0.0  # waiting so long before each
    dice: int = 0
    waiting_limit: int = 1_000  # runs that only wait and stay in memory
    steps_back_seconds: float = 0.0  # how far the wall clock is set back at each restart

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process came to a place where it could have died: the fault that would have ended it there."""

    ticket: int
    at: float
    fault: Fault


@dataclass
class Outcome:
    evidence: Evidence
    writes: int
    calls: int
    fired: int
    moments: list[Moment]


class Life:
    """One process: alive, doomed (it dies before anything else leaves it) or dead."""

    def __init__(self, evidence: Evidence, number: int, loop: VirtualTimeLoop) -> None:
        self.evidence = evidence
        self.number = number
        self.dead = False
        self.doomed = False
        self.died: asyncio.Future[None] = loop.create_future()
        self.stopped: asyncio.Future[None] = loop.create_future()
        self.cancel_wanted: asyncio.Future[None] = loop.create_future()

    async def pass_out(self) -> None:
        """To be awaited before anything leaves the process."""
        if self.doomed or self.dead:
            await self.die()

    async def die(self) -> None:
        self.dead = True
        settle(self.died)
        await asyncio.get_running_loop().create_future()

    def say(self, run_id: str, what: str, detail: Any = None) -> None:
        if not self.dead:
            self.evidence.say(run_id, what, detail)


def settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class World:
    """What outlives the processes: the store, the participants, the evidence, and what is going to go wrong."""

    def __init__(self, saga: Saga, case: Case, store: Callable[[], Any]) -> None:
        self.saga = saga
        self.case = case
        self.evidence = Evidence()
        self.make_store = store
        self.counts = {"write": 0, "call": 0}
        self.faults = {(fault.kind, fault.number): fault.when for fault in case.faults}
        self.fired = 0
        self.moments: list[Moment] = []
        self.cancel_wanted = False
        self.life: Life
        saga.services.begin(self.evidence, case.script, case.seconds)
        saga.services.watch = self.called

    @property
    def workflows(self) -> list[mg.Workflow[..., Any]]:
        """What the process of today runs; new runs are of the last one."""
        return [self.saga.workflow, *(self.saga.deployed if self.life.number > 1 else ())]

    def count(self, kind: str) -> tuple[int, str | None]:
        """Count a write or call; its number, and what goes wrong at it, if anything."""
        self.counts[kind] += 1
        number = self.counts[kind]
        if self.case.cancel_at == (kind, number):
            self.cancel_wanted = True
            settle(self.life.cancel_wanted)
        when = self.faults.get((kind, number))
        self.fired += when is not None
        self.came_to(kind, number, "before")
        return number, when

    def came_to(self, kind: str, number: int, when: str) -> None:
        at = self.saga.services.now()
        self.moments.append(Moment(self.evidence.ticket(), at, Fault(kind, number, when)))

    async def called(self, moment: str, number: int) -> int:
        await self.life.pass_out()
        if moment == "stopped":
            return number
        if moment == "before":
            number, _ = self.count("call")
        else:
            self.came_to("call", number, "after")
        if self.faults.get(("call", number)) == moment:
            await self.life.die()
        return number


class Died(BaseException):
    """The process is gone, in the middle of a store write."""


class WatchedStore:
    """A store as one process sees it: counts and logs the writes, and lets the process die at them."""

    def __init__(self, inner: Any, world: World, life: Life) -> None:
        self.inner = inner
        self.world = world
        self.life = life

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def close(self) -> None:
        await self.life.pass_out()
        await self.inner.close()

    async def take_over(self, worker: str) -> Any:
        return await self._write(lambda _: self.inner.take_over(worker))

    async def adopt(self, *args: Any) -> Any:
        return await self._write(lambda _: self.inner.adopt(*args))

    async def set_wake(self, *args: Any) -> Any:
        return await self._write(lambda _: self.inner.set_wake(*args))

    async def advance_schedule(self, *args: Any) -> Any:
        return await self._write(lambda _: self.inner.advance_schedule(*args))

    async def commit(self, epoch: int, writes: Sequence[Any]) -> Any:
        return await self._write(lambda _: self.inner.commit(epoch, writes), epoch, writes)

    async def post(self, *args: Any) -> Any:
        return await self._write(lambda _: self.inner.post(*args))

    async def answer(self, *args: Any) -> Any:
        return await self._write(lambda _: self.inner.answer(*args))

    async def transact(self, epoch: int, work: Any, timeout_seconds: Any, writes_for: Any) -> Any:
        sealed: list[Any] = []

        def act(when: str | None) -> Any:
            def writes(result: Any) -> Any:
                sealed.extend(writes_for(result))
                if when == "inside":
                    raise Died
                return sealed

            return self.inner.transact(epoch, work, timeout_seconds, writes)

        return await self._write(act, epoch, sealed, has_inside=True)

    async def _write(
        self, act: Any, epoch: int = 0, writes: Sequence[Any] = (), *, has_inside: bool = False
    ) -> Any:
        life, seconds = self.life, self.world.case.commit_seconds
        await asyncio.sleep(seconds / 2)
        await life.pass_out()
        number, when = self.world.count("write")
        if when == "before" or (when == "inside" and not has_inside):
            await life.die()
        try:
            result = await act(when)
        except (Died, RolledBack):  # nothing was written
            if when in ("inside", "unacknowledged"):
                await life.die()
            life.doomed = life.doomed or when == "acknowledged"
            if when == "stop":
                settle(life.stopped)
            raise
        noted = self._note(epoch, writes, result) if writes else []
        self.world.came_to("write", number, "unacknowledged")
        if when == "unacknowledged":
            await life.die()
        await asyncio.sleep(seconds / 2)
        if life.dead:
            await life.die()
        life.doomed = life.doomed or when == "acknowledged"
        if when == "stop":
            settle(life.stopped)
        for commit in noted:
            commit.acknowledged = True
        return result

    def _note(self, epoch: int, writes: Sequence[Any], taken: Sequence[Any]) -> list[Committed]:
        evidence = self.world.evidence
        ticket = evidence.ticket()
        noted = [
            Committed(
                ticket,
                self.world.saga.services.now(),
                self.life.number,
                epoch,
                write.id,
                write.entry.number,
                write.entry.data,
            )
            for write in writes
            if write not in taken
        ]
        evidence.commits += noted
        return noted


def run(saga: Saga, case: Case, store: Callable[[], Any] | None = None) -> Outcome:
    """Run a case to its end; ``store`` makes the store's object for each process (by default one MemoryStore)."""
    memory = MemoryStore()
    world = World(saga, case, store or (lambda: memory))
    elapsed = 0.0
    with mock.patch.object(sqlite, "LOOK_SECONDS", QUIET_LOOK_SECONDS):
        for number in range(1, PROCESS_LIMIT + 1):
            back = case.steps_back_seconds * (number - 1)
            loop = VirtualTimeLoop(begin=BEGIN_SECONDS + elapsed - back)
            died = _live(world, number, loop)
            elapsed += loop.elapsed + RESTART_SECONDS
            if not died:
                break
        else:
            raise AssertionError(f"{PROCESS_LIMIT} processes were not enough")
    return Outcome(world.evidence, world.counts["write"], world.counts["call"], world.fired, world.moments)


def _live(world: World, number: int, loop: VirtualTimeLoop) -> bool:
    """One process, from its start to its end; whether another is needed."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_process(world, number, loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _process(world: World, number: int, loop: VirtualTimeLoop) -> bool:
    async with asyncio.timeout(LIFE_LIMIT_SECONDS):
        return await _until_its_end(world, number, loop)


async def _until_its_end(world: World, number: int, loop: VirtualTimeLoop) -> bool:
    life = world.life = Life(world.evidence, number, loop)
    services = world.saga.services
    services.now, services.process = loop.now, number
    inner = world.make_store()
    engine = mg.Engine(
        "memory://",
        world.workflows,
        grace_seconds=GRACE_SECONDS,
        now=loop.now,
        waiting_limit=world.case.waiting_limit,
        dice=random.Random(world.case.dice).random,
    )
    engine._store = WatchedStore(inner, world, life)
    clients = loop.create_task(_clients(world, life, engine))
    first = asyncio.FIRST_COMPLETED
    await asyncio.wait((clients, life.died, life.stopped), return_when=first)
    if life.died.done() or life.doomed:
        pass
    elif life.stopped.done():
        closing = loop.create_task(engine.__aexit__(None, None, None))
        await asyncio.wait((closing, life.died), return_when=first)
    else:
        clients.result()
        await engine.__aexit__(None, None, None)
        world.evidence.dump = await _dump(inner)
        if world.saga.terms.transactions:
            world.evidence.ledger = _ledger(inner.path)
        return False
    life.dead = True
    await _bury(inner)
    _forget(engine)
    return True


async def _bury(inner: Any) -> None:
    """Let the tasks of a dead process unwind, unheard, and free what the operating system would free."""
    this = asyncio.current_task()
    quiet_rounds = 0
    while quiet_rounds < 2:
        left = [task for task in asyncio.all_tasks() if task is not this]
        quiet_rounds = 0 if left else quiet_rounds + 1
        for task in left:
            task.cancel()
        for _ in range(3):  # whatever these tasks have started gets to the point where it is stopped for good
            await asyncio.sleep(0)
    await inner.close()


def _forget(engine: mg.Engine) -> None:
    """Undo what a dead process's runs refer to: the collector passes over runs, as they are let go of by their worker."""
    worker = getattr(engine._backend, "worker", None)
    if worker is not None:
        for alive in (*worker.runs.values(), *worker.starting.values()):
            worker.drop(alive, mg.StoreError("the process died"))


async def _dump(inner: Any) -> list[Dumped]:
    await inner.open()
    dump = []
    for row in await inner.list(limit=1_000):
        entries = [(one.number, bytes(one.data), bytes(one.hash)) for one in await inner.journal(row.key)]
        dump.append(Dumped(row.id, row.status, row.ended_at, entries))
    await inner.close()
    return dump


def _ledger(path: str) -> list[Booked]:
    with contextlib.closing(apsw.Connection(path)) as connection:
        exists = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'ledger'").fetchall()
        return [Booked(*row) for row in connection.execute("SELECT * FROM ledger")] if exists else []


# ---- the clients -----------------------------------------------------------------------------------------------------


async def _clients(world: World, life: Life, engine: mg.Engine) -> None:
    await engine.__aenter__()
    approver = asyncio.create_task(_approver(world, life, engine))
    async with asyncio.TaskGroup() as group:
        for run_id in world.case.run_ids:
            group.create_task(_unless_stopped(life, _customer, world, life, engine, run_id))
    approver.cancel()
    if any(one.startswith("late") for behaviours in world.case.script.values() for one in behaviours):
        await _unless_stopped(life, _until_nothing_is_late, world, engine)


async def _until_nothing_is_late(world: World, engine: mg.Engine) -> None:
    """Wait until every call has been answered, and every run has ended, or ended again, or is parked."""
    for _ in range(PATIENCE_SECONDS):
        await asyncio.sleep(1)
        rows = await engine._store.list(limit=1_000)
        stand = all(row.ended_at is not None or row.status == "PARKED" for row in rows)
        if stand and not world.saga.services.unstoppable and not await engine._store.inbox():
            return


async def _unless_stopped(life: Life, client: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    """A client of an engine that is being closed gets an error, and comes again."""
    try:
        await client(*args)
    except mg.MakegoodError:
        if not life.stopped.done():
            raise


async def _approver(world: World, life: Life, engine: mg.Engine) -> None:
    """Answer what the services ask, and what was asked in earlier processes and not answered."""
    services = world.saga.services
    questions: asyncio.Queue[Asked] = asyncio.Queue()
    services.tell = questions.put_nowait
    for asked in services.asked:
        questions.put_nowait(asked)
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(_unless_stopped(life, _approve, services, life, engine, await questions.get()))


async def _approve(services: Services, life: Life, engine: mg.Engine, asked: Asked) -> None:
    call = asked.call
    if asked.behaviour == "late":
        await asyncio.sleep(20)
    try:
        if asked.behaviour == "refuses":
            await engine.fail(asked.token, "refused", by="somebody")
        else:
            await engine.complete(asked.token, call.answer, by="somebody")
    except mg.NotPossible:
        life.say(call.run_id, "too late", call.step)
    else:
        life.say(call.run_id, "failed" if asked.behaviour == "refuses" else "completed", call.step)
    if not life.dead:
        services.asked.remove(asked)
        settle(asked.answered)


async def _customer(world: World, life: Life, engine: mg.Engine, run_id: str) -> None:
    """Start the run, or find it again, wait for its end, and cancel it or help it on if the case says so."""
    known = {said.what for said in world.evidence.said if said.run_id == run_id}
    if "started" in known and not world.case.insists:
        handle = await engine.get(run_id)
    else:
        life.say(run_id, "start")
        handle = await engine.start(world.workflows[-1], run_id, id=run_id)
        life.say(run_id, "started")
    ending = asyncio.ensure_future(_unless_stopped(life, _wait_for_end, life, handle))
    sending = asyncio.ensure_future(_unless_stopped(life, send_signals, world.case, life, handle))
    besides = [
        asyncio.ensure_future(_unless_stopped(life, client, life, handle)) for client in world.saga.besides
    ]
    if world.case.cancel_at is not None and not known & {"cancelled", "terminated", "resumed"}:
        await _cancel(world, life, handle, ending)
    done, _ = await asyncio.wait((ending,), timeout=PATIENCE_SECONDS)
    if not done and world.case.operator:
        await _operate(world, handle, ending)
    for task in (ending, sending, *besides):
        if besides:
            await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
        if task.done():
            task.result()
        task.cancel()


async def _wait_for_end(life: Life, handle: mg.RunHandle[Any]) -> None:
    try:
        result = await handle.result()
    except mg.RunError as error:
        life.say(handle.id, "ended", type(error).__name__)
    except (mg.JournalCorrupt, mg.DeterminismError):
        await asyncio.sleep(PATIENCE_SECONDS)  # it was set aside, and has not ended
    else:
        life.say(handle.id, "ended", ("RunCompleted", result))


async def _cancel(world: World, life: Life, handle: mg.RunHandle[Any], ending: asyncio.Future[None]) -> None:
    if world.cancel_wanted:
        settle(life.cancel_wanted)
    await asyncio.wait(
        (ending, life.cancel_wanted), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    if ending.done() or not world.cancel_wanted:
        return
    terminate = world.case.terminate
    if world.case.pause and not await _pause(life, handle):
        return
    if world.case.pause == "then resumed":
        life.say(handle.id, "resume")
        with contextlib.suppress(mg.NotPossible):
            await handle.resume(by="operator")
        life.say(handle.id, "resumed")
        return
    life.say(handle.id, "terminate" if terminate else "cancel")
    try:
        if terminate in ("at once", "after undoing"):
            await handle.terminate("enough", by="operator", compensate=terminate == "after undoing")
        elif terminate:
            await handle.rollback(to=terminate, by="operator")
        else:
            await handle.cancel("the customer changed their mind", by="customer")
    except mg.NotPossible:
        life.say(handle.id, "refused")
        if world.case.pause:  # it is being undone already, or has ended
            with contextlib.suppress(mg.NotPossible):
                await handle.resume(by="operator")
    else:
        life.say(handle.id, "terminated" if terminate else "cancelled")


async def _pause(life: Life, handle: mg.RunHandle[Any]) -> bool:
    """Have the run stand still for a while; False if it has ended."""
    try:
        await handle.pause("stock-taking", by="operator")
    except mg.NotPossible:
        return False
    life.say(handle.id, "paused")
    await asyncio.sleep(PAUSE_SECONDS)
    return True


async def _operate(world: World, handle: mg.RunHandle[Any], ending: asyncio.Future[None]) -> None:
    """Repair the services, and help every parked step on, also those of child runs."""
    world.saga.services.repair()
    for _ in world.saga.steps:
        parked = await _parked(handle)
        if parked is None:
            return
        action, *changed = world.case.operator.split(" with ")
        act = getattr(parked, action)
        given = {"result": "resolved by hand"} if action == "resolve" else {}
        given |= {"arguments": [handle.id, "other"]} if changed else {}
        step = next(iter((await parked.describe()).parked), "")
        with contextlib.suppress(mg.NotPossible):
            await act(**given, step=step, by="operator")
        await asyncio.wait((ending,), timeout=PATIENCE_SECONDS)


async def _parked(handle: mg.RunHandle[Any]) -> mg.RunHandle[Any] | None:
    """The run itself if it is parked, or else a child that it waits for and that is."""
    description = await handle.describe()
    if description.parked:
        return handle
    for child in description.children:
        found = await _parked(await handle._engine.get(child))
        if found is not None:
            return found
    return None
