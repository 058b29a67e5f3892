"""Idempotency keys: one per step and one per compensation, the same for every attempt, worker and restart (G4).

``order-42/1/charge_payment`` and ``order-42/1/charge_payment/undo``; ``order-42/1/charge_payment/2`` once an operator has
given the step other arguments, as a service would answer the old key as it answered the old arguments. Names hold no
slash and begin with no digit, so no two steps, and no step and compensation, of any two runs share a key. Ids beyond
ASCII are percent-encoded: a key has to fit into an HTTP header.

Also checks of the texts that come with a request: ids, and what is kept for the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from makegood.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_LIMIT_CHARACTERS = 200
TAGS_LIMIT = 20
TEXT_LIMIT_CHARACTERS = 10_000


def step_key(run_id: str, number: int, name: str, revision: int = 0) -> str:
    readable = (
        run_id if run_id.isascii() and " " not in run_id and "%" not in run_id else quote(run_id, safe="/:")
    )
    key = f"{readable}/{number}/{name}"
    return f"{key}/{revision + 1}" if revision else key


def compensation_key(key: str, making: int = 1) -> str:
    """``making``: 2 and more for the undoing again of what took effect late: no service may take it for a repetition."""
    return f"{key}/undo" if making == 1 else f"{key}/undo/{making}"


def checked_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    """The tags, if runs can be found by them.

    Raises:
        UsageError: too many, or a name or a value that is no string, empty, too long, or cannot be printed.
    """
    chosen = dict(tags or {})
    if len(chosen) > TAGS_LIMIT:
        raise UsageError(f"a run has at most {TAGS_LIMIT} tags, not {len(chosen)}.")
    for word in (*chosen, *chosen.values()):
        if not isinstance(word, str) or not 0 < len(word) <= ID_LIMIT_CHARACTERS or not word.isprintable():
            raise UsageError(
                f"tag {word!r} is not usable: names and values are strings of 1 to {ID_LIMIT_CHARACTERS} "
                "printable characters."
            )
    return chosen


def checked_run_id(run_id: str) -> str:
    """The id, if it can name a run.

    Raises:
        UsageError: it is no string, empty, too long, or holds control characters or lone surrogates.
    """
    if not isinstance(run_id, str) or not 0 < len(run_id) <= ID_LIMIT_CHARACTERS or not run_id.isprintable():
        raise UsageError(
            f"run id {run_id!r} is not usable: a string of 1 to {ID_LIMIT_CHARACTERS} printable characters."
        )
    return run_id


def checked_text(text: str, what: str) -> str:
    """What somebody gives for the record (who, why), if it can be stored.

    Raises:
        UsageError: it is no string, too long, or holds lone surrogates.
    """
    if isinstance(text, str) and len(text) <= TEXT_LIMIT_CHARACTERS:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    raise UsageError(
        f"{what}: {text!r:.100} is not usable: a string of at most {TEXT_LIMIT_CHARACTERS:,} characters that has "
        "a UTF-8 form."
    )
