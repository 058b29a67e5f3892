"""What a workflow says about being undone: ``mg.saga``, ``mg.on_rollback``, ``mg.pivot``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from makegood.definition.scope import running_scope
from makegood.definition.step import Compensation, Safeguards, Step
from makegood.errors import UsageError

if TYPE_CHECKING:
    import msgspec

    from makegood.definition.scope import SagaBlock

P = ParamSpec("P")


class RollbackStep(Step[..., Any]):
    """A step that is carried out only in a rollback: its own function is its compensation."""

    def __init__(self, step: Step[..., Any]) -> None:
        super().__init__(step.function, step.options_)
        options = step.options_
        self.signature = step.signature
        self.safeguards = Safeguards(
            Compensation(
                step.function,
                step.is_async,
                options.retry,
                options.timeout_seconds,
                breaker=options.breaker,
                limited=True,
            )
        )

    def call(
        self, kind: Literal["do", "undo", "probe"], arguments: msgspec.Raw, result: msgspec.Raw | None
    ) -> Any:
        return self.signature.call(arguments)


def saga() -> SagaBlock:
    """A saga inside the workflow: ``async with mg.saga(): …``.

    When an exception leaves the block, what happened inside (also in branches, and in sagas inside it) is undone in
    reverse order before the exception goes on. Without one, it stays part of the saga around.

    Raises:
        OutsideWorkflow
    """
    return running_scope("saga").open_saga()


def on_rollback(step: Step[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
    """Register a step to be run if the workflow, or the saga around this call, is rolled back.

    It takes its turn among the compensations by the place of this call, with the step's own retries and time limit, and
    a key of its own. When it gives up, the run parks.

    Raises:
        OutsideWorkflow
        UsageError: it is no step, or the arguments do not fit it.
    """
    scope = running_scope("on_rollback")
    if not isinstance(step, Step):
        raise UsageError(
            f"on_rollback() takes a function decorated with @mg.step and its arguments, not {step!r}."
        )
    scope.register_rollback(RollbackStep(step), args, kwargs)


def pivot() -> None:
    """The point of no return, for the whole run: from here on nothing is rolled back, it only goes forward.

    Steps that give up and errors of the workflow's own park the run; it can no longer be cancelled. Saying it again
    changes nothing.

    Raises:
        OutsideWorkflow
        asyncio.CancelledError: the run was cancelled before.
    """
    running_scope("pivot").pivot()
