"""Generated programs under generated fates: every run ends honestly, and every prefix of its journal replays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import makegood as mg
from makegood.engine.operator import Request
from makegood.engine.run import (
    EXHAUSTED,
    OPEN,
    PROBING,
    UNDO_EXHAUSTED,
    UNDOING,
    Status,
    StepRecord,
)
from tests.engine.kit import START, Run, folded_snapshot, snapshot
from tests.engine.shop import approve, book, charge, email, note

STEPS = {step.options_.name: step for step in (approve, book, charge, email, note)}


@dataclass(frozen=True)
class Do:
    """A part of a generated program."""

    what: Literal[
        *("step", "sleep", "sequence", "gather", "group", "race", "timeout", "attempt", "finally", "forget"),
        *("saga", "on rollback"),
    ]
    name: str = ""
    seconds: int = 0
    parts: tuple[Do, ...] = ()


def _step() -> st.SearchStrategy[Do]:
    return st.sampled_from(sorted(STEPS)).map(lambda name: Do("step", name))


def _combined(inner: st.SearchStrategy[Do]) -> st.SearchStrategy[Do]:
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(
            Do,
            st.sampled_from(["sequence", "gather", "group", "race", "attempt", "finally", "saga", "saga"]),
            parts=parts,
        ),
        st.builds(Do, st.just("timeout"), seconds=st.integers(1, 9), parts=parts),
    )


programs = st.recursive(
    _step()
    | _step()
    | st.integers(0, 9).map(lambda n: Do("sleep", seconds=n))
    | st.sampled_from([Do("forget", "charge"), Do("on rollback", "note")]),
    _combined,
    max_leaves=6,
)


async def perform(part: Do) -> None:  # noqa: C901, PLR0912 - one case for each way to combine steps
    match part.what:
        case "step":
            await STEPS[part.name]()
        case "forget":
            STEPS[part.name]()
        case "sleep":
            await asyncio.sleep(part.seconds)
        case "on rollback":
            mg.on_rollback(STEPS[part.name])
        case "saga":
            try:
                async with mg.saga():
                    await perform(Do("sequence", parts=part.parts))
            except (mg.StepFailed, TimeoutError, ExceptionGroup):
                await note("plan C")
        case "sequence":
            for inner in part.parts:
                await perform(inner)
        case "gather":
            await asyncio.gather(*map(perform, part.parts))
        case "group":
            async with asyncio.TaskGroup() as tasks:
                for inner in part.parts:
                    tasks.create_task(perform(inner))
        case "race":
            racers = [asyncio.create_task(perform(inner)) for inner in part.parts]
            _, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            for loser in pending:
                loser.cancel()
        case "timeout":
            async with asyncio.timeout(part.seconds):
                await perform(Do("sequence", parts=part.parts))
        case "attempt":
            try:
                await perform(Do("sequence", parts=part.parts))
            except (mg.StepFailed, TimeoutError, ExceptionGroup):
                await note("plan B")
        case "finally":
            try:
                await perform(Do("sequence", parts=part.parts))
            finally:
                await note("tidy")


def workflow_of(program: Do) -> mg.Workflow[[], None]:
    async def generated() -> None:
        await perform(program)

    return mg.workflow(generated)


class Fate:
    """What happens to a run next, drawn from what could."""

    def __init__(self, run: Run, data: st.DataObject) -> None:
        self.run = run
        self.data = data
        self.troubles = 12  # after so many, everything goes well, so that every run ends

    def happen(self) -> None:
        run = self.run
        choices: list[Any] = [
            ("step", number) for number, record in run.state.steps.items() if self._moves(record)
        ]
        choices += [("timer", number) for number in run.state.timers]
        if self.troubles > 0:
            choices += [("crash", 0), ("cancel", 0), ("terminate", 0)]
        kind, number = self.data.draw(st.sampled_from(choices), label="what")
        if kind == "step":
            self._step(run.state.steps[number])
        elif kind == "timer":
            run.fire(number)
        elif kind == "crash":
            self.troubles -= 1
            run.crash()
        elif kind == "terminate":
            if self.data.draw(st.integers(0, 5), label="really terminate if 5") == 5:
                undo = not (run.state.rolling_back or self.data.draw(st.booleans(), label="at once"))
                run.act(Request("terminate", "ann", "enough", compensate=undo))
        elif self.data.draw(st.booleans(), label="really cancel"):
            self.troubles -= 1
            if not run.state.rolling_back or run.state.cancel_requested:
                run.cancel()

    @staticmethod
    def _moves(record: StepRecord) -> bool:
        return record.state in (OPEN, PROBING, EXHAUSTED, UNDOING, UNDO_EXHAUSTED)

    def _step(self, record: StepRecord) -> None:
        run, number, at = self.run, record.number, self.run.now
        outcomes = {
            OPEN: ["done", "failed", "unknown", "fatal"],
            PROBING: ["found", "nothing", "cannot tell"],
            EXHAUSTED: ["retry", "skip", "resolve"],
            UNDOING: ["undone", "failed"],
            UNDO_EXHAUSTED: ["retry", "skip", "resolve"],
        }[record.state]
        if record.state is EXHAUSTED and record.cancelled:
            outcomes = ["stopped"]
        elif record.state is OPEN and record.cancelled:
            outcomes = ["done", "unknown", "stopped"]
        outcome = (
            self.data.draw(st.sampled_from(outcomes), label=record.name) if self.troubles > 0 else outcomes[0]
        )
        self.troubles -= outcome != outcomes[0]
        raw = run.execution.program.steps[number].signature.encode_result("r")
        attempt = record.attempts + 1
        failure = mg.Failure("shop.Refused", outcome)
        actions = {
            "done": lambda e: e.step_completed(number, attempt, raw, at),
            "failed": lambda e: e.attempt_failed(number, attempt, failure, at, 0.5),
            "unknown": lambda e: e.attempt_failed(number, attempt, failure, at, 0.5, unknown=True),
            "fatal": lambda e: e.attempt_failed(number, attempt, failure, at, 0.5, fatal=True),
            "found": lambda e: e.probe_found(number, raw, at),
            "nothing": lambda e: e.probe_found_nothing(number, at, 0.5),
            "cannot tell": lambda e: e.probe_found_nothing(number, at, 0.5, failure),
            "undone": lambda e: e.compensation_completed(number, attempt, at),
            "stopped": lambda e: e.step_stopped(number, at),
        }
        if outcome in actions:
            run.tell(actions[outcome])
        else:
            run.act(Request(outcome, "ann", "", str(number), raw))


def check_honest(run: Run) -> None:
    """What the journal says was done against what it says was undone (G1, G5, G6)."""
    state = run.state
    names = [type(event).__name__ for event in run.events]
    undone = [event.step for event in run.events if type(event).__name__ == "CompensationScheduled"]
    sagas = [event for event in run.events if type(event).__name__ == "SagaRollbackStarted"]
    nested = {step for saga in sagas for step in saga.steps}
    check_order(run, undone, nested)
    if state.terminating == "at once":
        return
    if sagas:
        assert nested <= set(undone)
    elif undone:
        first = names.index("CompensationScheduled")
        settled = {"StepCompleted", "StepFailed", "StepSkipped", "StepScheduled", "ProbeAnswered"}
        assert not settled & set(names[first:]), "no undo before everything has settled"
    done = {e.step for e in run.events if type(e).__name__ == "StepCompleted"}
    done |= {e.step for e in run.events if type(e).__name__ == "ProbeAnswered" and e.outcome == "done"}
    done |= {e.step for e in run.events if type(e).__name__ == "RollbackRegistered"}
    unknown = {e.step for e in run.events if type(e).__name__ == "StepFailed" and e.unknown}
    owed = {number for number in done | unknown if state.steps[number].undoable}
    if state.status is Status.COMPLETED:
        assert not state.cancel_requested
        assert {number for number in owed if state.steps[number].cancelled or number in unknown} <= set(
            undone
        )
    else:
        assert owed <= set(undone)
    left_open = [record.name for record in state.steps.values() if record.state.value == "residue"]
    assert state.residue == left_open
    if state.status in (Status.COMPENSATED, Status.FAILED, Status.CANCELLED):
        assert not left_open
    if state.status is Status.FAILED:
        assert not undone
    assert (state.status is Status.CANCELLED) <= state.cancel_requested


def check_order(run: Run, undone: list[int], nested: set[int]) -> None:
    assert len(set(undone)) == len(undone), "each once"
    rollback = next((n for n, e in enumerate(run.events) if type(e).__name__ == "RollbackStarted"), 0)
    before = [
        e.step for e in run.events[:rollback] if type(e).__name__ == "CompensationScheduled"
    ]  # of a workflow that had returned
    whole = [step for step in undone if step not in nested and step not in before]
    assert whole == sorted(whole, reverse=True), "compensations in the reverse order of scheduling"
    for event in run.events:
        if type(event).__name__ == "SagaRollbackStarted":
            own = [step for step in undone if step in event.steps]
            assert own == sorted(own, reverse=True), "also those of a nested saga"


def live(run: Run, fate: Fate) -> None:
    for _ in range(200):
        if run.state.status_ is not None:
            return
        fate.happen()
    raise AssertionError(f"the run does not end: {run.story}")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=programs, data=st.data())
def test_whatever_happens_the_ending_is_honest_and_every_prefix_replays(program, data):
    run = Run(workflow_of(program))
    try:
        live(run, Fate(run, data))
    finally:
        run.execution.program.close()
    check_honest(run)
    assert run.state.started_at == START
    assert snapshot(run.state) == folded_snapshot(run.entries), "the journal alone tells the same"
    run.check_replay()
