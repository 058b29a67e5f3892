"""The services that a saga calls: they know nothing of the engine, act by script, honour keys, and write down what they did.

A script is a list of behaviours, one per call of that step; the last one repeats.

do     ok · fail (no effect, raises) · decline (the same, fatal) · lost (took effect, no answer) · silent (neither)
       cut / cut-done (an ambiguous network error without / after the effect)
       interrupted (took effect, no answer, and its cancellation comes out as another error)
ask    ok (somebody completes it soon) · early (before the step is pending) · late (20 s) · refuses · silent (nobody does)
       fail (nobody was asked, raises)
       late:S / late-done:S / late-fail:S (does not let itself be stopped; after S seconds it answers, having taken effect
       just then / at once, or fails without an effect)
undo   the same as do, without decline
probe  ok (the truth) · fail
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import makegood as mg
from tests.faults.evidence import Called, Evidence

Script = Mapping[tuple[str, str], Sequence[str]]  # (direction, step) → behaviours


class Refused(Exception):
    """The service says no: the effect did not happen."""


class Declined(Exception):
    """The service says no, and will always do."""


class ConnectionCut(Exception):
    """Nobody knows what the service did."""


class Interrupted(Exception):
    """What a client library makes of a cancellation."""


@dataclass(slots=True)
class Asked:
    """A question to somebody outside, who is going to complete the step."""

    token: str
    call: Called
    behaviour: str
    answered: asyncio.Future[None]


class Services:
    """All participants of one fault run. ``now`` is the wall clock; ``watch`` is told of every call.

    It is asked before the effect, when it numbers the call, and after it, and may let the process die there.
    """

    def __init__(self) -> None:
        self.begin(Evidence(), {}, {})

    def begin(self, evidence: Evidence, script: Script, seconds: Mapping[str, float]) -> None:
        """Forget everything, and act by this script from now on; a step takes ``seconds`` (0 if not named)."""
        self.evidence = evidence
        self.script = script
        self.seconds = seconds
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.answers: dict[str, str] = {}  # key → the answer to its first use
        self.asked: list[Asked] = []  # and not answered yet
        self.process = 0
        self.unstoppable = 0  # calls that go on, whoever waits for them
        self.now: Callable[[], float] = lambda: 0.0
        self.watch: Callable[[str, int], Awaitable[int]] = _ignore
        self.tell: Callable[[Asked], None] = lambda _asked: (
            None
        )  # the one who answers, in the process of today

    def repair(self) -> None:
        """From now on everything works."""
        self.script = {}

    async def do(self, run_id: str, step: str, key: str) -> str:
        return await self._serve(run_id, step, "do", key)

    async def undo(self, run_id: str, step: str, key: str, result: str | None) -> None:
        await self._serve(run_id, step, "undo", key, result)

    async def probe(self, run_id: str, step: str, key: str) -> str | None:
        """The answer to an earlier use of the key, or None if there was none."""
        await self.watch("before", 0)
        call = self._arrived(run_id, step, "probe", key, None)
        if self._behaviour(call) == "fail":
            raise Refused(step)
        call.answer = self.answers.get(key)
        return call.answer

    async def _serve(
        self, run_id: str, step: str, direction: str, key: str, result: str | None = None
    ) -> str:
        number = await self.watch("before", 0)
        call = self._arrived(run_id, step, direction, key, result)
        call.heartbeat_given = mg.last_heartbeat(int)
        mg.heartbeat(call.ticket)
        behaviour = self._behaviour(call)
        seconds = self.seconds.get(step, 0.0)
        await asyncio.sleep(seconds / 2)
        if behaviour == "fail":
            raise Refused(f"{direction} {step}")
        if behaviour.startswith("late"):
            return await self._serve_late(call, behaviour, number)
        if behaviour == "decline":
            raise Declined(f"{direction} {step}")
        if behaviour == "cut":
            raise ConnectionCut(f"{direction} {step}")
        if behaviour == "silent":
            await _for_ever()
        self._take_effect(call)
        await self.watch("after", number)
        if behaviour == "cut-done":
            raise ConnectionCut(f"{direction} {step}")
        if behaviour == "lost":
            await _for_ever()
        if behaviour == "interrupted":
            try:
                await _for_ever()
            except asyncio.CancelledError:
                raise Interrupted(f"{direction} {step}") from None
        await asyncio.sleep(seconds / 2)
        return call.answer

    async def _serve_late(self, call: Called, behaviour: str, number: int) -> str:
        how, _, seconds = behaviour.partition(":")
        loop = asyncio.get_running_loop()
        until = loop.time() + float(seconds)
        if how == "late-done":
            self._take_effect(call)
        self.unstoppable += 1
        try:
            while (left := until - loop.time()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    await self.watch("stopped", 0)  # which only the end of its process does
            if how == "late":
                await self.watch("stopped", 0)
                self._take_effect(call)
            await self.watch("after", number)
        finally:
            self.unstoppable -= 1
        if how == "late-fail":
            raise Refused(f"{call.direction} {call.step}")
        return str(call.answer)

    async def ask(self, run_id: str, step: str, token: str) -> None:
        """Ask somebody who is going to complete the step, or (``silent``) is not."""
        number = await self.watch("before", 0)
        call = self._arrived(run_id, step, "do", mg.idempotency_key(), None)
        behaviour = self._behaviour(call)
        if behaviour == "fail":
            raise Refused(f"ask {step}")
        if behaviour != "refuses":
            self._take_effect(call)
        await self.watch("after", number)
        if behaviour == "silent":
            return
        asked = Asked(token, call, behaviour, asyncio.get_running_loop().create_future())
        self.asked.append(asked)
        self.tell(asked)
        if behaviour == "early":
            await asked.answered

    def transact(
        self, db: mg.Connection, run_id: str, step: str, direction: str, result: str | None = None
    ) -> str:
        """The participant that is a table of the store's own database: the ledger."""
        call = self._arrived(run_id, step, direction, mg.idempotency_key(), result)
        behaviour = self._behaviour(call)
        call.answer = f"{direction}:{step}:{call.ticket}"
        db.execute("CREATE TABLE IF NOT EXISTS ledger (run_id TEXT, step TEXT, direction TEXT)")
        db.execute("INSERT INTO ledger VALUES (?, ?, ?)", (run_id, step, direction))
        if behaviour == "fail":
            raise Refused(f"{direction} {step}")
        if behaviour == "decline":
            raise Declined(f"{direction} {step}")
        return call.answer

    def _arrived(self, run_id: str, step: str, direction: str, key: str, result: str | None) -> Called:
        call = Called(self.evidence.ticket(), self.now(), self.process, run_id, step, direction, key, result)
        self.evidence.calls.append(call)
        return call

    def _behaviour(self, call: Called) -> str:
        behaviours = self.script.get((call.direction, call.step), ("ok",))
        number = self.calls[call.run_id, call.direction, call.step]
        self.calls[call.run_id, call.direction, call.step] += 1
        return behaviours[min(number, len(behaviours) - 1)]

    def _take_effect(self, call: Called) -> None:
        call.effect = "repeat" if call.key in self.answers else "first"
        call.effect_ticket = self.evidence.ticket()
        call.answer = self.answers.setdefault(call.key, f"{call.direction}:{call.step}:{call.effect_ticket}")


async def _ignore(_moment: str, number: int) -> int:
    return number


async def _for_ever() -> Any:
    await asyncio.get_running_loop().create_future()
