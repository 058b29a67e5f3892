"""Trying out what an operator asks for, on a second life of the run that nobody hears of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.engine.execution import Execution
    from makegood.engine.journal import Entry
    from makegood.engine.operator import Request


def objection(execution: Execution, entries: Sequence[Entry], request: Request, at: float) -> Failure | None:
    """The error that the workflow itself would end with at once, were this request carried out; None if it goes on.

    ``execution`` has not lived yet; ``entries`` are the run's journal.

    Raises:
        NotPossible: the run's state does not admit the request.
    """
    program = execution.program
    try:
        execution.replay(entries)
        was_over = program.finished
        execution.act(request, at)
        over = program.finished and not was_over and program.continuation is None
        return Failure.of(program.error, with_traceback=False) if over and program.error is not None else None
    finally:
        program.close()
