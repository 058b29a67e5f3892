"""What may not happen to a paused run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.faults.evidence import Called, Committed, Said
from tests.faults.story import Violation

LIFTS = frozenset({"resume", "cancel", "terminate"})


def check_pauses(
    said: Iterable[Said], calls: Iterable[Called], commits: Iterable[Committed]
) -> Iterator[Violation]:
    """Between the acknowledgement of a pause and the wish to lift it no attempt begins and no timer fires."""
    for since, until in _pauses(said):
        for call in calls:
            if since < call.ticket < until:
                yield Violation("I12", call.run_id, f"{call.direction} {call.step} began while it was paused")
        for commit in commits:
            if since < commit.ticket < until and b'"TimerFired"' in commit.data:
                yield Violation("I12", commit.run_id, "a timer fired while it was paused")


def _pauses(said: Iterable[Said]) -> Iterator[tuple[int, float]]:
    since = 0
    for one in said:
        if one.what == "paused" and not since:
            since = one.ticket
        elif one.what in LIFTS and since:
            yield since, one.ticket
            since = 0
    if since:
        yield since, float("inf")
