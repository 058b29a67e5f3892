"""External completion: a step that returns ``mg.PENDING`` is completed later from outside, through its token."""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple, final

from makegood.errors import UsageError

SEPARATOR = "."


@final
class Pending:
    """The type of ``mg.PENDING``, for annotations: ``-> Receipt | mg.Pending``."""

    def __repr__(self) -> str:
        return "mg.PENDING"


PENDING: Final = Pending()
"""What a step returns that somebody outside is going to complete."""


class Token(NamedTuple):
    """What a completion token names: one attempt of one step."""

    run_id: str
    step: int
    attempt: int


def written(token: Token) -> str:
    """The token as text that fits into URLs, headers and file names."""
    run_id = base64.urlsafe_b64encode(token.run_id.encode()).rstrip(b"=").decode()
    return f"{run_id}{SEPARATOR}{token.step}{SEPARATOR}{token.attempt}"


def read(text: str) -> Token:
    """What a token names.

    Raises:
        UsageError: it is none.
    """
    try:
        name, step, attempt = text.split(SEPARATOR)
        run_id = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
        token = Token(run_id, int(step), int(attempt))
        if token.step > 0 and token.attempt > 0 and written(token) == text:
            return token
    except (AttributeError, TypeError, ValueError, binascii.Error):
        pass
    raise UsageError(
        f"{text!r:.200} is no completion token: use what mg.completion_token() gave in the step."
    )
