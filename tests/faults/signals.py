"""Signals in fault runs: sagas that wait for them, the client that sends them, and what the checker demands (I7)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import makegood as mg
from tests.faults.evidence import Called, Said
from tests.faults.participants import Services
from tests.faults.sagas import Saga, Terms, make_step, make_undoable
from tests.faults.story import Story, Violation

if TYPE_CHECKING:
    from tests.faults.harness import Case, Life

WORDS = "abcde"
TIMEOUT_SECONDS = 30.0
Word = mg.Signal("word", str)


# ---- sagas: each signal that is taken schedules a step of its own -------------------------------------------------------


def one_by_one(takes: Any) -> Any:
    """Three signals, one after the other; a time limit for each."""

    async def listen(run_id: str) -> None:
        for _ in range(3):
            try:
                word = await Word.receive(timeout=TIMEOUT_SECONDS)
            except TimeoutError:
                return
            await takes[word](run_id)

    return listen


def all_at_once(takes: Any) -> Any:
    """Three branches that wait for a signal each, and give up together."""

    async def branch(run_id: str) -> None:
        await takes[await Word.receive()](run_id)

    async def listen(run_id: str) -> None:
        branches = [asyncio.ensure_future(branch(run_id)) for _ in range(3)]
        _, waiting = await asyncio.wait(branches, timeout=3 * TIMEOUT_SECONDS)
        for one in waiting:
            one.cancel()

    return listen


def again_and_again(takes: Any) -> Any:
    """A receive that races a timer, is cancelled when it loses, and is begun anew."""

    async def listen(run_id: str) -> None:
        for _ in range(4):
            receiving = asyncio.ensure_future(Word.receive())
            ticking = asyncio.ensure_future(asyncio.sleep(TIMEOUT_SECONDS))
            await asyncio.wait((receiving, ticking), return_when=asyncio.FIRST_COMPLETED)
            ticking.cancel()
            if receiving.done():
                await takes[receiving.result()](run_id)
            receiving.cancel()

    return listen


def listening_saga(services: Services, listens: Any) -> Saga:
    """Open, listen in this way, close."""
    opens = make_undoable(services, "open", retry=mg.Retry(delays=[0, 1]))
    takes = {word: make_undoable(services, f"take-{word}", retry=None) for word in WORDS}
    closes = make_undoable(services, "close", retry=None)
    listen = listens(takes)

    @mg.workflow(name="listening")
    async def listening(run_id: str) -> str:
        await opens(run_id)
        await listen(run_id)
        return await closes(run_id)

    of_signals = {f"take-{word}": word for word in WORDS}
    names = ("open", *of_signals, "close")
    terms = Terms(
        undoable=frozenset(names),
        predecessors=dict.fromkeys((*of_signals, "close"), frozenset(("open",))),
        of_signals=of_signals,
    )
    return Saga("listening", services, listening, terms, names)


def leg_by_leg_saga(services: Services) -> Saga:
    """Each leg takes one signal, and goes on as new; those that have come meanwhile are for the next ones."""
    opens = make_step(services, "open", retry=mg.Retry(delays=[0, 1]))
    takes = {word: make_step(services, f"take-{word}", retry=mg.Retry(delays=[0, 1])) for word in WORDS}
    closes = make_undoable(services, "close", retry=None)

    @mg.workflow(name="leg_by_leg")
    async def leg_by_leg(run_id: str, leg: int = 0) -> str:
        if not leg:
            await opens(run_id)
            mg.continue_as_new(run_id, 1)
        with contextlib.suppress(TimeoutError):
            await takes[await Word.receive(timeout=TIMEOUT_SECONDS)](run_id)
        if leg < 3:
            mg.continue_as_new(run_id, leg + 1)
        return await closes(run_id)

    of_signals = {f"take-{word}": word for word in WORDS}
    names = ("open", *of_signals, "close")
    terms = Terms(
        undoable=frozenset(("close",)),
        predecessors=dict.fromkeys((*of_signals, "close"), frozenset(("open",))),
        of_signals=of_signals,
    )
    return Saga("leg by leg", services, leg_by_leg, terms, names)


# ---- the sender ----------------------------------------------------------------------------------------------------------


async def send_signals(case: Case, life: Life, handle: mg.RunHandle[Any]) -> None:
    """Send the case's signals in order, each until it is acknowledged, also across restarts."""
    said = [one for one in life.evidence.said if one.run_id == handle.id]
    if any(one.what == "signal refused" for one in said):
        return
    acknowledged = {one.detail for one in said if one.what == "signalled"}
    for word in case.signals:
        if word in acknowledged:
            continue
        await asyncio.sleep(case.signal_seconds)
        life.say(handle.id, "signal", word)
        try:
            await handle.signal(Word, word, id=word)
        except mg.NotPossible:
            life.say(handle.id, "signal refused", word)
            return
        life.say(handle.id, "signalled", word)


# ---- the rule ------------------------------------------------------------------------------------------------------


def check_signals(story: Story, calls: list[Called], said: list[Said], terms: Terms) -> Iterator[Violation]:
    """An acknowledged signal is taken once, in order, or still there."""
    accepted = [fact.event["payload"] for fact in story.signals]
    for wrong in (*_acceptance(story, accepted, said), *_consumption(story, accepted, calls, terms)):
        yield Violation("I7", story.run_id, wrong)


def _acceptance(story: Story, accepted: list[str], said: list[Said]) -> Iterator[str]:
    if [fact.event["number"] for fact in story.signals] != list(range(1, len(accepted) + 1)):
        yield "signals are not numbered as they came"
    yield from (f"signal {word} was accepted {n} times" for word, n in Counter(accepted).items() if n > 1)
    durable = {fact.event["payload"]: fact.ticket for fact in story.signals}
    acknowledged = [one for one in said if one.what == "signalled"]
    for one in acknowledged:
        if not 0 < durable.get(one.detail, 0) < one.ticket:
            yield f"signal {one.detail} was acknowledged and is not, or was not yet, durable"
    sent = [one.detail for one in said if one.what == "signalled"]
    if [word for word in accepted if word in sent] != sent:
        yield f"signals {sent} were acknowledged, in this order, and accepted as {accepted}"


def _consumption(story: Story, accepted: list[str], calls: list[Called], terms: Terms) -> Iterator[str]:
    steps = (story.by_number[number].name for number in sorted(story.by_number))
    taken = [terms.of_signals[name] for name in steps if name in terms.of_signals]
    left = [accepted[number - 1] for number in story.signals_left]
    told = taken + left
    if story.ending is not None and told != accepted:
        yield f"accepted were {accepted}, taken {taken}, left {left}"
    if taken != accepted[: len(taken)]:
        yield f"accepted were {accepted}, and taken {taken}"
    effects = [
        terms.of_signals[call.step]
        for call in calls
        if call.direction == "do" and call.effect == "first" and call.step in terms.of_signals
    ]
    yield from (f"signal {word} took effect {n} times" for word, n in Counter(effects).items() if n > 1)
    yield from (
        f"signal {word} took effect and was never accepted" for word in effects if word not in accepted
    )
