"""``mg.update_view``: what a workflow shows of itself to the world outside."""

from __future__ import annotations

from typing import Any

from makegood.definition.payload import encode_as_json
from makegood.definition.scope import current_scope
from makegood.errors import OutsideWorkflow, UsageError

LISTS = ("steps_completed", "steps_pending")


def update_view(**fields: Any) -> None:
    """Publish fields of the run's view, as JSON; a field replaces the earlier one of its name, the others stay.

    What is published is what ``run.view()`` and ``run.watch()`` give, also for an ended run, and nothing else of any
    payload. Three names have a meaning of their own and replace what the engine says: ``status``, ``steps_completed``,
    and ``steps_pending``, the steps that are still to come; as they complete they drop out of it.

    Raises:
        PayloadError: a value cannot be shown as JSON, or the view would be larger than 64 KiB; nothing was published.
        UsageError: ``status`` is no text, or one of the two lists is no list of texts.
        OutsideWorkflow: no workflow runs here.
    """
    scope = current_scope.get()
    if scope is None:
        raise OutsideWorkflow(
            "mg.update_view() was called outside a workflow: it publishes what a workflow shows of itself. "
            "A step returns what its workflow is to publish."
        )
    for name, value in fields.items():
        if name == "status" and not isinstance(value, str):
            raise UsageError(f"mg.update_view(status={value!r}): the status is a text.")
        if name in LISTS and not (
            isinstance(value, (list, tuple)) and all(isinstance(step, str) for step in value)
        ):
            raise UsageError(f"mg.update_view({name}={value!r}): it is a list of names.")
    encode_as_json(list(fields), "the names of the view's fields")
    scope.update_view(
        {name: encode_as_json(value, f"field '{name}' of the view") for name, value in fields.items()}
    )
