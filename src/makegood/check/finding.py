"""What the verifier says: a finding, and the codes there are. Neighbours: every rule makes findings; the CLI shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from makegood.errors import DefinitionError

CODES = {
    "MG001": "a declaration that makegood refuses",
    "MG101": "an effect without a compensation before something that can fail",
    "MG102": "a step that can fail after the point of no return",
    "MG103": "an exception raised after the point of no return",
    "MG104": "a rollback registered after its effect",
    "MG105": "a rollback registered after the point of no return",
    "MG106": "mg.saga() that is not entered",
    "MG107": "continue_as_new inside a block that is still open",
    "MG108": "continue_as_new while there is something to undo",
    "MG109": "one mg.patched id at two places",
    "MG110": "a step's plain function called in a workflow",
    "MG201": "a retried effect without its idempotency key",
    "MG202": "an effect that a crash repeats, without its idempotency key",
    "MG203": "a compensation without an idempotency key",
    "MG204": "a compensation that takes its result for granted",
    "MG205": "a compensation that is tried once",
    "MG206": "a compensation for another result",
    "MG207": "a best-effort result taken for granted",
    "MG301": "a retry schedule that does not fit the timeout around it",
    "MG302": "a wait that does not fit the timeout around it",
    "MG303": "forward recovery without a step timeout",
    "MG304": "mg.PENDING without a timeout",
    "MG305": "mg.PENDING without a completion token",
    "MG306": "a heartbeat that cannot work",
    "MG401": "the machine's clock in a workflow",
    "MG402": "chance in a workflow",
    "MG403": "the process's surroundings in a workflow",
    "MG404": "the network in a workflow",
    "MG405": "files or processes in a workflow",
    "MG406": "threads or blocking calls in a workflow",
    "MG407": "steps called in the order of a set",
    "MG408": "global state written by a workflow",
    "MG409": "asyncio.as_completed over coroutines",
    "MG501": "a swallowed cancellation",
    "MG502": "a finally that swallows exceptions",
    "MG503": "a call whose result nobody awaits",
    "MG504": "an awaitable kept and never awaited",
    "MG505": "failures collected and dropped",
    "MG601": "what only a step can ask, asked in a workflow",
    "MG602": "what only a workflow can do, done in a step",
    "MG603": "retries that never happen",
    "MG604": "an exception both fatal and unknown",
    "MG605": "a best-effort step that is to park",
    "MG901": "a remark that cannot be understood",
}


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong, or that its author has to vouch for.

    Attributes:
        file: the source file's path.
        line: where in it, from 1.
        code: one of ``CODES``.
        what: what is wrong, one sentence.
        advice: what to do, one sentence.
    """

    file: str
    line: int
    code: str
    what: str
    advice: str


def refusal(error: DefinitionError, file: str, line: int) -> Finding:
    return Finding(
        file, line, "MG001", str(error), "Correct the declaration: until then no engine takes this module."
    )
