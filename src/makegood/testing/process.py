"""One history: the processes that live a run, one after the other, each until it is lost; and what becomes of the run.

A process is an event loop in virtual time, an engine and a client. When it is lost, its loop just stands still: no
``finally`` of the user's code runs before the history is judged. The next process opens the same store.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

from makegood.errors import MakegoodError, NotPossible, RunNotFound, StoreError
from makegood.store.memory import MemoryStore
from makegood.testing.dying_store import DyingStore
from makegood.testing.engine import VirtualEngine
from makegood.testing.history import Fault, Noted, Outcome, Place, Recorded
from makegood.testing.returning import telling
from makegood.testing.virtual_time import BEGIN_SECONDS, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from makegood.client import RunHandle
    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow
    from makegood.store.protocol import Store, Write
    from makegood.testing.calls import Call, Kind
    from makegood.testing.memory import Memory

LIMIT_SECONDS = 100 * 366 * 86_400.0
PROCESS_LIMIT = 10
A_MOMENT_SECONDS = 1e-3
DONE_EVENTS = {"StepCompleted": "do", "CompensationCompleted": "undo"}


class InjectedError(Exception):
    """Raised in a step's place."""


@dataclass(kw_only=True)
class Scene:
    """What is the same in all histories: the workflow with its input, the world outside, and the client."""

    workflow: Workflow[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    look: Callable[[], Any] | None
    reset: Callable[[], Any] | None
    drive: Callable[[RunHandle[Any]], Coroutine[Any, Any, Any]] | None
    memory: Memory | None
    histories: int = 0

    def begin(self) -> str:
        """Set the stage for another history; the id of its run."""
        self.histories += 1
        if self.memory is not None:
            self.memory.forget()
        if self.reset is None:
            return f"crash-matrix-{self.histories}"  # the fakes may remember the keys of earlier ones
        self.reset()
        return "crash-matrix"

    def state(self) -> Any:
        """The world outside, as it is now."""
        return None if self.look is None else copy.deepcopy(self.look())


class Process:
    """Alive until it is lost."""

    def __init__(self, number: int, loop: VirtualTimeLoop) -> None:
        self.number = number
        self.lost: asyncio.Future[None] = loop.create_future()
        self.cancel_wanted = asyncio.Event()

    async def lose(self) -> NoReturn:
        """Nothing that awaits this goes on."""
        if not self.lost.done():
            self.lost.set_result(None)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def alive(self) -> None:
        """To be awaited before anything leaves the process."""
        if self.lost.done():
            await self.lose()


class History:
    """Lives one run with these faults."""

    def __init__(self, scene: Scene, faults: tuple[Fault, ...]) -> None:
        self.scene = scene
        self.workflow = telling(scene.workflow, self.returned)
        self.outcome = Outcome(faults)
        self.store = MemoryStore()
        self.run_id = ""
        self.process: Process
        self.faults = {fault.at: fault for fault in faults}
        self.left = {fault.at: fault.times for fault in faults}
        self.cancelling = False

    def live(self) -> Outcome:
        """Start the run and see it through to its end, or to where it stands."""
        outcome = self.outcome
        graves = []
        self.run_id = self.scene.begin()
        outcome.began = self.scene.state()
        elapsed = 0.0
        for number in range(1, PROCESS_LIMIT + 1):
            loop = VirtualTimeLoop(BEGIN_SECONDS + elapsed)
            engine, ended = loop.run_until_complete(self._live_on(number, loop))
            graves.append((loop, engine, asyncio.all_tasks(loop)))  # tasks that nobody refers to would unwind
            if ended:
                break
            elapsed += loop.elapsed
            if self.scene.memory is not None:
                outcome.lost = (*outcome.lost, *self.scene.memory.forget())
            outcome.log.append("the process is lost; another one opens the store")
        outcome.ended = self.scene.state()
        for loop, engine, _ in graves:
            _bury(loop, engine)
        return outcome

    async def _live_on(self, number: int, loop: VirtualTimeLoop) -> tuple[MatrixEngine, bool]:
        """One process: its engine, and whether it came to an end of its own."""
        self.process = process = Process(number, loop)
        self.cancelling = False
        await self.store.close()  # the one before has not
        engine = MatrixEngine(self, cast("Store", DyingStore(self.store, self.written)))
        client = loop.create_task(self._client(engine))
        await asyncio.wait((client, process.lost), return_when=asyncio.FIRST_COMPLETED)
        if process.lost.done():
            return engine, False
        client.result()
        await engine.__aexit__(None, None, None)
        return engine, True

    # ---- the client ----------------------------------------------------------------------------------------------

    async def _client(self, engine: MatrixEngine) -> None:
        await engine.__aenter__()
        run = await self._begun(engine)
        helpers = [asyncio.create_task(self._canceller(run))]
        if self.scene.drive is not None:
            helpers.append(asyncio.create_task(_driven(self.scene.drive, run)))
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                async for view in run.watch():
                    if view["status"] == "PARKED" and not await self._helped(run):
                        break
        except TimeoutError:
            self.outcome.stuck = (await run.describe()).waiting_for
        self.outcome.description = await run.describe()
        for helper in helpers:
            if not helper.done():
                helper.cancel()
        for failure in await asyncio.gather(*helpers, return_exceptions=True):
            if isinstance(failure, Exception):
                raise failure

    async def _begun(self, engine: MatrixEngine) -> RunHandle[Any]:
        with contextlib.suppress(RunNotFound):
            return await engine.get(self.run_id)
        return await engine.start(self.workflow, *self.scene.args, id=self.run_id, **self.scene.kwargs)

    async def _canceller(self, run: RunHandle[Any]) -> None:
        await self.process.cancel_wanted.wait()
        self.cancelling = True
        try:
            await run.cancel("crash matrix")
        except NotPossible as refused:
            self.cancelling = False
            self.outcome.log.append(f"the cancellation is refused: {refused}")
        else:
            self.outcome.cancelled = True
            self.outcome.log.append("the cancellation is accepted")

    async def _helped(self, run: RunHandle[Any]) -> bool:
        """Where the run was parked by what went wrong here, be the operator who repairs that and has it tried again."""
        described = await run.describe()
        last = {noted.call.step: noted for noted in self.outcome.calls}
        if not all(step in last and last[step].injected for step in described.parked):
            self.outcome.parked = "; ".join(described.parked.values())
            return False
        self.left.clear()
        for step in described.parked:
            self.outcome.log.append(f"parked; an operator repairs what was wrong and has {step} tried again")
            await run.retry(step)
        return True

    # ---- where things go wrong -----------------------------------------------------------------------------------

    def _goes_wrong(self, at: Place | int) -> str:
        """What goes wrong here now, "" if nothing does."""
        if not self.left.get(at):
            return ""
        self.left[at] -= 1
        self.outcome.fired.add(at)
        return self.faults[at].kind

    async def called(self, call: Call, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Make a call of the user's, or let something go wrong in it."""
        await self.process.alive()
        place = Place(call.kind, call.step, call.number, call.run_id.removeprefix(self.run_id))
        noted = Noted(call, place, self.process.number, self.scene.state())
        self.outcome.log.append(noted)
        noted.injected = wrong = self._goes_wrong(place)
        await self._before(wrong, call)
        try:
            result = await call.make(function)
        finally:
            noted.after = self.scene.state()
        await self.process.alive()
        if wrong == "lost after":
            await self.process.lose()
        elif wrong == "timed out, done":
            raise TimeoutError("no answer (crash matrix)")
        elif wrong == "cancelled after":
            await self._cancelled()
        return result

    async def _before(self, wrong: str, call: Call) -> None:
        if wrong == "lost before":
            await self.process.lose()
        elif wrong == "error":
            raise InjectedError(f"{call.step} failed (crash matrix)")
        elif wrong == "timed out":
            raise TimeoutError("no answer (crash matrix)")
        elif wrong == "cancelled before":
            await self._cancelled()

    async def _cancelled(self) -> None:
        """Have the run cancelled, which as a rule stops the attempt that awaits this."""
        self.process.cancel_wanted.set()
        await asyncio.sleep(A_MOMENT_SECONDS)

    async def written(self, writes: Sequence[Write], write: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Write to the store, or let something go wrong there."""
        await self.process.alive()
        self.outcome.writes += 1
        wrong = self._goes_wrong(self.outcome.writes)
        if wrong == "lost before":
            await self.process.lose()
        result = await write()
        for one in writes:
            for event in msgspec.json.decode(one.entry.data)["events"]:
                kind = DONE_EVENTS.get(event["event"])
                if kind is not None:
                    run = one.id.removeprefix(self.run_id)
                    self.outcome.log.append(Recorded(Place(kind, "", event["step"], run)))  # type: ignore[arg-type]
        if wrong == "lost after":
            await self.process.lose()
        elif wrong == "cancelled after":
            self.process.cancel_wanted.set()
        return result

    def returned(self) -> None:
        """The workflow's function has returned a value."""
        self.outcome.swallowed = self.outcome.swallowed or self.cancelling


class MatrixEngine(VirtualEngine):
    """The engine of one process."""

    def __init__(self, history: History, store: Store) -> None:
        super().__init__(history.workflow, store=store)
        self._history = history

    def _watched(self, step: Step[..., Any], kind: Kind) -> Step[..., Any]:
        if step.transacts(kind):
            self._history.outcome.transaction = step.__name__
        return super()._watched(step, kind)

    async def _around(self, call: Call, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return await self._history.called(call, function)

    def forget(self) -> None:
        """Let go of the runs of a process that was lost: the collector does not look at them."""
        worker = getattr(self._backend, "worker", None)
        if worker is not None:
            for run in (*worker.runs.values(), *worker.starting.values()):
                worker.drop(run, StoreError("the process was lost."))


async def _driven(drive: Callable[[RunHandle[Any]], Coroutine[Any, Any, Any]], run: RunHandle[Any]) -> None:
    """The run may end before all was said to it."""
    with contextlib.suppress(MakegoodError):
        await drive(run)


def _bury(loop: VirtualTimeLoop, engine: MatrixEngine) -> None:
    """Let what is left of a process unwind, unheard."""
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.run_until_complete(_unwind(engine))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def _unwind(engine: MatrixEngine) -> None:
    this = asyncio.current_task()
    engine.forget()
    for _ in range(PROCESS_LIMIT):
        left = [task for task in asyncio.all_tasks() if task is not this]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
