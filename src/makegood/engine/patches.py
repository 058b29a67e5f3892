"""Which changes of its code a run takes part in (``mg.patched``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine.journal import Patched
from makegood.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

    from makegood.engine.journal import Entry

    Place = tuple[CodeType, int]


class Patches:
    """The answers that one life of a run has given, and where it was asked."""

    __slots__ = ("_answers", "_recorded")

    def __init__(self, recorded: frozenset[str]) -> None:
        self._recorded = recorded
        self._answers: dict[str, tuple[bool, Place]] = {}

    def takes(self, change_id: str, place: Place, *, replaying: bool) -> tuple[bool, Patched | None]:
        """Whether the run takes part in a change, and what has to be recorded of it.

        Raises:
            UsageError: the same change was asked for at another place.
        """
        answer = self._answers.get(change_id)
        if answer is None:
            recorded = change_id in self._recorded
            taken = recorded or not replaying
            self._answers[change_id] = taken, place
            return taken, Patched(change_id) if taken and not recorded else None
        if answer[1] != place:
            raise UsageError(
                f"mg.patched({change_id!r}) is asked at two places: {_in_words(answer[1])} and {_in_words(place)}. "
                "Each change has an id of its own; ask once and keep the answer where several places depend on it."
            )
        return answer[0], None


def recorded_patches(entries: Iterable[Entry]) -> frozenset[str]:
    """The changes that a journal says its run took part in."""
    return frozenset(event.id for entry in entries for event in entry.events if type(event) is Patched)


def _in_words(place: Place) -> str:
    code, instruction = place
    lines = [line for start, end, line in code.co_lines() if start <= instruction < end]
    return f"{code.co_filename}:{lines[0] if lines else code.co_firstlineno}"
