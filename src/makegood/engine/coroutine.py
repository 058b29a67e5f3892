"""The coroutine program: a user's ``async def``, driven on the deterministic loop (``engine.loop``).

What the workflow waits for is settled by facts; each settling drives it to its next wait, and what it decided on the
way (steps, timers) is left in ``decisions``.
"""

from __future__ import annotations

import gc
from asyncio import _get_running_loop, _set_running_loop
from typing import TYPE_CHECKING, Any, TypeVar

from makegood.definition.keys import checked_run_id
from makegood.definition.scope import current_scope
from makegood.engine.cancellation import Cancellation
from makegood.engine.children import ChildCall, default_id
from makegood.engine.journal import (
    ChildScheduled,
    Pivoted,
    StepCancelled,
    StepScheduled,
    ViewUpdated,
)
from makegood.engine.loop import CLOSING_ROUNDS, NO_CONTEXT
from makegood.engine.main_task import MainTask, StepCall
from makegood.engine.nested import NestedSaga
from makegood.engine.signals import Signals
from makegood.engine.undoing import UndoingLoop
from makegood.engine.updates import NoHandler, Updates
from makegood.engine.views import PENDING, checked_view
from makegood.errors import NotDurable, NotPossible, RunConflict, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import msgspec

    from makegood.definition.signal import Signal
    from makegood.definition.step import Step
    from makegood.definition.update import Update
    from makegood.definition.workflow import Workflow
    from makegood.engine.journal import RunContinued, SignalReceived, UpdateAccepted

T = TypeVar("T")


class CoroutineProgram(UndoingLoop):
    """One run of a workflow function. Implements ``engine.program.Program`` and ``definition.scope.Scope``."""

    idle = False
    value: Any = None
    _main: MainTask | None = None
    _published: dict[str, int] | None = None
    _signals: Signals | None = None
    _child_ids: frozenset[str] | set[str] = frozenset()
    _frozen = False
    _updates: Updates | None = None

    def __init__(self, workflow: Workflow[..., Any]) -> None:
        super().__init__(workflow)
        self._rejected: list[StepCall] = []
        self._context.run(current_scope.set, self)

    # ---- the program protocol ------------------------------------------------------------------------------------

    def start(self, arguments: msgspec.Raw) -> None:
        self._main = MainTask(self.workflow.signature.call(arguments), self, self._context)
        self._drive(wake_main=True)
        self.legs_at_once = 0

    def begin_leg(self, event: RunContinued) -> None:
        self.leg, self.legs_at_once = event.leg, event.at_once + 1  # until it has waited
        self.steps_before, self.timer_count = event.steps, event.timers
        if event.view:
            self._published = checked_view(None, event.view)
        for signal in event.unread:
            self._mailboxes().deliver(signal)

    def renewed(self) -> CoroutineProgram:
        return CoroutineProgram(self.workflow)

    def resolve(self, step: int, result: msgspec.Raw | None) -> None:
        call = self._calls.pop(step, None)
        if call is not None:
            call.set_result(None if result is None else self.steps[step].signature.decode_result(result))
            self._settled(call)

    def reject(self, step: int, error: Exception) -> None:
        call = self._calls.pop(step, None)
        if self.finished:
            self.error = self.error or error
        elif call is not None:
            call.set_exception(error)
            self._rejected.append(call)
            self._settled(call)

    def fire(self, timer: int) -> None:
        call = self._timers.pop(timer)
        call.program = None
        self._ready.append(call)
        self._drive()

    def rolled_back(self, saga: NestedSaga) -> None:
        self.rollbacks = [other for other in self.rollbacks if other is not saga]
        self.winding_up = self.finished or bool(self.rollbacks)
        assert saga.waiter is not None
        saga.waiter.over()
        if not self.finished:
            self._drive()

    def cancel(self, reason: str) -> None:
        self._cancellation = Cancellation(reason, self.steps_called)
        if self.finished:
            self._cancel_calls()
        elif self._main is not None:
            self._main.cancel(reason or None)
            self._drive()

    def deliver(self, signal: SignalReceived) -> None:
        self._mailboxes().deliver(signal)
        if not self.finished:
            self._drive()

    @property
    def unread(self) -> list[SignalReceived]:
        return [] if self._signals is None else self._signals.unread

    def declared_signal(self, name: str) -> Signal[Any] | None:
        return self._mailboxes().declared(name)

    def _mailboxes(self) -> Signals:
        if self._signals is None:
            self._signals = Signals(self.workflow.signals)
        return self._signals

    def check_update(self, run_id: str, name: str, value: msgspec.Raw) -> None:
        if self.finished:
            raise NotPossible(f"run {run_id} answers no update {name} any more: its workflow is over.")
        if self.state is not None and self.state.paused is not None:
            raise NoHandler(f"run {run_id} takes no update {name} while it is paused.")
        self._updating().check(run_id, name, value)

    def accept_update(self, accepted: UpdateAccepted) -> None:
        self._updating().begin(accepted)
        self._drive()

    def _updating(self) -> Updates:
        if self._updates is None:
            self._updates = Updates(self)
        return self._updates

    def fail(self, error: Exception) -> None:
        self.finished = True
        self._ready.clear()
        with self._inside():
            if self._main is not None:
                self._discard(self._main.get_coro())
                self._context.run(self._main.stop)
            self._finish(error)
        self.error = error

    def abandon(self) -> None:
        self.finished = True
        self._ready.clear()
        self._discard_tasks()
        self.fail(UsageError(f"workflow {self.name} was terminated."))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._main is not None and not (self._main.finished or self.finished):
            self._discard(self._main.get_coro())
        if self.finished and not self._tasks:
            self._let_go()
            return
        stubborn = self._discard_tasks()
        with self._inside():
            self._context.run(self._let_go)
            if stubborn:  # the collector must not come upon it in the middle of another run
                gc.collect()

    def _discard_tasks(self) -> bool:
        """Whether one of them refuses to be closed."""
        stubborn = False
        for task in self._tasks.values():
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - no public way
                coroutine = task.get_coro()
                self._discard(coroutine)
                stubborn = stubborn or getattr(coroutine, "cr_frame", None) is not None
        return stubborn

    def _let_go(self) -> None:
        """Undo all references, as the program, its context and its tasks refer to each other: no collector is needed.

        A coroutine that refuses to be closed is finalized here, where its steps and timers get nowhere.
        """
        if self._main is not None:
            self._main.stop()
        self._ready.clear()
        self._tasks.clear()
        self._signals = None
        self._main, self._context, self._updates = None, NO_CONTEXT, None
        if self.error is not None:
            self.error.__traceback__ = None  # its frames hold on to everything that was ever called
            self.error = None
        if self.continuation is not None:
            self.continuation.__traceback__ = None
            self.continuation = None
        self.value = None
        self._calls.clear()
        self._timers.clear()
        self._rejected.clear()
        self.rollbacks = ()

    # ---- driving -------------------------------------------------------------------------------------------------

    def _settled(self, call: StepCall) -> None:
        """A step's call is done: go on with whoever waits for it, the workflow function itself behind any task."""
        main = self._main
        if main is None or main.waiting_for is not call:
            self._drive()
        elif self._ready:
            self.call_soon(main.wake)
            self._drive()
        else:
            self._drive(wake_main=True)

    def _drive(self, *, wake_main: bool = False) -> None:
        """Run until everything waits again, and see whether the workflow is over."""
        main = self._main
        assert main is not None
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            if wake_main:
                self._context.run(main.wake)
            if self._ready:
                self._pump()
            if self._cancellation is not None and not main.finished:
                self._insist(main, self._cancellation)
            if main.finished and not self.finished:
                self.value = main.value
                self._finish(self._left_with(main.error) or self._overlooked())
            if self.rollbacks:
                self._settle_sagas()
            signals = self._signals
            if signals is not None and not self._frozen:
                self.decisions += signals.change()
            self.idle = not (
                self._calls
                or self._timers
                or self.finished
                or self._updates
                or (signals is not None and signals.awaited)
                or self.rollbacks
            )
        finally:
            _set_running_loop(outer)

    def _insist(self, main: MainTask, cancellation: Cancellation) -> None:
        """Cancel it again, as long as it waits for anything but steps that it called since, or a saga's rollback."""
        try:
            cancellation.check(self.name, self.steps_called)
            while not (main.finished or self.rollbacks or cancellation.admits(self._calls)):
                cancellation.deliveries += 1
                main.cancel(cancellation.reason or None)
                for task in list(self._tasks.values()):
                    task.cancel()
                self._pump()
                cancellation.check(self.name, self.steps_called)
        except NotDurable as ignored:
            self.fail(ignored)

    def _overlooked(self) -> BaseException | None:
        """The failure of a step that the workflow never awaited."""
        for call in self._rejected:
            if call._log_traceback:  # noqa: SLF001 - asyncio's own mark of an exception that nobody has looked at
                return call.exception()
        return None

    def _finish(self, error: BaseException | None) -> None:
        """The workflow is over: end what it left behind.

        After an error or a cancellation that is everything. After a return, steps that it called and never awaited are
        waited for; what it has waited for and given up on is cancelled.
        """
        self.finished = self.winding_up = True
        self.error = error
        if self.pivoted and error is not None:
            self._freeze()
            return
        if self._tasks:
            self._cancel_tasks()
        for call in list(self._calls.values()):
            if call.was_awaited or error is not None or self._cancellation is not None:
                call.cancel()
        if self._timers:
            for timer in list(self._timers.values()):
                timer.cancel()
        if self._ready:
            self._pump()
        for saga in self.rollbacks:
            saga.settled = True

    def _freeze(self) -> None:
        """It failed behind its point of no return: what it decided on this way out is not to be, as it may be corrected."""
        self._frozen = True
        self._ready.clear()
        pivots = [place for place, decision in enumerate(self.decisions, 1) if type(decision) is Pivoted]
        del self.decisions[max(pivots, default=0) :]

    def _cancel_calls(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()

    def _cancel_tasks(self) -> None:
        for _ in range(CLOSING_ROUNDS):
            left = [task for task in self._tasks.values() if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            self._pump()

    # ---- what a declaration sees (definition.scope) --------------------------------------------------------------

    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        if self.finished or self._closed:
            return self._refused(f"step {step.options_.name}")  # type: ignore[no-any-return] # a future, as below
        arguments = step.signature.encode_arguments(args, kwargs)
        number = len(self.steps) + self.steps_before + 1
        options = step.options_
        due = self.clock + step.first_wait_seconds if step.first_wait_seconds else 0.0
        self.decisions.append(
            StepScheduled(
                number, options.name, arguments, step.safeguards.undo is not None, options.critical, due
            )
        )
        self.steps[number] = step
        if self._saga_count:
            self._join_saga(number)
        call = self._calls[number] = StepCall(loop=self)
        call.program, call.number = self, number
        return call  # type: ignore[return-value] # a future does all that the workflow may do with a coroutine: await it

    def handle(
        self,
        update: Update[Any, Any],
        function: Callable[[Any], Any],
        validator: Callable[[Any], object] | None,
    ) -> None:
        if self._closed:
            raise GeneratorExit
        self._updating().register(update, function, validator)

    def update_view(self, fields: dict[str, msgspec.Raw]) -> None:
        if not self._closed and fields:
            self._published = checked_view(self._published, fields)
            speaks_of_steps = PENDING in fields
            after, still_open = (self.steps_called, list(self._calls)) if speaks_of_steps else (0, [])
            self.decisions.append(ViewUpdated(fields, after, still_open))

    def call_child(
        self, workflow: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run_id: str | None
    ) -> ChildCall:
        if self._closed:
            raise GeneratorExit
        if self.finished:
            raise UsageError(f"workflow {workflow.name} was called as a child after its parent had ended.")
        arguments = workflow.signature.encode_arguments(args, kwargs)
        number = len(self.steps) + self.steps_before + 1
        child = default_id(self.run_id, number, workflow.name) if run_id is None else checked_run_id(run_id)
        if not self._child_ids:
            self._child_ids = {self.run_id}
        if child in self._child_ids:
            raise RunConflict(
                f"run {self.run_id} cannot start a child run {child}: "
                f"{'that is its own id' if child == self.run_id else 'it has one already'}. Use another id."
            )
        self._child_ids |= {child}
        self.decisions.append(ChildScheduled(number, child, workflow.name, arguments))
        self.steps[number] = workflow.as_step
        if self._saga_count:
            self._join_saga(number)
        call = ChildCall(loop=self)
        call.program, call.number, call.id = self, number, child
        self._calls[number] = call
        return call

    def step_cancelled(self, call: StepCall) -> None:
        if self._calls.pop(call.number, None) is not None:
            self.decisions.append(StepCancelled(call.number))
            if self._main is not None and self._main.waiting_for is call:
                self.call_soon(self._main.wake)

    def receive(self, signal: Signal[T], limit_seconds: float | None) -> Coroutine[Any, Any, T]:
        if self._closed:
            return self._refused(f"signal {signal.name}")  # type: ignore[no-any-return] # a future, as above
        return self._mailboxes().receive(signal, limit_seconds)
