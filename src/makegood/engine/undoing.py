"""What a workflow says about being undone: nested sagas, ``on_rollback``, the point of no return (see ``engine.nested``)."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from makegood.engine.journal import Pivoted, RollbackRegistered
from makegood.engine.loop import CLOSING_ROUNDS
from makegood.engine.main_task import Branch
from makegood.engine.nested import NestedSaga, Shielded, current_saga, tasks_inside
from makegood.engine.repeatable import RepeatableLoop
from makegood.engine.saga import cause
from makegood.errors import NotDurable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from makegood.definition.step import Step
    from makegood.engine.cancellation import Cancellation

REFUSES = "workflow {}: a branch inside a failed saga swallows its cancellation, {} times by now, and goes on waiting."


class UndoingLoop(RepeatableLoop):
    """The deterministic loop of a workflow that knows what belongs to which saga. ``engine.coroutine`` drives it."""

    error: BaseException | None = None
    winding_up = False
    rollbacks: Sequence[NestedSaga] = ()
    _saga_count = 0
    _cancellation: Cancellation | None = None
    _refusals = 0

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        if self._saga_count and isinstance(task, Branch):
            task.saga = current_saga.get() if context is None else context.run(current_saga.get)
        return task

    def open_saga(self) -> NestedSaga:
        self._saga_count += 1
        return NestedSaga(self._saga_count, self)

    def roll_back(self, saga: NestedSaga, error: BaseException) -> Shielded | None:
        """The block failed: have it undone, unless the whole run is going to be, or nothing is any more."""
        if self.pivoted or self._cancellation or self._closed or (self.finished and self.error is not None):
            return None
        saga.failure, _ = cause(error)
        saga.waiter = Shielded(loop=self)
        saga.waiter.number = self._count()
        saga.settled = self.finished
        self.rollbacks = [*self.rollbacks, saga]
        self.winding_up = True
        for task in tasks_inside(saga, self._tasks.values()):
            task.cancel()
        for number in saga.steps:
            if number in self._calls:
                self._calls[number].cancel()
        return None if self.finished else saga.waiter

    def _join_saga(self, step: int) -> None:
        saga = current_saga.get()
        if saga is not None:
            saga.join(step)

    def register_rollback(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.finished or self._closed:
            self._refused(f"on_rollback({step.options_.name})")
            return
        number = len(self.steps) + self.steps_before + 1
        arguments = step.signature.encode_arguments(args, kwargs)
        self.decisions.append(RollbackRegistered(number, step.options_.name, arguments))
        self.steps[number] = step
        if self._saga_count:
            self._join_saga(number)

    def pivot(self) -> None:
        if self._cancellation is not None:
            raise CancelledError
        if not (self.pivoted or self.finished):
            self.pivoted = True
            self.decisions.append(Pivoted())

    def _refused(self, what: str) -> Any:
        """The workflow is over: an error, or, for one that swallows it over and over, a wait for ever."""
        self._refusals += 1
        if self._refusals > CLOSING_ROUNDS:
            return self.create_future()
        if self._closed:
            raise GeneratorExit
        raise UsageError(f"{what} was called after its workflow had ended.")

    def _settle_sagas(self) -> None:
        """See that all that was started inside a failed saga ends. It may still run steps, but waits for nothing else."""
        for saga in self.rollbacks:
            for _ in range(CLOSING_ROUNDS):
                inside = tasks_inside(saga, self._tasks.values())
                if self.finished or self._is_busy(saga) or not inside:
                    break
                for task in inside:
                    task.cancel()
                self._pump()
            else:
                self.fail(NotDurable(REFUSES.format(self.name, CLOSING_ROUNDS)))
            saga.settled = saga.settled or not self._is_busy(saga)

    def _is_busy(self, saga: NestedSaga) -> bool:
        inner = any(other is not saga and other.is_inside(saga) for other in self.rollbacks)
        return inner or any(number in self._calls for number in saga.steps)
