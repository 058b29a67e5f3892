"""What is the same in every life of a run: the chance that its code draws on, the changes of that code it takes part in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.engine.determinism import FREE
from makegood.engine.loop import DeterministicLoop
from makegood.engine.patches import Patches
from makegood.engine.values import Chance

if TYPE_CHECKING:
    from types import CodeType


class RepeatableLoop(DeterministicLoop):
    """A deterministic loop that knows whose it is, and what was recorded of that run."""

    run_id = ""
    patches: frozenset[str] = frozenset()
    answers_recorded: float = 0
    _chance: Chance | None = None
    _patches: Patches | None = None

    def draw(self, count: int) -> bytes:
        if self._chance is None:
            self._chance = Chance(self.run_id)
        return self._chance.draw(count)

    def patched(self, change_id: str, place: tuple[CodeType, int]) -> bool:
        if self._closed:
            raise GeneratorExit
        if self._patches is None:
            self._patches = Patches(self.patches)
        decided = sum(type(decision) not in FREE for decision in self.decisions)
        taken, recorded = self._patches.takes(change_id, place, replaying=decided < self.answers_recorded)
        if recorded is not None:
            self.decisions.append(recorded)
        return taken
