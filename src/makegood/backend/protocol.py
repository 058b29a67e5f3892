"""What the client asks of the place where runs live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import msgspec

    from makegood.backend.overdue import Overdue
    from makegood.backend.retention import Retention
    from makegood.backend.schedules import Schedules
    from makegood.definition.registry import Registry
    from makegood.definition.workflow import Workflow
    from makegood.engine.journal import Entry, UpdateAnswered
    from makegood.engine.operator import Request
    from makegood.engine.run import RunState
    from makegood.store.protocol import RunRow, SealedEntry, Where
    from makegood.worker.gates import Holding


class Backend(Protocol):
    """Starts runs and answers for them."""

    registry: Registry

    @property
    def schedules(self) -> Schedules: ...

    @property
    def retention(self) -> Retention: ...

    async def open(self) -> None: ...

    async def close(self, grace_seconds: float) -> None: ...

    async def serve(self) -> None:
        """Work until cancelled.

        Raises:
            StoreError: the worker had to stop.
        """

    async def start(
        self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw, tags: dict[str, str]
    ) -> None:
        """Make the run durable; if the id exists with the same workflow and input, that is the run.

        Raises:
            RunPruned: it was, and is no more.
            RunConflict: the id exists with another workflow or input.
        """

    async def start_on(
        self,
        connection: Any,
        workflow: Workflow[..., Any],
        run_id: str,
        arguments: msgspec.Raw,
        tags: dict[str, str],
    ) -> None:
        """``start`` as a part of the transaction open on the caller's own connection to the store's database.

        Raises:
            UsageError: this connection cannot be used for that.
            StoreLocked: another connection is writing.
            RunConflict: the id exists with another workflow or input.
        """

    async def run(
        self, workflow: Workflow[..., Any], run_id: str, arguments: msgspec.Raw, tags: dict[str, str]
    ) -> RunState:
        """``start`` and ``ending`` in one: the caller is not interested in the moment between."""

    async def fork(self, run_id: str, step: str, fork_id: str, *, by: str, why: str) -> None:
        """Start a run that takes over what this one recorded before a step.

        Raises:
            RunNotFound
            NotPossible: that cannot be taken over.
            RunConflict: the fork's id exists, and is not this fork's.
        """

    async def ending(self, run_id: str) -> RunState:
        """Wait until the run has ended; its final state."""

    async def entries(self, run_id: str, *, all_legs: bool = False) -> Sequence[Entry]:
        """The run's journal, checked against its hashes; since the run last went on as new, if it did and not ``all_legs``.

        Raises:
            RunNotFound, JournalCorrupt
        """

    async def sealed(self, run_id: str) -> Sequence[SealedEntry]:
        """The run's whole journal as it is stored.

        Raises:
            RunNotFound
        """

    def states(self, run_id: str) -> AsyncIterator[RunState]:
        """The run's durable state now, and after each further entry until its end; always the same object.

        Raises:
            RunNotFound, JournalCorrupt
            StoreError: this engine was closed, or has stopped.
        """

    async def find(self, run_id: str) -> RunRow | None: ...

    async def page(self, run_id: str, after: int, limit: int) -> Sequence[Entry]:
        """At most so many of the run's entries, those after this number, checked as ``entries``."""

    async def list(self, where: Where, *, limit: int, before_key: int | None) -> Sequence[RunRow]: ...

    async def count(self, where: Where) -> int: ...

    async def request(self, run_id: str, request: Request) -> None:
        """Have an operator's request carried out.

        Raises:
            NotPossible: the run's state does not admit it; nothing was changed.
            NoWorker: nobody has answered; the request stays in the store for the next worker.
        """

    async def redrive(self, run_id: str, request: Request) -> None:
        """Have a missed step of a completed run tried again, and wait for what comes of it.

        Raises:
            NotPossible: the run's state does not admit it.
            StillMissed: it failed again.
            NoWorker: no worker is alive; the request stays in the store for the next one.
        """

    async def missed(self, workflow: str | None, limit: int, before_key: int | None) -> Sequence[RunRow]: ...

    async def update(self, run_id: str, request: Request, *, is_new: bool) -> UpdateAnswered:
        """Have the workflow answer an update. ``is_new``: nobody can have used its id before.

        Raises:
            RunNotFound
            NotPossible: the run has ended, or asked something else under this id before.
            UpdateRejected, PayloadError: the workflow does not accept it; nothing was recorded.
        """

    def held(self, run_id: str) -> Mapping[int, Holding]:
        """What holds steps of the run, by their numbers, as far as this process knows."""

    @property
    def overdue(self) -> Overdue: ...

    def watch(self, tell: Callable[[RunRow, float], Awaitable[None]]) -> None:
        """Tell of every run that gets overdue while this process is the worker, with what is usual, in seconds."""

    async def is_worked(self) -> bool:
        """Whether a worker is alive, in this process or another."""

    async def waiting_for(self, run_id: str) -> str:
        """Why nobody drives a run that has not ended; "" if somebody does."""
