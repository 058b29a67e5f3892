"""Runs that outlive their code, or their journal: ``mg.patched`` and ``mg.continue_as_new``."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from makegood.definition.scope import current_scope, running_scope
from makegood.errors import OutsideWorkflow, UsageError

ID_LIMIT_CHARACTERS = 200


def patched(change_id: str) -> bool:
    """Whether this run takes the new branch of a change: ``if mg.patched("ship-before-charge"): …``.

    True in every run that gets here for the first time after the change was made, and recorded once; False in a run
    whose journal shows that it went through here before. The answer stays the same for the rest of the run. Once no
    run is left that needs the old branch, remove it together with the call.

    Args:
        change_id: names the change. One place in the code for each id: ask once and keep the answer where several
            places depend on it.

    Raises:
        UsageError: the id is no string of 1 to 200 printable characters, or is used at another place of the code.
        OutsideWorkflow: called outside a workflow.
    """
    if (
        not isinstance(change_id, str)
        or not 0 < len(change_id) <= ID_LIMIT_CHARACTERS
        or not change_id.isprintable()
    ):
        raise UsageError(
            f"mg.patched({change_id!r}): name the change with a string of 1 to {ID_LIMIT_CHARACTERS} printable characters."
        )
    scope = current_scope.get()
    if scope is None:
        raise OutsideWorkflow(
            f"mg.patched({change_id!r}) was called outside a workflow: it asks about a run."
        )
    caller = sys._getframe(1)  # noqa: SLF001 - the only way to know where this was called
    return scope.patched(change_id, (caller.f_code, caller.f_lasti))


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """Go on as new: the same run, under the same id, calls its workflow again with these arguments.

    For runs that never end. Each leg begins with a fresh state; replays, descriptions and memory only cost the last one,
    while ``history`` and ``verify`` see them all. Signals that were not received are there for the next leg, and what was
    published stays so. Leaves the workflow by an exception, through its ``finally`` blocks.

    Args:
        args, kwargs: the workflow's arguments.

    Raises:
        UsageError: the arguments do not fit; something is still under way; or steps were done that a failure would have
            to undo. Nothing was recorded.
        PayloadError: an argument cannot be stored.
        OutsideWorkflow: called outside a workflow.
    """
    running_scope("continue_as_new").continue_as_new(args, kwargs)
