"""What may be seen of a run from outside: its status, its steps by name, and what its workflow published. Pure data."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from makegood.engine.run import DONE, View
from makegood.errors import PayloadError

if TYPE_CHECKING:
    from makegood.engine.journal import ViewUpdated
    from makegood.engine.run import RunState, StepRecord

PENDING = "steps_pending"
VIEW_LIMIT_BYTES = 64 * 1024


def view_of(run: RunState) -> dict[str, Any]:
    """The run's view: plain JSON values, a new dictionary each time."""
    steps, published = run.steps.values(), run.view if run.view is not None else View({})
    fields = {name: msgspec.json.decode(raw) for name, raw in published.fields.items()}
    if run.rolling_back or run.status_ is not None or run.is_reopened:
        pending = []
    elif PENDING in fields:
        since = [step for step in steps if step.number > published.after or step.number in published.open]
        pending = _left(fields[PENDING], Counter(step.name for step in since if _is_completed(step)))
    else:
        pending = [step.name for step in steps if step.in_flight and not step.cancelled]
    completed = [step.name for step in steps if _is_completed(step)]
    own = {"status": str(run.status), "steps_completed": completed, PENDING: pending}
    return own | fields | {PENDING: pending}


def updated(run: RunState, event: ViewUpdated) -> View:
    """The run's published fields with these ones added."""
    before = run.view if run.view is not None else View({})
    said = event if PENDING in event.fields else before  # which of the two speaks of the steps to come
    return View({**before.fields, **event.fields}, said.after, said.open)


def _is_completed(step: StepRecord) -> bool:
    """Done by itself: what is only kept for a rollback has no result."""
    return step.state is DONE and step.result is not None


def _left(plan: list[str], done: Counter[str]) -> list[str]:
    """The plan without the steps that were done since it was published."""
    left = []
    for name in plan:
        if done[name] > 0:
            done[name] -= 1
        else:
            left.append(name)
    return left


def checked_view(sizes: dict[str, int] | None, fields: dict[str, msgspec.Raw]) -> dict[str, int]:
    """The size of each published field in bytes, these ones included.

    Raises:
        PayloadError: together they are larger than VIEW_LIMIT_BYTES.
    """
    sizes = (sizes or {}) | {name: len(name) + len(bytes(raw)) for name, raw in fields.items()}
    size = sum(sizes.values())
    if size > VIEW_LIMIT_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise PayloadError(
            f"the view would be {size:,} bytes of JSON, and the limit is {VIEW_LIMIT_BYTES:,}; "
            f"its largest field is '{largest}'. Publish a reference to large data."
        )
    return sizes
