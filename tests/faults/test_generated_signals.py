"""Generated programs that receive signals, under generated fates: each signal is received once, in order, or left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import makegood as mg
from tests.engine.kit import Run, folded_snapshot, snapshot
from tests.engine.shop import note

Word = mg.Signal("word", int)
Other = mg.Signal("other", int)


@dataclass(frozen=True)
class Do:
    """A part of a generated program; ``seconds`` 0: no time limit."""

    what: Literal["receive", "other", "step", "sequence", "gather", "group", "race", "timeout", "attempt"]
    seconds: int = 0
    parts: tuple[Do, ...] = ()


def _combined(inner: st.SearchStrategy[Do]) -> st.SearchStrategy[Do]:
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    kinds = st.sampled_from(["sequence", "gather", "group", "race", "attempt", "timeout"])
    return st.builds(Do, kinds, st.integers(1, 9), parts)


leaves = st.builds(Do, st.sampled_from(["receive", "receive", "receive", "other", "step"]), st.integers(0, 9))
programs = st.recursive(leaves, _combined, max_leaves=8)


class Listener:
    """The workflow of a program, and what it has received in its latest life."""

    def __init__(self, program: Do) -> None:
        self.program = program
        self.heard: list[int] = []
        self.workflow = mg.workflow(name="listener")(self._listen)

    async def _listen(self) -> None:
        self.heard = []
        await self.perform(self.program)
        while True:  # whatever comes now is received, until the run is told to end
            async with asyncio.timeout(1):
                await self.perform(Do("receive"))

    async def perform(self, part: Do) -> None:  # noqa: C901, PLR0912 - one case for each way to combine
        limit = part.seconds or None
        match part.what:
            case "receive":
                self.heard.append(await Word.receive(limit))
            case "other":
                self.heard.append(await Other.receive(limit))
            case "step":
                await note("n")
            case "sequence":
                for inner in part.parts:
                    await self.perform(inner)
            case "gather":
                await asyncio.gather(*map(self.perform, part.parts))
            case "group":
                async with asyncio.TaskGroup() as tasks:
                    for inner in part.parts:
                        tasks.create_task(self.perform(inner))
            case "race":
                racers = [asyncio.create_task(self.perform(inner)) for inner in part.parts]
                _, losers = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
                for loser in losers:
                    loser.cancel()
            case "timeout":
                async with asyncio.timeout(limit):
                    await self.perform(Do("sequence", parts=part.parts))
            case "attempt":
                try:
                    await self.perform(Do("sequence", parts=part.parts))
                except (TimeoutError, ExceptionGroup):
                    await note("plan B")


def happen(run: Run, data: st.DataObject, *, trouble: bool) -> None:
    """Something that could be next; without ``trouble`` something that brings the end nearer."""
    choices: list[tuple[str, Any]] = [("step", n) for n, step in run.state.steps.items() if step.in_flight]
    choices += [("timer", number) for number in run.state.timers]
    if not (trouble or choices):
        choices = [("signal", name) for name in run.state.awaited]
    if trouble:
        choices += [("signal", "word"), ("signal", "other"), ("burst", "word"), ("crash", 0)]
    kind, what = data.draw(st.sampled_from(choices), label="what")
    number, at = run.state.signals + 1, run.now
    match kind:
        case "step":
            raw, attempt = note.signature.encode_result("n"), run.state.steps[what].attempts + 1
            run.tell(lambda execution: execution.step_completed(what, attempt, raw, at))
        case "timer":
            run.fire(what)
        case "signal":
            run.signal(what, number)
        case "burst":
            for later in range(3):
                if run.state.status_ is None:
                    run.signal(what, number + later)
        case "crash":
            run.crash()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=programs, data=st.data())
def test_every_signal_is_received_once_in_order_or_left(program, data):
    listener = Listener(program)
    run = Run(listener.workflow)
    try:
        for turn in range(300):
            if run.state.status_ is not None:
                break
            happen(run, data, trouble=turn < 30)
        else:
            raise AssertionError(f"the run does not end: {run.story}")
    finally:
        run.execution.program.close()
    heard = listener.heard
    names = {e.number: e.name for e in run.events if type(e).__name__ == "SignalReceived"}
    assert sorted([*heard, *run.state.signals_left]) == list(names), "each once"
    for name in ("word", "other"):
        of_name = [number for number in heard if names[number] == name]
        assert of_name == sorted(of_name), "in order"
    assert snapshot(run.state) == folded_snapshot(run.entries), "the journal alone tells the same"
    run.check_replay()
