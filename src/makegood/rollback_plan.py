"""What an operator's rollback would do, told beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from makegood.engine.operator import ROLLED_BACK, Request, facts_for, step_named
from makegood.engine.run import IN_FLIGHT

if TYPE_CHECKING:
    from makegood.engine.run import RunState


class RollbackPlan(msgspec.Struct, frozen=True):
    """Names of steps: ``undone`` in this order; ``kept``: done, and left open; ``as_is``: without a compensation.

    ``under_way`` are not settled yet: they are stopped, and undone first if they were done or may have been.
    """

    undone: list[str]
    kept: list[str]
    as_is: list[str]
    under_way: list[str]


def rollback_plan(run: RunState, to: str = "") -> RollbackPlan:
    """What would be undone if the run were rolled back now, to the step named ``to`` ("": all of it).

    Raises:
        NotPossible: it cannot be.
    """
    facts_for(Request("terminate", "", step=to, compensate=True), run)
    kept = step_named(run, to, ROLLED_BACK) if to else 0
    steps = list(run.steps.values())
    return RollbackPlan(
        undone=[step.name for step in reversed(steps) if step.needs_undo and step.number > kept],
        kept=[step.name for step in steps if step.stays(kept)],
        as_is=[
            step.name for step in steps if not step.undoable and (step.result is not None or step.unknown)
        ],
        under_way=[step.name for step in steps if step.state in IN_FLIGHT],
    )
