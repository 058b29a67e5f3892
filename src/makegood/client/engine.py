"""``Engine``: a store opened, and its runs started and found."""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from makegood.backend.local import LocalBackend
from makegood.backend.retention import pruned
from makegood.client.batch import checked_action, each
from makegood.client.handle import RunHandle, operator, result_of
from makegood.client.search import where
from makegood.client.stuck import StuckRun, stuck_run, tell_hooks
from makegood.definition.completion import read
from makegood.definition.keys import checked_run_id, checked_tags, checked_text
from makegood.definition.payload import encode_as_json
from makegood.definition.registry import Registry
from makegood.definition.sleep import checked_seconds
from makegood.definition.workflow import Workflow
from makegood.description import MissedStep, RunSummary, describe
from makegood.engine.missed import MISSED
from makegood.engine.operator import Request
from makegood.errors import (
    UnknownWorkflow,
    UsageError,
    not_found,
)
from makegood.failure import Failure
from makegood.store.address import store_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from types import ModuleType, TracebackType
    from typing import Unpack

    import apsw

    from makegood.backend.protocol import Backend
    from makegood.backend.schedules import ScheduleSummary
    from makegood.client.batch import BatchOutcome
    from makegood.client.search import Filters
    from makegood.client.stuck import StuckHook
    from makegood.engine.operator import Action
    from makegood.engine.run import RunState
    from makegood.store.protocol import RunRow, Store
    from makegood.worker.executor import StandIn

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")


class Engine:
    """Durable workflows on a store, inside your own event loop: ``async with mg.Engine("sqlite:///orders.db") as engine``.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``memory://`` (nothing survives: for experiments);
            or a store of your own (``store.protocol.Store``).
        definitions: modules and workflows to run. ``start`` adds its own; runs of unknown workflows wait.
        work: False for a pure client, which never becomes the worker of the store.
        create: False if a database file that does not exist is an error.
        grace_seconds: how long attempts under way may take to end when the engine is closed.
        waiting_limit: how many runs that only wait are kept in memory; others are loaded when they go on.
        on_stuck: functions, async or not, that are told of each run (a ``StuckRun``) that overstays what is usual for its
            workflow, while this engine is the worker: when it does, and again whenever its age has doubled since.
        stuck_after: what is usual (seconds or a timedelta) as long as a workflow neither declares nor shows it.
        now: the wall clock, in seconds since 1970.
        dice: random numbers in [0, 1) for the jitter of retries.
    """

    _stand_in: StandIn | None = None  # set by makegood.testing

    def __init__(
        self,
        url: str | Store,
        definitions: Iterable[ModuleType | Workflow[..., Any]] = (),
        *,
        work: bool = True,
        create: bool = True,
        grace_seconds: float = 10.0,
        waiting_limit: int = 1_000,
        on_stuck: Sequence[StuckHook] = (),
        stuck_after: float | timedelta | None = None,
        now: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self._store = store_at(url, create=create) if isinstance(url, str) else url
        self._registry = Registry(definitions)
        self._work = work
        self._now = now
        self._dice = dice
        self._grace_seconds = grace_seconds
        self._waiting_limit = waiting_limit
        self._on_stuck = list(on_stuck)
        self._stuck_after = (
            None if stuck_after is None else checked_seconds(stuck_after, "Engine: stuck_after=")
        )
        self._backend: Backend | None = None

    async def __aenter__(self) -> Self:
        backend = LocalBackend(
            self._store,
            self._registry,
            self._now,
            self._dice,
            work=self._work,
            waiting_limit=self._waiting_limit,
            stand_in=self._stand_in,
        )
        await backend.open()
        self._backend = backend
        backend.overdue.otherwise = self._stuck_after
        if self._on_stuck:
            backend.watch(self._tell_of)
        return self

    async def _tell_of(self, row: RunRow, usual_seconds: float) -> None:
        await tell_hooks(self._on_stuck, await stuck_run(self.backend, row, usual_seconds, self._now()))

    async def stuck(self, *, workflow: str | None = None, limit: int = 100) -> list[StuckRun]:
        """The runs that overstay what is usual for their workflow, and what they wait for."""
        found: list[StuckRun] = []
        async for row, usual_seconds in self.backend.overdue.found(workflow):
            found.append(await stuck_run(self.backend, row, usual_seconds, self._now()))
            if len(found) == limit:
                break
        return found

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close(self._grace_seconds)

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            raise UsageError(
                f"the engine on {self.url} is not open: use it inside `async with mg.Engine(…) as engine:`."
            )
        return self._backend

    def now(self) -> float:
        """What this engine's clock says: seconds since 1970."""
        return self._now()

    async def serve(self) -> None:
        """Work until cancelled.

        Raises:
            StoreError: the store failed, or another worker has taken over: this one has stopped.
        """
        await self.backend.serve()

    async def start(
        self,
        workflow: Workflow[..., R],
        *args: Any,
        id: str | None = None,
        tags: Mapping[str, str] | None = None,
        connection: apsw.Connection | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]:
        """Start a run; it is durable when this returns. The same id and input again: the same run.

        Args:
            workflow: an ``@mg.workflow`` function.
            args, kwargs: its arguments.
            id: names the run, for you and for idempotency; by default a new one is made up.
            tags: what it can be found by; those of the first start count.
            connection: your own ``apsw.Connection`` to the store's file, with a transaction open: the run exists if
                and only if you commit that, and ``result()`` is to be awaited after it.

        Raises:
            RunConflict: the id exists with another workflow or input.
            RunPruned: it has run, long ago, and was pruned.
            PayloadError: an argument cannot be stored.
            UsageError: the connection is to another database, or has no transaction open.
            StoreLocked: another connection is writing, and your transaction began by reading.
        """
        run_id, arguments = self._prepared(workflow, id, args, kwargs)
        if connection is None:
            await self.backend.start(workflow, run_id, arguments, checked_tags(tags) if tags else {})
        else:
            await self.backend.start_on(connection, workflow, run_id, arguments, checked_tags(tags))
        return RunHandle(run_id, self, workflow)

    async def run(
        self,
        workflow: Workflow[..., R],
        *args: Any,
        id: str | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> R:
        """Start a run and wait for its result: ``start`` and ``result`` in one."""
        run_id, arguments = self._prepared(workflow, id, args, kwargs)
        state = await self.backend.run(workflow, run_id, arguments, checked_tags(tags) if tags else {})
        return self.result_of(state, workflow)  # type: ignore[no-any-return]

    def result_of(self, state: RunState, workflow: Workflow[..., Any] | None) -> Any:
        """What a run that ended like this returns, or raises; ``workflow`` may be another version than the run's."""
        if workflow is not None and workflow.version != state.version:
            workflow = self._known(state.workflow, state.version)
        return result_of(state, workflow)

    def _prepared(
        self, workflow: Workflow[..., Any], run_id: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, msgspec.Raw]:
        if not isinstance(workflow, Workflow):
            raise UsageError(f"start() takes a function decorated with @mg.workflow, not {workflow!r}.")
        arguments = workflow.signature.encode_arguments(args, kwargs)
        if run_id is None:
            return f"{workflow.name}-{secrets.token_hex(8)}", arguments
        return checked_run_id(run_id), arguments

    async def complete(self, token: str, result: Any = None, *, by: str | None = None) -> None:
        """Complete a step that returned ``mg.PENDING``; ``token`` is what ``mg.completion_token()`` gave there.

        From any process; also before the step's function has ended. It is durable when this returns.

        Raises:
            UsageError: this is no token.
            PayloadError: the result does not fit the step's annotation.
            NotPossible: it was completed before (the first one counts), or is settled otherwise.
        """
        data = encode_as_json(result, "the result")
        await self._complete(token, Request("complete", operator(by), result=data))

    async def fail(self, token: str, message: str, *, fatal: bool = False, by: str | None = None) -> None:
        """Say that the attempt of a step that returned ``mg.PENDING`` failed and took no effect; it is retried as usual.

        ``fatal``: trying again is pointless. Raises as ``complete`` does.
        """
        failure = Failure("CompletionFailed", checked_text(message, "the failure's message"))
        await self._complete(token, Request("fail", operator(by), message, failure=failure, fatal=fatal))

    async def _complete(self, token: str, request: Request) -> None:
        run_id, step, attempt = read(token)
        request = msgspec.structs.replace(request, step=str(step), attempt=attempt)
        await self.backend.request(run_id, request)

    async def get(self, run_id: str) -> RunHandle[Any]:
        """The run of that id.

        Raises:
            RunNotFound: there is none; RunPruned: there was.
            UsageError: there can be none.
        """
        row = await self.backend.find(checked_run_id(run_id))
        if row is None:
            raise not_found(run_id)
        if row.pruned_at is not None:
            raise pruned(row)
        return RunHandle(run_id, self, self._known(row.workflow, row.version))

    def _known(self, name: str, version: int) -> Workflow[..., Any] | None:
        try:
            return self._registry.get(name, version)
        except UnknownWorkflow:
            return None

    async def missed(
        self, *, workflow: str | None = None, limit: int = 100, before_key: int | None = None
    ) -> list[MissedStep]:
        """The best-effort steps that failed in completed runs, and were not made good since: ``run.retry_missed()``.

        The newest runs first; of at most ``limit`` runs; ``before_key`` (a step's ``key``) continues.
        """
        found: list[MissedStep] = []
        for row in await self.backend.missed(workflow, limit, before_key):
            run = describe(await self.backend.entries(row.id))
            found += (
                MissedStep(
                    row.key,
                    row.id,
                    row.workflow,
                    step.number,
                    step.name,
                    step.attempts,
                    step.settled_at,
                    step.failure,
                )
                for step in run.steps
                if step.state in MISSED and not step.critical
            )
        return found

    async def schedules(self) -> list[ScheduleSummary]:
        """The schedules of this store, by name: also those whose workflow is no longer in the code."""
        return await self.backend.schedules.summaries()

    async def pause_schedule(self, name: str, why: str = "", *, by: str | None = None) -> None:
        """Have a schedule start nothing until it is resumed. ``name``: its workflow's.

        Raises:
            ScheduleNotFound: there is none of that name.
            NotPossible: it is paused already.
        """
        await self.backend.schedules.pause(name, operator(by), why)

    async def resume_schedule(self, name: str, why: str = "", *, by: str | None = None) -> None:
        """Have a paused schedule go on; ticks missed meanwhile start, if they are within its catch-up window.

        Raises:
            ScheduleNotFound: there is none of that name.
            NotPossible: it is not paused.
        """
        await self.backend.schedules.resume(name, operator(by), why)

    async def remove_schedule(self, name: str) -> None:
        """Forget a schedule whose workflow is no longer in the code, with the ticks that wait. Its runs stay.

        Raises:
            ScheduleNotFound: there is none of that name.
            NotPossible: a worker has it in its code, and would enter it again.
        """
        await self.backend.schedules.remove(name)

    async def backfill(
        self,
        name: str,
        since: datetime,
        until: datetime | None = None,
        why: str = "",
        *,
        by: str | None = None,
    ) -> list[str]:
        """Run a schedule's ticks of the past that have no run: one after the other, the oldest first.

        What is due in the meantime goes first. With ``overlap="allow"`` they run at once.

        Args:
            name: the schedule's workflow.
            since, until: the first and the last moment; without a time zone, a time on the schedule's clock.
                ``until`` is now by default.
            why, by: for the record.

        Returns:
            The ids of the runs that start.

        Raises:
            ScheduleNotFound: there is none of that name.
            UsageError: the span is not in the past, or holds over 1,000 ticks.
        """
        return await self.backend.schedules.backfill(name, since, until, operator(by), why)

    async def list(
        self, *, limit: int = 100, before_key: int | None = None, **filters: Unpack[Filters]
    ) -> list[RunSummary]:
        """Runs that meet the filters (``client.search.Filters``), the newest first.

        ``before_key``, the ``key`` of the last of a page, continues with the next page.
        """
        rows = await self.backend.list(where(filters), limit=limit, before_key=before_key)
        return [
            RunSummary(
                row.key,
                row.id,
                row.workflow,
                row.status,
                row.started_at,
                row.ended_at,
                row.version,
                row.parent,
                dict(row.tags),
                row.pin,
            )
            for row in rows
        ]

    async def count(self, **filters: Unpack[Filters]) -> int:
        """How many runs meet the filters."""
        return await self.backend.count(where(filters))

    async def batch(
        self,
        action: Action,
        why: str = "",
        *,
        by: str | None = None,
        compensate: bool = False,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[BatchOutcome]:
        """Do to every run that meets the filters what the run's method of that name does, such as retry.

        It goes on as it is iterated, and tells of each run. To stop in the middle does no harm, nor to begin again: what
        was done is done, and recorded.

        Args:
            action: "retry", "skip", "resume", "cancel", "terminate"
            why, by: for the journal of each run.
            compensate: see ``run.terminate``.

        Raises:
            UsageError: no such action or filter.
            NoWorker: nobody answers; what was asked so far is stored, and the next worker carries it out.
        """
        request = Request(checked_action(action), operator(by), why, compensate=compensate)
        async for outcome in each(self.backend, request, where(filters)):
            yield outcome

    async def prune(
        self,
        older_than: float | timedelta,
        *,
        tombstones: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Remove runs that ended longer ago than that; how many.

        A run goes with all that it called, if none of them is pinned or younger. Of each a tombstone stays: its id, which
        is not run again, and how it ended. It is done in short transactions, between which running sagas go on; to stop
        in the middle does no harm.

        Args:
            older_than: seconds or a timedelta.
            tombstones: remove the tombstones of runs that were pruned longer ago than that instead: their ids are free.
            progress: is told how many have been removed so far.
        """
        seconds = checked_seconds(older_than, "older_than")
        retention = self.backend.retention
        removed = 0
        async for runs in retention.forget(seconds) if tombstones else retention.prune(seconds):
            removed += runs
            if progress is not None:
                progress(removed)
        return removed
