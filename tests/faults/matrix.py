"""Every place where a case can crash, and the demand that the invariants hold all the same.

What a crash leaves behind: what is durable, what the participants did, what clients were told, and the time. Two crashes
that leave the same behind are one case, and only one of them is made (``test_matrix`` shows that they tell one story):
a crash after write or call n, if nobody is told anything and no time passes before the next one, is that before n + 1;
a process that hears of write n and dies before anything leaves it is always that one. A call that has no effect has no
"after". A process that dies before it has changed anything but the owner leaves only a higher epoch: of such seconds of
a pair there is one for each first. The process is stopped, not killed, at every third write.

``MAKEGOOD_FAULTS_EFFORT=2`` (or more) makes every crash at every place, all cases of each matrix, and twice as many
generated ones.

Which matrix has which primitive (each at every store write):

steps, probes, retries, best effort        test_order_saga, test_generated_sagas
gather, TaskGroup, timeout, race           test_generated_sagas, test_families, test_signals
timers, now, random, uuid4                 test_values
signals                                    test_signals
updates, views                             test_updates
children, also evicted                     test_families
nested sagas, on_rollback, pivot           test_nested_sagas
cancel                                     all of these
terminate                                  test_nested_sagas, test_families, test_generated_sagas
rollback to a step, other arguments        test_operators
pause, resume                              test_pauses
steps that take their process down         test_poison
patched                                    test_patched
versions                                   test_versions
continue_as_new                            test_continue_as_new, test_signals
schedules                                  test_schedules
transactions, start(connection=…)          test_transactions, test_start_in_transaction
external completion                        test_completions
breakers, rate_limit, max_concurrency      test_breakers
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec

from tests.faults.checker import check
from tests.faults.evidence import Evidence
from tests.faults.harness import Case, Fault, Outcome, run
from tests.faults.sagas import Saga

CRASHES_AT_A_WRITE = ("before", "unacknowledged", "acknowledged")
WRITE_MOMENTS = (*CRASHES_AT_A_WRITE, "stop")
CALL_MOMENTS = ("before", "after")
EFFORT = int(os.environ.get("MAKEGOOD_FAULTS_EFFORT", "1"))
"""How many times more generated cases than usual."""
STOP_EVERY = 1 if EFFORT > 1 else 3


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


def all_crashes(outcome: Outcome) -> Iterator[Fault]:
    """Every place at which the process of this outcome could have died."""
    for number in range(1, outcome.writes + 1):
        yield from (Fault("write", number, when) for when in CRASHES_AT_A_WRITE)
    for number in range(1, outcome.calls + 1):
        yield from (Fault("call", number, when) for when in CALL_MOMENTS)


def distinct_crashes(outcome: Outcome) -> Iterator[Fault]:
    """Those of them that leave something else behind than the one before (see the module's docstring)."""
    said = [one.ticket for one in outcome.evidence.said]
    for this, following in pairwise(outcome.moments):
        in_vain = following.fault.when == "before" and this.at == following.at
        heard = any(this.ticket < ticket < following.ticket for ticket in said)
        if this.fault.when == "before" or heard or not in_vain:
            yield this.fault
    yield outcome.moments[-1].fault
    yield Fault("write", outcome.writes, "acknowledged")


def crash_everywhere(saga: Saga, case: Case) -> int:
    """One end of the process at every place; the number of cases. Every other client starts its acknowledged run again."""
    clean = hold(saga, case)
    stops = range(1, clean.writes + 1, STOP_EVERY)
    crashes = all_crashes(clean) if EFFORT > 1 else distinct_crashes(clean)
    cases = 0
    for fault in (*crashes, *(Fault("write", number, "stop") for number in stops)):
        cases += 1
        hold(saga, replace(case, faults=(fault,), insists=cases % 2 == 0))
    return cases


def crash_at_every_pair(saga: Saga, case: Case) -> int:
    """Two crashes, at every pair of store writes, so also in the recovery from the first one; the number of cases."""
    cases = 0
    for first in crashes_at_later_writes(hold(saga, case), 0):
        outcome = hold(saga, replace(case, faults=(first,)))
        for second in crashes_at_later_writes(outcome, first.number):
            cases += 1
            hold(saga, replace(case, faults=(first, second), insists=cases % 3 == 0))
    return cases


def crashes_at_later_writes(outcome: Outcome, number: int) -> list[Fault]:
    """After the write of this number; of those before anything that lasts has happened again only the last."""
    evidence, ticket_of = outcome.evidence, {moment.fault: moment.ticket for moment in outcome.moments}
    died = max(
        (ticket for fault, ticket in ticket_of.items() if (fault.kind, fault.number) == ("write", number)),
        default=0,
    )
    lasting = [
        one.ticket for one in (*evidence.commits, *evidence.calls, *evidence.said) if one.ticket > died
    ]
    later = [fault for fault in distinct_crashes(outcome) if fault.kind == "write" and fault.number > number]
    if EFFORT > 1 or not lasting:
        return later
    idle = [fault for fault in later if ticket_of.get(fault, math.inf) < min(lasting)]
    return [*idle[-1:], *later[len(idle) :]]


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
        for name in ("step", "name", "timer", "then", "unknown", "lost", "held")
        if name in event
    ]
    return f"{event['event']}({' '.join(details)})"
