"""Children: runs that another run started. ``await other_workflow(…)`` and ``mg.start_child``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from makegood.definition.scope import current_scope
from makegood.definition.step import Safeguards, Step, StepOptions
from makegood.errors import OutsideWorkflow, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from makegood.definition.workflow import Workflow

R_co = TypeVar("R_co", covariant=True)


class Child(Protocol[R_co]):
    """A child run, as its parent holds it: awaited, it gives the result, or raises ``ChildFailed``.

    One that is never awaited is still waited for before its parent ends.
    """

    @property
    def id(self) -> str:
        """The child's run id."""

    def __await__(self) -> Generator[Any, None, R_co]: ...

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the child run: what it has done is undone. False if it has ended."""

    def done(self) -> bool: ...


class ChildStep(Step[..., Any]):
    """A workflow in the place of a step. Its attempts, retries and compensations are the child run's own business."""

    def __init__(self, workflow: Workflow[..., Any]) -> None:
        self.workflow = workflow
        self.function = workflow.function
        self.is_async = True
        self.options_ = StepOptions(workflow.name, retry=None)
        self.first_wait_seconds = 0.0
        self.signature = workflow.signature
        self.safeguards = Safeguards()
        self.__name__ = workflow.name


def start_child(
    workflow: Workflow[..., R_co], *args: Any, id: str | None = None, **kwargs: Any
) -> Child[R_co]:
    """Start a child run inside a workflow.

    When the parent is rolled back, a child that has completed is undone by its own compensations, in its place in the
    parent's order; one that still runs is cancelled first.

    Args:
        workflow: an ``@mg.workflow`` function.
        args, kwargs: its arguments.
        id: names the child run; by default ``<the parent's id>/<number of the step>-<the workflow's name>``.

    Raises:
        OutsideWorkflow: called where no workflow runs.
        RunConflict: this run has a child of this id already, or it is the id of the run itself.
        PayloadError: an argument cannot be stored.
    """
    scope = current_scope.get()
    if scope is None:
        raise OutsideWorkflow(
            "mg.start_child() was called outside a workflow. There, start a run with `await engine.start(…)`."
        )
    if not hasattr(workflow, "as_step"):
        raise UsageError(f"start_child() takes a function decorated with @mg.workflow, not {workflow!r}.")
    return scope.call_child(workflow, args, kwargs, id)
