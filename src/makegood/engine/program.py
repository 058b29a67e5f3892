"""The protocol of a program: something that is told what happened and answers with decisions.

The coroutine program (``engine.coroutine``) drives a user's ``async def``; other notations fit behind the same seam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from makegood.definition.signal import Signal
    from makegood.definition.step import Step
    from makegood.engine.journal import Decision, RunContinued, SignalReceived, UpdateAccepted
    from makegood.engine.legs import Continued
    from makegood.engine.nested import NestedSaga
    from makegood.engine.run import RunState


class Program(Protocol):
    """Deterministic: the same calls give the same decisions."""

    run_id: str
    """Set by the execution before ``start``."""

    state: RunState | None
    """The run's state, to be read only. Set by the execution before ``start``."""

    clock: float
    """The run's time in seconds since 1970, set by the execution before each call."""

    steps: dict[int, Step[Any, Any]]
    """The declarations behind the step numbers scheduled so far."""

    decisions: list[Decision]
    """What it has decided; the execution takes them away."""

    pivoted: bool
    """Whether it has passed its point of no return."""

    winding_up: bool
    """Whether it is finished, or has sagas to roll back."""

    rollbacks: Sequence[NestedSaga]
    """Nested sagas that failed and wait to be undone."""

    patches: frozenset[str]
    """Changes of the code that the journal says this run took part in."""

    answers_recorded: float
    """In a replay: how many decisions are recorded in answer to what it was told last; infinity if more was told since."""

    idle: bool
    """Whether nothing that could still happen would wake it."""

    finished: bool
    error: BaseException | None
    """Once finished: what it raised, or None if it returned ``value``."""
    value: Any
    continuation: Continued | None
    """Once finished: what it goes on as new with, if it does."""

    timer_count: int

    def start(self, arguments: msgspec.Raw) -> None: ...

    def begin_leg(self, event: RunContinued) -> None:
        """Take over what an earlier leg leaves, before ``start``."""

    def renewed(self) -> Program:
        """A program for the same workflow that has not been started."""

    def resolve(self, step: int, result: msgspec.Raw | None) -> None:
        """A step's result; None for a step that the run goes on without."""

    def reject(self, step: int, error: Exception) -> None:
        """A step gave up; if the program has returned already, that is its error now."""

    def rolled_back(self, saga: NestedSaga) -> None:
        """All of a failed saga is undone."""

    def fire(self, timer: int) -> None: ...

    def cancel(self, reason: str) -> None: ...

    def check_update(self, run_id: str, name: str, value: msgspec.Raw) -> None:
        """Whether the workflow takes this update; it decides nothing.

        Raises:
            NoHandler: it has no handler for it so far.
            NotPossible, PayloadError, UpdateRejected: it does not.
        """

    def accept_update(self, accepted: UpdateAccepted) -> None:
        """Answer it, sooner or later, with the decision ``UpdateAnswered``."""

    def abandon(self) -> None:
        """End it without running any more of it; what it waits for is cancelled."""

    def fail(self, error: Exception) -> None:
        """End it as if it had raised this."""

    def deliver(self, signal: SignalReceived) -> None:
        """A signal has come: for whoever waits for it, or for later."""

    @property
    def unread(self) -> list[SignalReceived]:
        """The signals that have come and were not received, in the order of their coming."""

    def declared_signal(self, name: str) -> Signal[Any] | None:
        """The signal of that name, if the program has one."""

    def close(self) -> None:
        """Forget it without running any more of it."""
