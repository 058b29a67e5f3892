"""Runs in a store of ours: this process is its worker, or, while another process is, a client of it.

open ──▶ WORKER                       requests go straight to the worker in this process
  └────▶ CLIENT ──lock is free──▶ WORKER    requests go through the store, and the worker over there answers
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.backend.follow import Follower
from makegood.backend.overdue import Overdue
from makegood.backend.retention import Retention, pruned, refused
from makegood.backend.schedules import Schedules
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.fork import forked, is_same_fork
from makegood.engine.operator import has_ended
from makegood.engine.updates import NoHandler
from makegood.errors import (
    NotPossible,
    NoWorker,
    PayloadError,
    RunConflict,
    RunNotFound,
    StillMissed,
    StoreFull,
    StoreLocked,
    UpdateRejected,
    UsageError,
    not_found,
)
from makegood.store.codec import FIRST_HASH, fork_submission, submission, unseal, unseal_leg, unsealed_on
from makegood.store.protocol import RunRow
from makegood.worker.changes import Changes
from makegood.worker.inbox import NotYet
from makegood.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from makegood.definition.registry import Registry
    from makegood.definition.workflow import Workflow
    from makegood.engine.operator import Request
    from makegood.engine.run import RunState
    from makegood.store.protocol import SealedEntry, Store, Where
    from makegood.worker.executor import StandIn
    from makegood.worker.gates import Holding

log = logging.getLogger("makegood")

TAKE_OVER_SECONDS = 0.25
POLL_SECONDS = 0.02
OWN_POLL_SECONDS = 60.0
CHECK_SECONDS = 0.25
ANSWER_SECONDS = 3.0
REFUSALS: dict[str, type[UsageError]] = {
    error.__name__: error for error in (NotPossible, StillMissed, PayloadError, RunNotFound, UsageError)
}
"""What a worker in another process may say of a request, by name."""


class LocalBackend:
    """Implements ``backend.protocol.Backend`` over a ``store.protocol.Store``."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        now: Callable[[], float],
        dice: Callable[[], float],
        *,
        work: bool,
        waiting_limit: int,
        stand_in: StandIn | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.worker: Worker | None = None
        self._now = now
        self._dice = dice
        self._work = work
        self._waiting_limit = waiting_limit
        self._stand_in = stand_in
        self._changes = Changes()
        self._follower = Follower(store, self._changes, lambda: self.worker is not None)
        self._succession: asyncio.Task[None] | None = None
        self.retention = Retention(store, now)
        self.overdue = Overdue(store, registry, now, lambda: self.worker is not None)
        self.schedules = Schedules(store, now, lambda: None if self.worker is None else self.worker.scheduler)

    def watch(self, tell: Callable[[RunRow, float], Awaitable[None]]) -> None:
        """Tell of every run that gets overdue (``backend.overdue``)."""
        self._changes.begins = self.overdue.begins
        self.overdue.watch(tell)

    async def open(self) -> None:
        await self.store.open()
        try:
            is_worker = self._work and await self._take_over()
        except BaseException:
            await self.store.close()
            raise
        if self._work and not is_worker:
            log.info(
                "another process is the worker of this store: %s; standing by.", await self.store.owner()
            )
            self._succession = asyncio.create_task(self._succeed(), name="makegood-succession")

    async def close(self, grace_seconds: float) -> None:
        if self._succession is not None:
            self._succession.cancel()
            await asyncio.gather(self._succession, return_exceptions=True)
        await self.overdue.close()
        if self.worker is not None:
            await self.worker.stop(grace_seconds)
        await self._follower.close()
        await self.store.close()

    async def serve(self) -> None:
        while True:
            if self.worker is not None:
                self.worker.check()
            elif self._succession is not None and self._succession.done():
                self._succession.result()
            await asyncio.sleep(CHECK_SECONDS)

    async def start(
        self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw, tags: dict[str, str]
    ) -> None:
        if self.registry.add(workflow) and self.worker is not None:
            self.worker.recovery.look()
        worker = self.worker
        if worker is None:
            created = await self._submit(workflow, run_id, arguments, tags)
        elif run_id in worker.runs:
            created = False
        elif run_id in worker.starting:
            await worker.started(worker.starting[run_id])
            created = False
        else:
            if self._changes.begins is not None:
                self._changes.begins()
            created = await worker.started(worker.begin(workflow, run_id, arguments, tags=tags))
        if not created:
            await self._check_same(workflow, run_id, arguments)

    async def start_on(
        self,
        connection: Any,
        workflow: Workflow[..., Any],
        run_id: str,
        arguments: msgspec.Raw,
        tags: dict[str, str],
    ) -> None:
        write = submission(workflow, run_id, arguments, self._now(), tags)
        taken = self.store.submit_on(connection, write)
        if isinstance(taken, RunRow):
            raise refused(taken, workflow, arguments)
        if taken is not None:
            _check_same(unseal(run_id, [taken]), workflow, arguments)
        elif self.registry.add(workflow) and self.worker is not None:
            self.worker.recovery.look()

    async def run(
        self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw, tags: dict[str, str]
    ) -> RunState:
        worker = self.worker
        if worker is None or run_id in worker.runs or run_id in worker.starting:
            await self.start(workflow, run_id, arguments, tags)
            return await self.ending(run_id)
        if self.registry.add(workflow):
            worker.recovery.look()
        if self._changes.begins is not None:
            self._changes.begins()
        state = await worker.ending_of(worker.begin(workflow, run_id, arguments, tags=tags))
        if state is None:
            await self._check_same(workflow, run_id, arguments)
            return await self.ending(run_id)
        return state

    async def fork(self, run_id: str, step: str, fork_id: str, *, by: str, why: str) -> None:
        entries, now = await self.entries(run_id, all_legs=True), self._now()
        started, events = forked(entries, step, fork_id, now, by=by, why=why)
        if not await self.store.submit(fork_submission(events, started, now)):
            row = await self._existing(fork_id)
            [first] = unseal(fork_id, await self.store.journal(row.key, limit=1))
            if not is_same_fork(first.events[0], started):
                raise RunConflict(f"run {fork_id} exists already: give the fork another id.")
        if self.worker is not None:
            self.worker.recovery.look()

    async def _check_same(self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw) -> None:
        row = await self.find(run_id)
        if row is None:
            raise not_found(run_id)
        if row.pruned_at is not None:
            raise refused(row, workflow, arguments)
        _check_same(unseal(run_id, await self.store.journal(row.key, limit=1)), workflow, arguments)

    async def _submit(
        self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw, tags: dict[str, str]
    ) -> bool:
        return await self.store.submit(submission(workflow, run_id, arguments, self._now(), tags))

    async def ending(self, run_id: str) -> RunState:
        poll_seconds = POLL_SECONDS
        while True:
            run = None
            if self.worker is not None:
                self.worker.check()
                run = self.worker.runs.get(run_id)
                state = None if run is None else await self.worker.ending_of(run)
                if state is not None:
                    return state
            row = await self.find(run_id)
            if row is None:
                raise not_found(run_id)
            if row.ended_at is not None:
                ended = folded(await self.entries(run_id))
                if ended.status_ is not None:  # else it was reopened just now
                    return ended
            elif self.worker is None:
                await asyncio.sleep(poll_seconds)
                poll_seconds = min(poll_seconds * 1.5, 0.5)
            else:
                state = await self.worker.ending_within(run_id, OWN_POLL_SECONDS)
                if state is not None:
                    return state

    async def entries(self, run_id: str, *, all_legs: bool = False) -> Sequence[journal.Entry]:
        row = await self._existing(run_id)
        if all_legs:
            return unseal(run_id, await self.store.journal(row.key))
        sealed = await self.store.journal(row.key, after=row.leg_entry - 2)
        return unseal_leg(run_id, sealed, row.leg_entry)

    async def sealed(self, run_id: str) -> Sequence[SealedEntry]:
        return await self.store.journal((await self._existing(run_id)).key)

    async def states(self, run_id: str) -> AsyncIterator[RunState]:
        async for state in self._follower.states(await self._existing(run_id)):
            yield state

    async def find(self, run_id: str) -> RunRow | None:
        return await self.store.find(run_id)

    async def page(self, run_id: str, after: int, limit: int) -> Sequence[journal.Entry]:
        row = await self._existing(run_id)
        sealed = await self.store.journal(row.key, after=after - 1, limit=limit + (after > 0 and limit >= 0))
        previous_hash = FIRST_HASH
        if after > 0:
            previous_hash, sealed = (sealed[0].hash if sealed else FIRST_HASH), sealed[1:]
        return list(unsealed_on(run_id, sealed, after, previous_hash))

    async def list(self, where: Where, *, limit: int, before_key: int | None) -> Sequence[RunRow]:
        return await self.store.list(where, limit=limit, before_key=before_key)

    async def count(self, where: Where) -> int:
        return await self.store.count(where)

    async def request(self, run_id: str, request: Request) -> None:
        if self.worker is not None:
            self.worker.check()
            try:
                await self.worker.recovery.request(run_id, request, [])
            except NotYet:
                await self._post(run_id, request)
                return
            run = self.worker.runs.get(run_id)
            await self.worker.committer.flushed()
            if run is not None and run.overtaken:
                raise StoreFull(
                    f"run {run_id}: the store was full, and {request.action} may be lost: ask again."
                )
        else:
            await self._post(run_id, request)

    async def redrive(self, run_id: str, request: Request) -> None:
        await self._existing(run_id)
        number = await self.store.post(run_id, msgspec.json.encode(request))
        if self.worker is not None:
            self.worker.recovery.look()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._answered(run_id, request, number)
                    return
            if not await self.is_worked():
                raise NoWorker(
                    "no worker is alive. The request is stored, and the next worker carries it out."
                )

    async def missed(self, workflow: str | None, limit: int, before_key: int | None) -> Sequence[RunRow]:
        return await self.store.missed(workflow, limit, before_key)

    async def update(self, run_id: str, request: Request, *, is_new: bool) -> journal.UpdateAnswered:
        row = await self._existing(run_id)
        after = 0
        if row.ended_at is None:
            after = await self.store.length(row.key) if is_new else 0
            try:
                await self._accepted(run_id, request)
            except NotPossible:
                row = await self._existing(run_id)
                if row.ended_at is None:
                    raise
                after = 0  # it may have been answered under this id before
        answer = await self._follower.answer(row, request, after)
        if answer is None:
            raise has_ended(request, run_id, (await self._existing(run_id)).status)
        return answer

    async def _accepted(self, run_id: str, request: Request) -> None:
        """Wait until the workflow has accepted an update, also until it has a handler for it."""
        while self.worker is not None:
            changed = self._changes.of(run_id)
            try:
                await self.request(run_id, request)
            except NoHandler:
                await changed.wait()
            else:
                return
        await self._answered(run_id, request, await self.store.post(run_id, msgspec.json.encode(request)))

    async def _existing(self, run_id: str) -> RunRow:
        row = await self.find(run_id)
        if row is None:
            raise not_found(run_id)
        if row.pruned_at is not None:
            raise pruned(row)
        return row

    async def _post(self, run_id: str, request: Request) -> None:
        """Leave the request in the store's inbox; the worker over there sees to it."""
        row = await self._existing(run_id)
        if row.ended_at is not None:
            raise has_ended(request, run_id, row.status)
        number = await self.store.post(run_id, msgspec.json.encode(request))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._answered(run_id, request, number)
        except TimeoutError:
            raise NoWorker(
                f"no worker has answered for {ANSWER_SECONDS:g} s. "
                "The request is stored, and the next worker carries it out."
            ) from None

    async def _answered(self, run_id: str, request: Request, number: int) -> None:
        """Wait until a worker has carried out a request.

        Raises:
            UsageError: of the class that the worker says, why it was not carried out.
        """
        poll_seconds = POLL_SECONDS
        while (answer := await self.store.take_answer(number)) is None:
            await asyncio.sleep(poll_seconds)
            poll_seconds = min(poll_seconds * 1.5, CHECK_SECONDS)
        if answer.kind == UpdateRejected.__name__:
            raise UpdateRejected(run_id, request.name, answer.error)
        if answer.error:
            raise REFUSALS.get(answer.kind, NotPossible)(answer.error)

    def held(self, run_id: str) -> Mapping[int, Holding]:
        run = None if self.worker is None else self.worker.runs.get(run_id)
        return {} if run is None or self.worker is None else self.worker.gates.holding(run)

    async def is_worked(self) -> bool:
        return self.worker is not None or await self.store.is_worked()

    async def waiting_for(self, run_id: str) -> str:
        worker = self.worker
        if worker is None or run_id in worker.runs:
            return ""
        row = await self.find(run_id)
        if row is None or (row.wake_at is not None and worker.registry.knows(row.workflow, row.version)):
            return ""
        return worker.recovery.why_not(row)

    async def _take_over(self) -> bool:
        epoch = await self.store.take_over(f"{socket.gethostname()}:{os.getpid()}")
        if epoch is None:
            return False
        self.worker = Worker(
            self.store,
            epoch,
            self.registry,
            self._now,
            self._dice,
            waiting_limit=self._waiting_limit,
            changes=self._changes,
            stand_in=self._stand_in,
        )
        self.worker.start()
        return True

    async def _succeed(self) -> None:
        """Wait for the worker over there to end, and become the worker."""
        while True:
            try:
                if await self._take_over():
                    return
            except (StoreFull, StoreLocked) as refused:
                log.error("%s", refused)
            await asyncio.sleep(TAKE_OVER_SECONDS)


def _check_same(
    entries: Sequence[journal.Entry], workflow: Workflow[..., Any], arguments: msgspec.Raw
) -> None:
    first = entries[0].events[0]
    assert isinstance(first, journal.RunStarted)
    if first.workflow != workflow.name:
        raise RunConflict(
            f"run {first.id} exists already, of workflow {first.workflow}, not {workflow.name}. Use another id."
        )
    if msgspec.json.decode(first.input) != msgspec.json.decode(arguments):
        raise RunConflict(
            f"run {first.id} of workflow {workflow.name} exists already with another input. "
            "The same id and input give the same run; for another input use another id."
        )
