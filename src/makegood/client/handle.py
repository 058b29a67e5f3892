"""``RunHandle``: a run as its starter and its operators hold it."""

from __future__ import annotations

import asyncio
import getpass
import secrets
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from makegood.client.family import described, exported
from makegood.definition.keys import checked_run_id
from makegood.definition.payload import NULL, encode_as_json
from makegood.definition.signal import Signal, check_signal, checked_signal_id
from makegood.definition.sleep import checked_seconds
from makegood.definition.update import Update, checked_update_id, named_update
from makegood.definition.workflow import Workflow
from makegood.description import Description, describe, flatten, leg_entries
from makegood.diagram import diagram
from makegood.engine.folds import folded
from makegood.engine.missed import MISSED
from makegood.engine.operator import Action, Request
from makegood.engine.run import Status
from makegood.engine.views import view_of
from makegood.errors import (
    JournalCorrupt,
    NotPossible,
    RunCancelled,
    RunCompensated,
    RunError,
    RunFailed,
    RunTerminated,
    StillMissed,
    UpdateFailed,
    UsageError,
)
from makegood.rollback_plan import RollbackPlan, rollback_plan
from makegood.timeline import Timeline, timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from makegood.client.engine import Engine
    from makegood.description import HistoryItem
    from makegood.engine.run import RunState
    from makegood.export import Export

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")

ENDINGS: dict[Status, type[RunError]] = {
    Status.FAILED: RunFailed,
    Status.COMPENSATED: RunCompensated,
    Status.CANCELLED: RunCancelled,
    Status.TERMINATED: RunTerminated,
}

NOT_ANSWERED = (
    "run {} has not answered update {} within {:g} s: it has no handler for it, its handler is still at work, or no worker "
    "is. What was accepted is answered all the same: ask again under the id {}."
)


class RunHandle(Generic[R]):
    """One run, wherever it is being driven."""

    def __init__(self, run_id: str, engine: Engine, workflow: Workflow[..., R] | None) -> None:
        self.id = run_id
        self._engine = engine
        self._workflow = workflow

    @property
    def engine(self) -> Engine:
        """The engine that this handle came from."""
        return self._engine

    async def result(self) -> R:
        """Wait for the run's end and give its result; plain JSON values if this engine does not know the workflow.

        Raises:
            RunFailed, RunCompensated, RunCancelled, RunTerminated: the run ended otherwise, with the cause.
        """
        return self._engine.result_of(await self._engine.backend.ending(self.id), self._workflow)  # type: ignore[no-any-return]

    async def describe(self) -> Description:
        """What the run has done, undone and left, and (``waiting_for``, one sentence) why it is not moving."""
        return await described(self._engine.backend, self.id, self._engine.now())

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

    @overload
    async def update(
        self,
        update: Update[T, U],
        value: T,
        /,
        *,
        id: str | None = ...,
        by: str | None = ...,
        timeout: float | timedelta | None = ...,  # noqa: ASYNC109 - as in Signal.receive
    ) -> U: ...
    @overload
    async def update(
        self,
        update: str,
        value: Any = ...,
        /,
        *,
        id: str | None = ...,
        by: str | None = ...,
        timeout: float | timedelta | None = ...,  # noqa: ASYNC109 - as in Signal.receive
    ) -> Any: ...
    async def update(
        self,
        update: Update[Any, Any] | str,
        value: Any = None,
        /,
        *,
        id: str | None = None,
        by: str | None = None,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> Any:
        """Ask the workflow something, and wait for its reply.

        A workflow that has no handler for it yet is waited for, and so is a worker, for at most ``timeout``.

        Args:
            update: the ``mg.Update`` that the workflow has, or will have, a handler for; or its name, and the reply is
                plain JSON values.
            value: what is asked.
            id: makes it safe to ask again: the same id and value are handled once, and give the same reply, also after
                the run has ended.
            by: who asks, for the journal.
            timeout: seconds or a timedelta; None waits for as long as it takes.

        Raises:
            TimeoutError: there is no reply yet; the message has the id under which to ask for it again.
            UpdateRejected: the workflow's validator rejected it; nothing was recorded.
            UpdateFailed: the handler raised, or the workflow ended before it had replied.
            NotPossible: the run has ended or is being rolled back, or the id was used with another value.
            PayloadError: the value does not fit the update's type, or is too large; nothing was sent.
            RunNotFound: there is no such run.
        """
        by_name, update = isinstance(update, str), named_update(update)
        wait_seconds = (
            None if timeout is None else checked_seconds(timeout, f"update {update.name}: timeout=")
        )
        request = Request(
            "update",
            operator(by),
            result=encode_as_json(value, f"update {update.name}")
            if by_name
            else update.payload.encode(value),
            name=update.name,
            id=secrets.token_hex(8) if id is None else checked_update_id(id),
        )
        limit = asyncio.timeout(wait_seconds)
        try:
            async with limit:
                answer = await self._engine.backend.update(self.id, request, is_new=id is None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(NOT_ANSWERED.format(self.id, update.name, wait_seconds, request.id)) from None
        if answer.failure is not None:
            raise UpdateFailed(self.id, update.name, answer.failure)
        return update.reply.decode(answer.reply)

    async def history(self, *, after: int = 0, limit: int | None = None) -> list[HistoryItem]:
        """The journal, event by event; or a page of it: at most ``limit`` entries, those after the number ``after``."""
        if after < 0 or (limit is not None and limit < 1):
            raise UsageError(
                f"history(after={after}, limit={limit}): a page begins after entry 0 or a later one, and holds some."
            )
        if limit is None and not after:
            return flatten(await self._engine.backend.entries(self.id, all_legs=True))
        return flatten(await self._engine.backend.page(self.id, after, -1 if limit is None else limit), after)

    async def pin(self, why: str = "", *, by: str | None = None) -> None:
        """Have the run kept by ``engine.prune``, until ``unpin``.

        Raises:
            RunPruned: it is too late.
        """
        await self._engine.backend.retention.pin(self.id, operator(by), why)

    async def unpin(self) -> None:
        """No longer have it kept."""
        await self._engine.backend.retention.unpin(self.id)

    async def timeline(self) -> Timeline:
        """What happened and when, all legs of it, as data; ``makegood show ID --timeline`` draws it."""
        return timeline(await self._engine.backend.entries(self.id, all_legs=True))

    async def diagram(self) -> str:
        """What happened as a Mermaid flowchart: steps, attempts, children, waits, compensations, and the end."""
        return diagram(await self.timeline())

    async def export(self, *, children: bool = False) -> Export:
        """The run as plain data: its description, every event of all legs, and its journal with the hashes.

        ``msgspec.json.encode`` makes JSON of it. ``children``: with the runs that it called.

        Raises:
            JournalCorrupt: it was altered; the message says where.
        """
        return await exported(self._engine.backend, self.id, children=children)

    async def verify(self) -> int:
        """Check the journal's hashes, and that its events make sense and fit the list of runs; the number of entries.

        Raises:
            JournalCorrupt: it was altered; the message says where.
        """
        backend = self._engine.backend
        row = await backend.find(self.id)
        entries = await backend.entries(self.id, all_legs=True)
        told, legs = describe(entries), leg_entries(entries)
        if row is not None and not (
            told.id == row.id
            and told.workflow == row.workflow
            and told.version == row.version
            and row.leg_entry in (legs if row.ended_at is None else legs[-1:])
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

    async def rollback(self, to: str = "", *, why: str = "", by: str | None = None) -> None:
        """Undo what the run has done, all of it or what came after the step ``to``, and end it: TERMINATED.

        No more of its workflow's code is run. What stays done is listed as residue. ``rollback_plan`` tells beforehand.

        Args:
            to: the name or number of the last step that stays.
        """
        await self._request("terminate", step=to, by=by, why=why, compensate=True)

    async def rollback_plan(self, to: str = "") -> RollbackPlan:
        """What ``rollback`` would undo, and in which order.

        Raises:
            NotPossible: there is no such step, or the run cannot be rolled back.
        """
        return rollback_plan(folded(await self._engine.backend.entries(self.id)), to)

    async def fork(
        self, from_step: str, *, id: str | None = None, why: str = "", by: str | None = None
    ) -> RunHandle[R]:
        """Start another run of the same workflow and input that takes over what this one did before ``from_step``.

        The steps before it are not run again: their results are this run's, and if the fork is rolled back, it undoes them
        with this run's idempotency keys. For the workflow's clock they happened when it was forked.

        Args:
            from_step: the name or number of the first step that is run anew.
            id: the fork's.

        Raises:
            NotPossible: this run has not ended, or what it did cannot be taken over (it was undone, say).
            RunConflict: there is a run of that id, and it is not the same fork.
        """
        fork_id = f"{self.id}-fork-{secrets.token_hex(3)}" if id is None else checked_run_id(id)
        await self._engine.backend.fork(self.id, from_step, fork_id, by=operator(by), why=why)
        return RunHandle(fork_id, self._engine, self._workflow)

    async def pause(self, why: str = "", *, by: str | None = None) -> None:
        """Have the run stand still until it is resumed, cancelled or terminated.

        No attempt begins and no timer fires; what is under way ends and is recorded. Signals are accepted, updates wait
        until the run goes on. Its child runs go on: they can be paused themselves.
        """
        await self._request("pause", by=by, why=why)

    async def resume(self, *, why: str = "", by: str | None = None) -> None:
        """Have a run go on that was paused, or whose code did not fit its journal and was corrected."""
        await self._request("resume", by=by, why=why)

    async def retry(
        self,
        step: str = "",
        *,
        arguments: list[Any] | dict[str, Any] | None = None,
        why: str = "",
        by: str | None = None,
    ) -> None:
        """Give a parked step or compensation a new round of attempts, or a run whose code was corrected another try.

        Args:
            step: its name or number, where several are parked.
            arguments: other ones for the step, by position or by name. Its idempotency key changes with them; so that is
                only possible while it is certain that the step did not take effect.
        """
        given = NULL if arguments is None else encode_as_json(arguments, "the arguments")
        await self._request("retry", step=step, by=by, why=why, arguments=given)

    async def retry_missed(self, *, why: str = "", by: str | None = None) -> None:
        """Try the best-effort steps again that failed in this run, which has completed without them: once each.

        Each attempt is recorded, with its outcome; the run stays as it is. The idempotency keys are the steps' own.

        Raises:
            NotPossible: the run has not completed, or has missed nothing.
            StillMissed: some failed again.
        """
        run = describe(await self._engine.backend.entries(self.id))
        steps = [step for step in run.steps if step.state in MISSED and not step.critical]
        if not steps:
            raise NotPossible(f"run {self.id} has no missed steps.")
        failed = []
        for step in steps:
            request = Request("redrive", operator(by), why, str(step.number))
            try:
                await self._engine.backend.redrive(self.id, request)
            except StillMissed as again:
                failed.append(str(again))
        if failed:
            raise StillMissed("\n".join(failed))

    async def skip(self, step: str = "", *, why: str = "", by: str | None = None) -> None:
        """Go on without a parked step: its call returns None. A skipped compensation leaves its effect open: residue.

        Raises:
            NotPossible: the workflow would fail at once, as it needs the result.
        """
        await self._request("skip", step=step, by=by, why=why)

    async def resolve(
        self, result: Any = None, step: str = "", *, why: str = "", by: str | None = None
    ) -> None:
        """Say how a parked step turned out: it is done, with this result; a parked compensation: it was done by hand."""
        data = encode_as_json(result, "the result")
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
            name, data = signal, encode_as_json(value, f"signal {signal}")
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
        arguments: msgspec.Raw = NULL,
    ) -> None:
        request = Request(action, operator(by), why, step, result, compensate, arguments=arguments)
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
