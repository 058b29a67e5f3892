"""The program of a run whose code is not to be run any more: it knows the steps, so that they can be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from makegood.engine.journal import StepCancelled, TimerCancelled
from makegood.errors import NotPossible

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from makegood.definition.step import Step
    from makegood.engine.journal import Decision, UpdateAccepted
    from makegood.engine.legs import Continued
    from makegood.engine.nested import NestedSaga
    from makegood.engine.program import Program
    from makegood.engine.run import RunState


class AbandonedProgram:
    """Implements ``engine.program.Program``: it has ended, and whatever it is told changes nothing."""

    run_id = ""
    clock = 0.0
    pivoted = idle = False
    answers_recorded: float = 0
    finished = winding_up = True
    rollbacks: Sequence[NestedSaga] = ()
    patches: frozenset[str] = frozenset()
    error: BaseException | None = None
    value = None
    state: RunState | None = None
    continuation: Continued | None = None
    timer_count = 0

    def __init__(self, run: RunState, steps: dict[int, Step[Any, Any]]) -> None:
        self.steps = steps
        self.decisions: list[Decision] = []
        self._run = run

    def abandon(self) -> None:
        run = self._run
        for record in run.steps.values():
            if record.in_flight and not record.cancelled:
                self.decisions.append(StepCancelled(record.number))
        self.decisions += map(TimerCancelled, run.timers)

    @property
    def unread(self) -> list[Any]:
        return []

    def declared_signal(self, name: str) -> None:
        return None

    def check_update(self, run_id: str, name: str, value: msgspec.Raw) -> None:
        raise NotPossible(f"run {run_id} takes no update {name}: an operator has terminated it.")

    def accept_update(self, accepted: UpdateAccepted) -> None: ...

    def renewed(self) -> Program:
        return self

    def _nothing(self, *_: object) -> None: ...

    start = begin_leg = resolve = reject = rolled_back = fire = cancel = fail = deliver = close = _nothing
