"""Whether a history ended well: a list of problems, each with a headline that is the same wherever it shows.

What is expected of the world outside: the same steps standing, done and not undone, mean the same state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from makegood.testing.history import Noted, Place, Recorded
from makegood.testing.suspects import suspects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.testing.history import Outcome

    Standing: TypeAlias = frozenset[tuple[tuple[str, str], int]]

CHANGING = "the workflow is not deterministic"
HONEST = ("COMPLETED", "COMPENSATED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Problem:
    """``headline`` names the defect; ``detail`` says how it shows here."""

    headline: str
    detail: str = ""


class Judge:
    """Knows the history without faults, and the state that belongs to each set of standing steps.

    ``may_stay``: names of steps whose effects may outlive a rollback. ``sees_state``: there is a state to compare.
    """

    def __init__(self, reference: Outcome, may_stay: frozenset[str], *, sees_state: bool) -> None:
        self._reference = reference
        self._may_stay = may_stay
        self._sees_state = sees_state
        self._states: dict[Standing, Any] = {frozenset(): reference.began}
        self._errors = {_error_of(noted) for noted in reference.calls}
        self.compares_results = True

    def problems(self, outcome: Outcome, base: Outcome | None = None) -> list[Problem]:
        """What is wrong; ``base`` is the history as which it has to end, where what went wrong since makes no difference."""
        if base is not None and base.cancelled and not outcome.cancelled:  # nobody was told: either is right
            base = None if outcome.status == "CANCELLED" else self._reference
        checks = (
            _not_ended,
            _of_the_engine,
            partial(self._otherwise, base=base),
            _swallowed,
            self._state_problems,
            _left_open,
            partial(self._another_result, base=base),
        )
        return next((found for check in checks if (found := list(check(outcome)))), [])

    def _otherwise(self, outcome: Outcome, base: Outcome | None) -> Iterator[Problem]:
        if base is None or outcome.status == base.status:
            return
        new = [noted for noted in outcome.calls if noted.call.error is not None and not noted.injected]
        new = [noted for noted in new if _error_of(noted) not in self._errors]
        headline = "the ending depends on what goes wrong on the way"
        if new:
            when = "after the process was lost" if outcome.lost else "when it is tried again"
            headline = f"{new[0].place} fails {when}: {_error_of(new[0])}"
        yield Problem(headline, f"it ended {outcome.status} instead of {base.status}.{_forgotten(outcome)}")

    def _another_result(self, outcome: Outcome, base: Outcome | None) -> Iterator[Problem]:
        if base is None or not self.compares_results or outcome.status != "COMPLETED":
            return
        if outcome.result != base.result:
            yield Problem(
                "the result depends on what goes wrong on the way",
                f"it is {outcome.result!r} instead of {base.result!r}.{_forgotten(outcome)}",
            )

    def _state_problems(self, outcome: Outcome) -> Iterator[Problem]:
        if not self._sees_state:
            return
        stands = standing(outcome)
        if outcome.status != "COMPLETED":
            stands = Counter({step: n for step, n in stands.items() if step[0] in self._may_stay})
        expected = self._states.setdefault(frozenset(stands.items()), outcome.ended)
        if outcome.ended == expected:
            return
        detail = f"in the end the state is {outcome.ended!r}; it should be {expected!r}."
        headlines = suspects(outcome, self._may_stay)
        for headline in headlines or ["the state is not what it should be"]:
            yield Problem(headline, detail)


def standing(outcome: Outcome) -> Counter[tuple[str, str]]:
    """The steps, with their arguments, whose effect is there: done, and not undone since."""
    there: dict[tuple[str, int], tuple[str, str]] = {}
    for noted in outcome.calls:
        place, call = noted.place, noted.call
        if not noted.took_effect:
            continue
        if place.kind == "do":
            there[place.run, place.number] = place.step, repr((call.args, call.kwargs))
        elif place.kind == "undo":
            there.pop((place.run, place.number), None)
    return Counter(there.values())


def _not_ended(outcome: Outcome) -> Iterator[Problem]:
    places = [fault.at for fault in outcome.faults]
    missed = [place for place in places if place not in outcome.fired]
    if missed and all(isinstance(place, Place) for place in places):
        yield Problem(
            CHANGING, f"It came to {missed[0]} in one history, and not in another one that began the same."
        )
        return
    if outcome.stuck:
        yield Problem("it never ends", f"it waits for {outcome.stuck}.")
    elif outcome.parked:
        parked = outcome.description.parked if outcome.description is not None else {}
        if "code" in parked:
            yield Problem(CHANGING, parked["code"].partition("Nothing else was written")[0].strip())
            return
        failing = [noted for noted in outcome.calls if noted.call.error is not None and not noted.injected]
        if not failing:
            yield Problem("it is parked", outcome.parked)
            return
        last = failing[-1]
        knows = last.place.kind == "undo" and last.call.given is None
        detail = (
            " It is given None as the result: nobody knows whether the step took effect." if knows else ""
        )
        yield Problem(f"{last.place} fails: {_error_of(last)}", f"The run is parked.{detail}")
    elif outcome.status not in HONEST:
        yield Problem(f"it ended {outcome.status or 'nowhere'}")
    elif outcome.cancelled and outcome.status != "CANCELLED":
        yield Problem(f"it ended {outcome.status} although its cancellation was accepted")


def _swallowed(outcome: Outcome) -> Iterator[Problem]:
    if outcome.swallowed:
        yield Problem(
            "the workflow swallows its cancellation",
            "it returned a value after CancelledError was raised in it: let that out, or raise it again.",
        )


def _left_open(outcome: Outcome) -> Iterator[Problem]:
    if outcome.description is not None and outcome.description.residue:
        yield Problem(f"left open: {', '.join(outcome.description.residue)}")


def _of_the_engine(outcome: Outcome) -> Iterator[Problem]:
    """What no user's code can be the cause of."""
    keys: dict[Place, str] = {}
    users: dict[str, tuple[int, str]] = {}
    recorded: set[tuple[str, int, str]] = set()
    undone: dict[tuple[str, int], int] = {}
    for entry in outcome.log:
        if isinstance(entry, Recorded):
            recorded.add((entry.place.run, entry.place.number, entry.place.kind))
        elif isinstance(entry, Noted):
            place, key = entry.place, entry.call.key
            if keys.setdefault(place, key) != key:
                yield Problem(f"the key of {place} changes", f"from {keys[place]} to {key}.")
            use = place.number, "undo" if place.kind == "undo" else "do"
            if users.setdefault(key, use) != use:
                yield Problem(f"{place} shares its key with another step", key)
            if (place.run, place.number, place.kind) in recorded:
                yield Problem(f"{place} is run again although it is recorded as done")
            if place.kind == "undo":
                lower = [n for (run, n), others in undone.items() if run == place.run and n < place.number]
                if lower and all(_began(outcome, place) < undone[place.run, n] for n in lower):
                    yield Problem(f"{place} comes out of order")
                undone.setdefault((place.run, place.number), outcome.log.index(entry))


def _began(outcome: Outcome, place: Place) -> int:
    for position, entry in enumerate(outcome.log):
        if isinstance(entry, Noted) and (entry.place.run, entry.place.number) == (place.run, place.number):
            return position
    return 0


def _forgotten(outcome: Outcome) -> str:
    if not outcome.lost:
        return ""
    names = ", ".join(sorted(set(outcome.lost)))
    return f" The lost process had kept something in {names}: what a step leaves in memory is gone after a crash."


def _error_of(noted: Noted) -> str:
    error = noted.call.error
    return "" if error is None else f"{type(error).__name__}: {error}"
