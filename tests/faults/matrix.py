"""Every place where a case can crash, and the demand that the invariants hold all the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from tests.faults.checker import check
from tests.faults.evidence import Evidence
from tests.faults.harness import Case, Fault, Outcome, run
from tests.faults.sagas import Saga

WRITE_MOMENTS = ("before", "unacknowledged", "acknowledged", "stop")
CALL_MOMENTS = ("before", "after")
EFFORT = int(os.environ.get("MAKEGOOD_FAULTS_EFFORT", "1"))
"""How many times more generated cases than usual."""


def hold(
    saga: Saga, case: Case, store: Callable[[], Any] | None = None, *, all_faults_happen: bool = True
) -> Outcome:
    """Run the case; fail with its whole story if an invariant is broken or a fault did not happen."""
    outcome = run(saga, case, store)
    wrong = [str(violation) for violation in check(outcome.evidence, saga.terms)]
    if all_faults_happen and outcome.fired != len(case.faults):
        wrong.append(f"{outcome.fired} of {len(case.faults)} faults happened")
    if wrong:
        story = "\n".join(trace(outcome.evidence))
        raise AssertionError(f"{'; '.join(wrong)}\n{saga.name}\nCase({case})\n{story}")
    return outcome


def single_faults(outcome: Outcome) -> Iterator[Fault]:
    """Every place at which the process of this outcome could have ended."""
    for number in range(1, outcome.writes + 1):
        yield from (Fault("write", number, when) for when in WRITE_MOMENTS)
    for number in range(1, outcome.calls + 1):
        yield from (Fault("call", number, when) for when in CALL_MOMENTS)


def crash_everywhere(saga: Saga, case: Case) -> int:
    """One crash at every place; the number of cases. Every other client starts its acknowledged run again."""
    cases = 0
    for fault in single_faults(hold(saga, case)):
        cases += 1
        hold(saga, replace(case, faults=(fault,), insists=cases % 2 == 0))
    return cases


def crash_at_every_pair(saga: Saga, case: Case) -> int:
    """Two crashes, at every pair of store writes, so also in the recovery from the first one; the number of cases."""
    cases = 0
    for first in single_faults(hold(saga, case)):
        if first.kind != "write" or first.when not in ("before", "unacknowledged"):
            continue
        outcome = hold(saga, replace(case, faults=(first,)))
        for number in range(first.number + 1, outcome.writes + 1):
            moments = ("before", "unacknowledged")
            for when in moments if EFFORT > 1 else moments[cases % 2 :][:1]:
                cases += 1
                faults = (first, Fault("write", number, when))
                hold(saga, replace(case, faults=faults, insists=cases % 3 == 0))
    return cases


def trace(evidence: Evidence) -> Iterator[str]:
    """What happened, in order, for people."""
    lines = [
        (
            call.ticket,
            f"process {call.process}: {call.direction} {call.step} ({call.key}) effect: {call.effect}",
        )
        for call in evidence.calls
    ]
    for commit in evidence.commits:
        events = [_short(event) for event in msgspec.json.decode(commit.data)["events"]]
        heard = "" if commit.acknowledged else " (not acknowledged)"
        lines.append(
            (
                commit.ticket,
                f"process {commit.process}: commit {commit.number} of {commit.run_id}{heard}: {', '.join(events)}",
            )
        )
    lines += [
        (said.ticket, f"client of {said.run_id}: {said.what} {said.detail or ''}") for said in evidence.said
    ]
    for ticket, line in sorted(lines):
        yield f"{ticket:4} {line}"


def _short(event: dict[str, Any]) -> str:
    details = [
        f"{name}={event[name]}"
        for name in ("step", "name", "timer", "then", "unknown", "lost")
        if name in event
    ]
    return f"{event['event']}({' '.join(details)})"
