"""Who may have left the world in another state than it should be in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.definition.step import NotDone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.testing.history import Noted, Outcome


def suspects(outcome: Outcome, may_stay: frozenset[str]) -> list[str]:
    """Headlines; of each step only the first that fits."""
    steps: dict[tuple[str, int], list[Noted]] = {}
    for noted in outcome.calls:
        steps.setdefault((noted.place.run, noted.place.number), []).append(noted)
    headlines = []
    for calls in steps.values():
        done = [noted for noted in calls if noted.place.kind == "do" and noted.took_effect]
        undone = [noted for noted in calls if noted.place.kind == "undo" and noted.took_effect]
        first = calls[0]
        if first.took_effect and any(_is_denied(noted) for noted in calls):
            headlines.append(f"the probe of {first.place.step} denies what happened")
        else:
            headlines += list(_of_step(outcome, first, done, undone, may_stay))[:1]
    return headlines


def _is_denied(noted: Noted) -> bool:
    return noted.place.kind == "probe" and (
        isinstance(noted.call.result, NotDone) or noted.call.result is NotDone
    )


def _of_step(
    outcome: Outcome, first: Noted, done: list[Noted], undone: list[Noted], may_stay: frozenset[str]
) -> Iterator[str]:
    name = first.place.step
    if any(noted.changed for noted in done[1:]):
        yield f"{name} ignores its idempotency key: tried again under the same key, it takes effect again"
    if any(noted.changed for noted in undone[1:]):
        yield f"the compensation of {name} is not idempotent: tried again, it takes effect again"
    if undone and not done and undone[0].changed:
        yield f"the compensation of {name} undoes what never happened"
    if outcome.status == "COMPLETED" or name in may_stay or not any(noted.changed for noted in done):
        return
    if first.call.definition.undo is None:
        yield f"{name} has no compensation, and its effect stays"
    elif not undone:
        yield f"the effect of {name} stays: its compensation was never run"
    elif not any(noted.changed for noted in undone):
        yield f"the compensation of {name} changes nothing"
    elif undone[0].before == done[-1].after and undone[0].after != done[0].before:
        yield f"the compensation of {name} does not bring the state back"
