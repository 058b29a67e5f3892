"""A workflow that tells when its function has returned a value; otherwise it is the same."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from makegood.definition.registry import workflows_called_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.definition.workflow import Workflow


def telling(workflow: Workflow[..., Any], returned: Callable[[], None]) -> Workflow[..., Any]:
    """A copy; the workflow itself, if it calls itself, as an engine takes only one of a name."""
    if workflow in workflows_called_by(workflow.function):
        return workflow

    @functools.wraps(workflow.function)  # whose annotations say what the payloads are
    async def function(*args: Any, **kwargs: Any) -> Any:
        value = await workflow.function(*args, **kwargs)
        returned()
        return value

    other = copy.copy(workflow)
    other.signature = copy.copy(workflow.signature)
    vars(other.signature).pop("call", None)
    other.signature.function = function
    return other
