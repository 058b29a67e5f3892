"""Engines that break pauses, each in one way (see ``broken``)."""

from __future__ import annotations

from typing import Any

from makegood.engine import journal, recording
from tests.faults.broken import Breakage
from tests.faults.harness import Case


def goes_on_while_it_is_paused(patch: Any) -> None:
    patch.setattr(recording.Recording, "pause", lambda _self: None)
    patch.setitem(recording.FOLDS, journal.OperatorActed, lambda _state, _event: None)


def forgets_what_happened_meanwhile(patch: Any) -> None:
    patch.setattr(recording.Recording, "_react", _only_if_it_goes_on(recording.Recording._react))


def _only_if_it_goes_on(react: Any) -> Any:
    def forgetful(self: Any, fact: Any) -> None:
        if self.state.paused is None:
            self._deferred = None
            react(self, fact)

    return forgetful


UNDER_WAY = ("call", 2)
PAUSE_BREAKAGES = [
    Breakage(goes_on_while_it_is_paused, "I12", Case(cancel_at=UNDER_WAY, pause="then resumed"), "order"),
    Breakage(forgets_what_happened_meanwhile, "I1", Case(cancel_at=UNDER_WAY, pause="then resumed"), "order"),
]
