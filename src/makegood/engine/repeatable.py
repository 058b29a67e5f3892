"""What is the same in every life of a run: the chance that its code draws on, the changes of that code it takes part in.

And how it goes on as new, once it has lived long enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from makegood.engine.determinism import FREE
from makegood.engine.journal import RollbackRegistered
from makegood.engine.legs import AT_ONCE_LIMIT_LEGS, Continued, continuation_in, refusal, standing
from makegood.engine.loop import DeterministicLoop
from makegood.engine.patches import Patches
from makegood.engine.values import Chance
from makegood.errors import NotDurable, UsageError

if TYPE_CHECKING:
    from types import CodeType

    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow
    from makegood.engine.main_task import StepCall
    from makegood.engine.run import RunState

SPINS = (
    "workflow {} spins: it has gone on as new {} times without waiting for anything. Wait for a step, a timer or a signal "
    "in each leg; of signals that have come already, receive more before going on."
)
IN_FLIGHT = (
    "mg.continue_as_new(): run {} has work in flight, which would be forgotten: {}. Await or cancel it first; leave "
    "`asyncio.timeout` and `TaskGroup` blocks before."
)


class RepeatableLoop(DeterministicLoop):
    """A deterministic loop that knows whose it is, and what was recorded of that run."""

    finished = False
    pivoted = False
    run_id = ""
    state: RunState | None = None
    leg = 1
    steps_before = 0
    legs_at_once = 0
    continuation: Continued | None = None
    patches: frozenset[str] = frozenset()
    answers_recorded: float = 0
    _chance: Chance | None = None
    _patches: Patches | None = None

    def __init__(self, workflow: Workflow[..., Any]) -> None:
        super().__init__(workflow.name)
        self.workflow = workflow
        self.steps: dict[int, Step[Any, Any]] = {}
        self._calls: dict[int, StepCall] = {}

    @property
    def steps_called(self) -> int:
        """How many, those of earlier legs included."""
        return len(self.steps) + self.steps_before

    def draw(self, count: int) -> bytes:
        if self._chance is None:
            self._chance = Chance(self.run_id if self.leg == 1 else f"{self.run_id}\n{self.leg}")
        return self._chance.draw(count)

    def patched(self, change_id: str, place: tuple[CodeType, int]) -> bool:
        if self._closed:
            raise GeneratorExit
        if self._patches is None:
            self._patches = Patches(self.patches)
        decided = sum(type(decision) not in FREE for decision in self.decisions)
        taken, recorded = self._patches.takes(change_id, place, replaying=decided < self.answers_recorded)
        if recorded is not None:
            self.decisions.append(recorded)
        return taken

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        if self._closed:
            raise GeneratorExit
        if self.finished or self.state is None:
            raise UsageError("mg.continue_as_new() was called after its workflow had ended.")
        arguments = self.workflow.signature.encode_arguments(args, kwargs)
        if self.legs_at_once >= AT_ONCE_LIMIT_LEGS:
            raise NotDurable(SPINS.format(self.name, self.legs_at_once))
        under_way = [f"step {self.steps[number].options_.name}" for number in self._calls]
        under_way += [f"timer {timer}" for timer in self._timers]
        under_way += [f"task {task.get_name()}" for task in self._tasks.values() if not task.done()]
        if under_way:
            raise UsageError(IN_FLIGHT.format(self.run_id, ", ".join(under_way)))
        registered = [one.name for one in self.decisions if type(one) is RollbackRegistered]
        left = [] if self.pivoted else [*standing(self.state), *registered]
        if left:
            raise refusal(self.state, left)
        raise Continued(arguments, self.legs_at_once)

    def _left_with(self, error: BaseException | None) -> BaseException | None:
        """The error, if the workflow ended with one, and not to go on as new."""
        self.continuation = None if error is None else continuation_in(error)
        return error if self.continuation is None else None
