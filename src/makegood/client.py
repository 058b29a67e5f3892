"""The public API: ``Engine`` starts and finds runs, ``RunHandle`` is one of them. The edges use nothing else."""

from __future__ import annotations

import getpass
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from makegood.backend.local import LocalBackend
from makegood.definition.completion import read
from makegood.definition.keys import checked_run_id
from makegood.definition.payload import NULL
from makegood.definition.registry import Registry
from makegood.definition.signal import Signal, check_signal, checked_signal_id
from makegood.definition.update import Update, checked_update_id
from makegood.definition.workflow import Workflow
from makegood.description import Description, RunSummary, describe, flatten
from makegood.engine.folds import folded
from makegood.engine.operator import Action, Request
from makegood.engine.run import OPEN, PROBING, UNDOING, Status
from makegood.engine.views import view_of
from makegood.errors import (
    JournalCorrupt,
    PayloadError,
    RunCancelled,
    RunCompensated,
    RunError,
    RunFailed,
    RunTerminated,
    UnknownWorkflow,
    UpdateFailed,
    UsageError,
    not_found,
)
from makegood.failure import Failure
from makegood.store.address import store_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime
    from types import ModuleType, TracebackType

    import apsw

    from makegood.backend.protocol import Backend
    from makegood.backend.schedules import ScheduleSummary
    from makegood.description import HistoryItem
    from makegood.engine.run import RunState
    from makegood.store.protocol import Store

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")

ENDINGS: dict[Status, type[RunError]] = {
    Status.FAILED: RunFailed,
    Status.COMPENSATED: RunCompensated,
    Status.CANCELLED: RunCancelled,
    Status.TERMINATED: RunTerminated,
}

ACTIVE = frozenset({OPEN, PROBING, UNDOING})
CHILDREN_LIMIT = 100


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
        now: the wall clock, in seconds since 1970.
        dice: random numbers in [0, 1) for the jitter of retries.
    """

    def __init__(
        self,
        url: str | Store,
        definitions: Iterable[ModuleType | Workflow[..., Any]] = (),
        *,
        work: bool = True,
        create: bool = True,
        grace_seconds: float = 10.0,
        waiting_limit: int = 1_000,
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
        self._backend: Backend | None = None

    async def __aenter__(self) -> Engine:
        backend = LocalBackend(
            self._store,
            self._registry,
            self._now,
            self._dice,
            work=self._work,
            waiting_limit=self._waiting_limit,
        )
        await backend.open()
        self._backend = backend
        return self

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
        connection: apsw.Connection | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]:
        """Start a run; it is durable when this returns. The same id and input again: the same run.

        Args:
            workflow: an ``@mg.workflow`` function.
            args, kwargs: its arguments.
            id: names the run, for you and for idempotency; by default a new one is made up.
            connection: your own ``apsw.Connection`` to the store's file, with a transaction open: the run exists if
                and only if you commit that, and ``result()`` is to be awaited after it.

        Raises:
            RunConflict: the id exists with another workflow or input.
            PayloadError: an argument cannot be stored.
            UsageError: the connection is to another database, or has no transaction open.
            StoreLocked: another connection is writing, and your transaction began by reading.
        """
        run_id, arguments = self._prepared(workflow, id, args, kwargs)
        if connection is None:
            await self.backend.start(workflow, run_id, arguments)
        else:
            await self.backend.start_on(connection, workflow, run_id, arguments)
        return RunHandle(run_id, self, workflow)

    async def run(self, workflow: Workflow[..., R], *args: Any, id: str | None = None, **kwargs: Any) -> R:
        """Start a run and wait for its result: ``start`` and ``result`` in one."""
        run_id, arguments = self._prepared(workflow, id, args, kwargs)
        state = await self.backend.run(workflow, run_id, arguments)
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
        data = as_json(result, "the result")
        await self._complete(token, Request("complete", operator(by), result=data))

    async def fail(self, token: str, message: str, *, fatal: bool = False, by: str | None = None) -> None:
        """Say that the attempt of a step that returned ``mg.PENDING`` failed and took no effect; it is retried as usual.

        ``fatal``: trying again is pointless. Raises as ``complete`` does.
        """
        failure = Failure("CompletionFailed", message)
        await self._complete(token, Request("fail", operator(by), message, failure=failure, fatal=fatal))

    async def _complete(self, token: str, request: Request) -> None:
        run_id, step, attempt = read(token)
        request = msgspec.structs.replace(request, step=str(step), attempt=attempt)
        await self.backend.request(run_id, request)

    async def get(self, run_id: str) -> RunHandle[Any]:
        """The run of that id.

        Raises:
            RunNotFound: there is none.
        """
        row = await self.backend.find(run_id)
        if row is None:
            raise not_found(run_id)
        return RunHandle(run_id, self, self._known(row.workflow, row.version))

    def _known(self, name: str, version: int) -> Workflow[..., Any] | None:
        try:
            return self._registry.get(name, version)
        except UnknownWorkflow:
            return None

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
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        limit: int = 100,
        before_key: int | None = None,
    ) -> list[RunSummary]:
        """Runs, the newest first; ``before_key`` (a summary's ``key``) continues a list."""
        if status is not None and status not in set(Status):
            raise UsageError(f"there is no status {status!r}: it is one of {', '.join(Status)}.")
        rows = await self.backend.list(status=status, workflow=workflow, limit=limit, before_key=before_key)
        return [
            RunSummary(row.key, row.id, row.workflow, row.status, row.started_at, row.ended_at, row.version)
            for row in rows
        ]


class RunHandle(Generic[R]):
    """One run, wherever it is being driven."""

    def __init__(self, run_id: str, engine: Engine, workflow: Workflow[..., R] | None) -> None:
        self.id = run_id
        self._engine = engine
        self._workflow = workflow

    async def result(self) -> R:
        """Wait for the run's end and give its result; plain JSON values if this engine does not know the workflow.

        Raises:
            RunFailed, RunCompensated, RunCancelled, RunTerminated: the run ended otherwise, with the cause.
        """
        return self._engine.result_of(await self._engine.backend.ending(self.id), self._workflow)  # type: ignore[no-any-return]

    async def describe(self) -> Description:
        """What the run has done, undone and left, and what it waits for."""
        backend = self._engine.backend
        entries = await backend.entries(self.id)
        description = describe(entries)
        if description.ended_at is None and not description.parked:
            why_not = await backend.waiting_for(self.id)
            if why_not:
                description = msgspec.structs.replace(description, waiting_for=why_not)
        children: dict[str, str] = {}
        stands = await self._stands(description, children)
        return description.with_children(children, held_up=stands)

    async def _stands(self, run: Description, seen: dict[str, str]) -> bool:
        """Whether only an operator can get it going; notes how the children stand that it waits for, and theirs."""
        backend = self._engine.backend
        active = [step for step in run.steps if step.state in ACTIVE]
        stands = run.status == Status.PARKED or bool(active)
        for step in active:
            row = await backend.find(step.child) if step.child and len(seen) < CHILDREN_LIMIT else None
            if row is None:
                stands = False
                continue
            seen[row.id] = row.status
            if row.status != Status.PARKED:
                entries = await backend.entries(row.id)
                stands = await self._stands(describe(entries), seen) and stands
        return stands

    async def view(self) -> dict[str, Any]:
        """What may be seen of the run: ``status``, ``steps_completed``, ``steps_pending`` and what it published."""
        return view_of(folded(await self._engine.backend.entries(self.id)))

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """The view as it is, then each further one as it becomes durable, until the run has ended."""
        last = b""
        async for state in self._engine.backend.states(self.id):
            view = view_of(state)
            before, last = last, msgspec.json.encode(view)
            if last != before:
                yield view

    async def update(
        self, update: Update[T, U], value: T, /, *, id: str | None = None, by: str | None = None
    ) -> U:
        """Ask the workflow something, and wait for its reply.

        A workflow that has no handler for it yet is waited for, and so is a worker: use ``asyncio.timeout``.

        Args:
            update: the ``mg.Update`` that the workflow has, or will have, a handler for.
            value: what is asked.
            id: makes it safe to ask again: the same id and value are handled once, and give the same reply, also after
                the run has ended.
            by: who asks, for the journal.

        Raises:
            UpdateRejected: the workflow's validator rejected it; nothing was recorded.
            UpdateFailed: the handler raised, or the workflow ended before it had replied.
            NotPossible: the run has ended or is being rolled back, or the id was used with another value.
            PayloadError: the value does not fit the update's type, or is too large; nothing was sent.
            RunNotFound: there is no such run.
        """
        if not isinstance(update, Update):
            raise UsageError(f"update() takes an mg.Update, not {update!r}.")
        request = Request(
            "update",
            operator(by),
            result=update.payload.encode(value),
            name=update.name,
            id=secrets.token_hex(8) if id is None else checked_update_id(id),
        )
        answer = await self._engine.backend.update(self.id, request, is_new=id is None)
        if answer.failure is not None:
            raise UpdateFailed(self.id, update.name, answer.failure)
        return update.reply.decode(answer.reply)  # type: ignore[no-any-return]

    async def history(self) -> list[HistoryItem]:
        """The journal, event by event."""
        return flatten(await self._engine.backend.entries(self.id))

    async def verify(self) -> int:
        """Check the journal's hashes, and that its events make sense and fit the list of runs; the number of entries.

        Raises:
            JournalCorrupt: it was altered; the message says where.
        """
        backend = self._engine.backend
        row = await backend.find(self.id)
        entries = await backend.entries(self.id)
        told = describe(entries)
        if row is not None and not (
            told.id == row.id
            and told.workflow == row.workflow
            and (row.ended_at is None or told.status == row.status)
        ):
            raise JournalCorrupt(
                f"run {row.id} is listed as {row.status} of workflow {row.workflow}, but its journal tells "
                f"of run {told.id}, {told.status}, of workflow {told.workflow}: one of the two was altered."
            )
        return len(entries)

    async def cancel(self, why: str = "", *, by: str | None = None) -> None:
        """Ask the run to stop: the workflow gets ``CancelledError``, and what was done is undone."""
        await self._request("cancel", by=by, why=why)

    async def terminate(self, why: str = "", *, compensate: bool = False, by: str | None = None) -> None:
        """End the run at once, whatever state it is in: TERMINATED. No more of its workflow's code is run.

        Args:
            compensate: first undo what was done; otherwise it is left as it is and listed as residue.
        """
        await self._request("terminate", by=by, why=why, compensate=compensate)

    async def retry(self, step: str = "", *, why: str = "", by: str | None = None) -> None:
        """Give a parked step or compensation a new round of attempts, or a run whose code was corrected another try."""
        await self._request("retry", step=step, by=by, why=why)

    async def skip(self, step: str = "", *, why: str = "", by: str | None = None) -> None:
        """Go on without a parked step (its call returns None); a skipped compensation leaves its effect open: residue."""
        await self._request("skip", step=step, by=by, why=why)

    async def resolve(
        self, result: Any = None, step: str = "", *, why: str = "", by: str | None = None
    ) -> None:
        """Say how a parked step turned out: it is done, with this result; a parked compensation: it was done by hand."""
        data = as_json(result, "the result")
        await self._request("resolve", step=step, by=by, why=why, result=data)

    @overload
    async def signal(self, signal: Signal[None], /, *, id: str = ..., by: str = ...) -> None: ...
    @overload
    async def signal(self, signal: Signal[T], value: T, /, *, id: str = ..., by: str = ...) -> None: ...
    @overload
    async def signal(self, signal: str, value: Any = ..., /, *, id: str = ..., by: str = ...) -> None: ...
    async def signal(
        self, signal: Signal[Any] | str, value: Any = None, /, *, id: str = "", by: str = ""
    ) -> None:
        """Send the run a signal; it is durable when this returns, whether the workflow waits for it yet or not.

        Args:
            signal: the ``mg.Signal``, or its name.
            value: what it carries.
            id: makes it safe to send again: of all signals with this id the run accepts one.
            by: who sends it, for the journal.

        Raises:
            NotPossible: the run has ended.
            PayloadError: the value does not fit the signal's type, or is too large; nothing was sent.
            NoWorker: nobody has answered; the signal is stored, and the next worker delivers it.
        """
        if isinstance(signal, Signal):
            name, data = signal.name, signal.payload.encode(value)
        else:
            name, data = signal, as_json(value, f"signal {signal}")
        check_signal(name, data, None if self._workflow is None else self._workflow.signals.get(name))
        request = Request("signal", by, result=data, name=name, id=checked_signal_id(id))
        await self._engine.backend.request(self.id, request)

    async def _request(
        self,
        action: Action,
        *,
        by: str | None,
        why: str,
        step: str = "",
        result: msgspec.Raw = NULL,
        compensate: bool = False,
    ) -> None:
        request = Request(action, operator(by), why, step, result, compensate)
        await self._engine.backend.request(self.id, request)

    def __repr__(self) -> str:
        return f"<run {self.id}>"


def result_of(state: RunState, workflow: Workflow[..., Any] | None) -> Any:
    """What a run that ended like this returns, or raises."""
    assert state.status_ is not None
    if state.result is None:
        raise ENDINGS[state.status_](
            state.id,
            state.failure,
            step=state.failed_step or None,
            undone=state.undone,
            residue=state.residue,
        )
    return (
        msgspec.json.decode(state.result)
        if workflow is None
        else workflow.signature.decode_result(state.result)
    )


def operator(named: str | None) -> str:
    """Who acts: where nobody is named, the user of this process."""
    if named is not None:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def as_json(value: Any, where: str) -> msgspec.Raw:
    """A value of a type that this process may not know, as JSON.

    Raises:
        PayloadError: it has no JSON form.
    """
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=_model_json))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise PayloadError(f"{where}: {value!r:.200} cannot be stored as JSON: {error}.") from error


def _model_json(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"objects of type {type(value).__qualname__} have no JSON form")
    return dump(mode="json")
