"""Late results: how attempts ended that had been given up on and could not be stopped. Pure data over a run's state.

AttemptFailed(running) ──▶ … whatever the run does … ──▶ AttemptEndedLate

Such an ending is a fact and never the step's result. Where the step's compensation had begun by then, what took effect may
have done so behind it: the compensation is made again, also if the run has ended, which it then does once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from makegood.engine import journal
from makegood.engine.run import (
    ENDINGS,
    UNDO_EXHAUSTED,
    UNDOING,
    UNDONE,
    Late,
    RunState,
    Status,
    StepRecord,
)
from makegood.engine.saga import ending_of_rollback

if TYPE_CHECKING:
    from makegood.engine.operator import Request

UNDO_BEGUN = frozenset({UNDOING, UNDO_EXHAUSTED, UNDONE})
ENDING_OF: dict[Status, type[Any]] = {status: event for event, status in ENDINGS.items()}


def facts_of_late_end(request: Request, run: RunState) -> list[journal.AnyEvent]:
    """The fact that a given up attempt has ended, unless that is recorded already. Also of a run that has ended."""
    step, undo = int(request.step), request.compensate
    running = run.late is not None and (step, request.attempt, undo) in run.late.running
    if not (running or 0 < step <= run.steps_before):
        return []
    return [
        journal.AttemptEndedLate(
            step, request.attempt, request.result, request.failure, request.unknown, undo
        )
    ]


def may_happen(run: RunState, step: int) -> bool:
    """Whether an attempt of the step may still take effect, or did late: then no probe can say that it is not done."""
    late = run.late
    return late is not None and (
        step in late.happened or any(one == step and not undo for one, _, undo in late.running)
    )


def known_result(run: RunState, record: StepRecord) -> msgspec.Raw | None:
    """What a step's compensation is given: its result, or what a late attempt returned."""
    if record.result is None and run.late is not None:
        return run.late.happened.get(record.number)
    return record.result


def still_running(run: RunState) -> list[StepRecord]:
    """The steps of which an attempt goes on although it was given up on."""
    numbers = {step for step, _, _ in run.late.running} if run.late is not None else set()
    return [run.steps[number] for number in sorted(numbers) if number in run.steps]


def holds_up(run: RunState) -> bool:
    """Whether the run may not go on as new: it would forget how to undo what may still happen."""
    return run.late is not None and any(
        run.steps[step].undoable for step, _, undo in run.late.running if not undo
    )


def next_undo(run: RunState, late: Late) -> int | None:
    """The step to undo again now; 0 if something else has to be undone first; None if there is none."""
    if late.again:
        return 0
    if not late.due:
        return None
    return 0 if run.is_undoing else late.due[0]


def ending_again(run: RunState, before: journal.Ending) -> journal.Ending:
    """How a reopened run ends: as before, unless an operator has left an effect open since."""
    if isinstance(before, journal.RunCompleted):
        return before
    again = ending_of_rollback(run, cancelled=run.cancelled)
    if isinstance(again, journal.RunTerminated) and isinstance(before, journal.RunTerminated):
        return journal.RunTerminated(list(dict.fromkeys((*before.residue, *again.residue))))
    return again if isinstance(again, journal.RunTerminated) else before


# ---- folds -----------------------------------------------------------------------------------------------------------


def leave_running(run: RunState, event: journal.AttemptFailed, *, undoing: bool) -> None:
    late = run.late or Late()
    running = late.running | {(event.step, event.attempt, undoing)}
    run.late = msgspec.structs.replace(late, running=running)


def take(run: RunState, event: journal.AttemptEndedLate) -> None:
    """An attempt ended late: what took effect is noted, and undone in its turn, or again."""
    late = run.late or Late()
    late = run.late = msgspec.structs.replace(
        late, running=late.running - {(event.step, event.attempt, event.undo)}
    )
    record = run.steps.get(event.step)
    if record is None or event.undo or (event.failure is not None and not event.unknown):
        return
    result = late.happened.get(event.step) if event.failure is not None else event.result
    run.late = msgspec.structs.replace(late, happened={**late.happened, event.step: result})
    if record.state not in UNDO_BEGUN:
        return
    if run.status_ is not None and run.terminating == "at once":
        run.left_open = list(dict.fromkeys((*run.left_open, record.name)))
        return
    if record.number not in late.due:
        run.late = msgspec.structs.replace(run.late, due=(*late.due, record.number))
    if run.status_ is not None:
        _reopen(run, run.late, run.status_)


def _reopen(run: RunState, late: Late, status: Status) -> None:
    ending: journal.Ending
    if status is Status.COMPLETED and run.result is not None:
        ending = journal.RunCompleted(run.result)
    elif status is Status.TERMINATED:
        ending = journal.RunTerminated(run.left_open)
    else:
        ending = ENDING_OF[status]()
    run.late = msgspec.structs.replace(late, ending=ending)
    run.status_ = run.ended_at = None


def begin_again(run: RunState, event: journal.CompensationScheduled) -> StepRecord:
    late, step = run.late, event.step
    if late is None or step not in late.due:
        raise run.misplaced(event)
    run.late = msgspec.structs.replace(
        late,
        due=tuple(one for one in late.due if one != step),
        again=step,
        rounds={**late.rounds, step: late.rounds.get(step, 0) + 1},
    )
    if run.heartbeats is not None:
        run.heartbeats = {key: value for key, value in run.heartbeats.items() if key != (step, True)}
    return run.move(step, "undo again")


def settle_again(run: RunState, step: int) -> bool:
    """A compensation is over: whether it was made again."""
    late = run.late
    if late is None or late.again != step:
        return False
    run.late = msgspec.structs.replace(late, again=0)
    return True


def leave_open(run: RunState, step: int) -> None:
    """An operator left the step's effect open."""
    assert run.late is not None
    settle_again(run, step)
    due = tuple(one for one in run.late.due if one != step)
    run.late = msgspec.structs.replace(run.late, due=due)


def is_open(late: Late) -> bool:
    """Whether something is being undone again, or is to be."""
    return bool(late.due or late.again)


def close(run: RunState) -> None:
    """The run has ended, perhaps once more."""
    assert run.late is not None
    run.late = msgspec.structs.replace(run.late, due=(), again=0, ending=None)
