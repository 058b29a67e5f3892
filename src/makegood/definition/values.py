"""Values that differ from run to run and are the same in every replay of one: ``mg.now``, ``mg.random``, ``mg.uuid4``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from makegood.definition.scope import current_scope
from makegood.errors import OutsideWorkflow

if TYPE_CHECKING:
    from makegood.definition.scope import Scope

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FRACTION_BITS = 53  # of a float


def now() -> datetime:
    """The run's clock, in UTC: the time of what it reacts to. It stands still while the workflow does not wait.

    Raises:
        OutsideWorkflow: called outside a workflow.
    """
    return EPOCH + timedelta(seconds=_scope("now", "datetime.now(UTC)").clock)


def random() -> float:
    """A random number in [0, 1), drawn from the run's id. Not for secrets.

    Raises:
        OutsideWorkflow: called outside a workflow.
    """
    drawn = int.from_bytes(_scope("random", "random.random()").draw(8))
    return (drawn >> (64 - FRACTION_BITS)) / (1 << FRACTION_BITS)


def uuid4() -> UUID:
    """A random UUID, drawn from the run's id: another in every run and at every call. Not for secrets.

    Raises:
        OutsideWorkflow: called outside a workflow.
    """
    return UUID(bytes=_scope("uuid4", "uuid.uuid4()").draw(16), version=4)


def _scope(name: str, elsewhere: str) -> Scope:
    scope = current_scope.get()
    if scope is None:
        raise OutsideWorkflow(
            f"mg.{name}() was called outside a workflow, where no replay needs it to be the same again. "
            f"Elsewhere, and in a step, {elsewhere} is the right one."
        )
    return scope
