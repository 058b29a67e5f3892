"""Children, as a run's program and state see them: steps whose only attempt is another run."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from makegood.definition.keys import ID_LIMIT_CHARACTERS
from makegood.engine import journal
from makegood.engine.main_task import StepCall
from makegood.engine.run import OPEN, UNDOING, RunState, Status
from makegood.failure import Failure

if TYPE_CHECKING:
    from makegood.engine.run import StepRecord

DIGEST_BYTES = 8
NO_CAUSE = Failure("", "no cause was recorded")


class ChildCall(StepCall):
    """What a workflow awaits for a child run. Implements ``definition.child.Child``."""

    __slots__ = ("id",)

    id: str


def default_id(parent: str, step: int, workflow: str) -> str:
    """The child's id where its author gives none: readable, and the same in every replay."""
    own = f"/{step}-{workflow}"
    if len(parent) + len(own) <= ID_LIMIT_CHARACTERS:
        return parent + own
    digest = "~" + blake2b(parent.encode(), digest_size=DIGEST_BYTES).hexdigest()
    return parent[: ID_LIMIT_CHARACTERS - len(own) - len(digest)] + digest + own


def facts_of_ending(record: StepRecord, child: RunState) -> list[journal.AnyEvent]:
    """What the child's ending means to the step that it is; nothing, if the step has heard of it before."""
    if child.status_ is None:
        return []
    if record.state is OPEN:
        if child.status_ is Status.COMPLETED and child.result is not None:
            return [journal.StepCompleted(record.number, 1, child.result)]
        failure = child.failure or NO_CAUSE
        return [journal.ChildFailed(record.number, child.status, failure, child.residue)]
    if record.state is UNDOING and child.status_ is not Status.COMPLETED:
        if child.residue:
            return [journal.CompensationSkipped(record.number, child.residue)]
        return [journal.CompensationCompleted(record.number, 1)]
    return []
