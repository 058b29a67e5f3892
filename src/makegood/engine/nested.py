"""A saga inside a workflow: what belongs to it, and its rollback while the run goes on.

The program notes what happens inside, ends it when the block fails, and waits; the execution undoes it, step by step.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from makegood.engine.journal import SagaRollbackStarted
from makegood.engine.main_task import Future
from makegood.engine.run import UNDO_EXHAUSTED, UNDOING
from makegood.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from makegood.engine.journal import CompensationScheduled, Decision
    from makegood.engine.main_task import Branch
    from makegood.engine.run import RunState, StepRecord
    from makegood.engine.undoing import UndoingLoop
    from makegood.failure import Failure


class Shielded(Future):
    """What a block waits for while it is undone. A cancellation meanwhile is delivered afterwards."""

    __slots__ = ("_cancelled_with",)

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self._cancelled_with = (msg,)
        return True

    def over(self) -> None:
        held_back = getattr(self, "_cancelled_with", None)
        if held_back is None:
            self.set_result(None)
        else:
            super().cancel(*held_back)


class NestedSaga:
    """One ``async with mg.saga()``. Implements ``definition.scope.SagaBlock``."""

    def __init__(self, number: int, program: UndoingLoop) -> None:
        self.number = number
        self.program = program
        self.outer: NestedSaga | None = None
        self.steps: list[int] = []  # called inside, also in branches and in sagas inside
        self.failure: Failure | None = None
        self.settled = False  # nothing that was started inside still runs, as far as the program knows
        self.waiter: Shielded | None = None
        self.plan: list[StepRecord] | None = None  # the next one last
        self.undoing: StepRecord | None = None
        self._entered = False

    async def __aenter__(self) -> None:
        if self._entered:
            raise UsageError("a saga is entered once: call mg.saga() for each `async with`.")
        self._entered = True
        self.outer = current_saga.get()
        current_saga.set(self)

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        current_saga.set(self.outer)
        if error is not None and not isinstance(error, GeneratorExit):
            waiter = self.program.roll_back(self, error)
            if waiter is not None:
                await waiter

    def join(self, step: int) -> None:
        """A step was called inside."""
        saga: NestedSaga | None = self
        while saga is not None:
            saga.steps.append(step)
            saga = saga.outer

    def is_inside(self, other: NestedSaga) -> bool:
        saga: NestedSaga | None = self
        while saga is not None and saga is not other:
            saga = saga.outer
        return saga is other


current_saga: ContextVar[NestedSaga | None] = ContextVar("makegood_saga", default=None)


def tasks_inside(saga: NestedSaga, tasks: Iterable[Branch]) -> list[Branch]:
    """Those that were started inside a saga and still run."""
    this = asyncio.current_task(saga.program)
    return [
        task
        for task in tasks
        if task.saga is not None and task.saga.is_inside(saga) and task is not this and not task.done()
    ]


class SagaUndone:
    """What the program is told of: nothing of a failed saga is left to undo. It follows from the journal."""

    __slots__ = ("saga",)

    def __init__(self, saga: NestedSaga) -> None:
        self.saga = saga


def undone(
    saga: NestedSaga,
    run: RunState,
    decide: Callable[[Decision], None],
    schedule: Callable[[int], CompensationScheduled],
) -> bool:
    """Go on undoing a failed saga, once all its steps have settled; whether nothing is left to undo."""
    if not saga.settled:
        return False
    if saga.plan is None:
        records = [run.steps[number] for number in saga.steps]
        if any(record.in_flight for record in records):
            return False
        saga.plan = [record for record in records if record.needs_undo]
        assert saga.failure is not None
        order = [record.number for record in reversed(saga.plan)]
        decide(SagaRollbackStarted(saga.number, order, saga.failure))
    if saga.undoing is not None and saga.undoing.state in (UNDOING, UNDO_EXHAUSTED):
        return False
    while saga.plan:
        saga.undoing = saga.plan.pop()
        if saga.undoing.needs_undo:
            decide(schedule(saga.undoing.number))
            return False
    return True
