"""How the demo tells what happens: a run's journal as lines, and the services' ledgers as one line."""

import asyncio
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from service_kit.ledger import Effect, read_effects

import makegood as mg
from stage.processes import SERVICES

LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 30
ENDINGS = ("RunCompleted", "RunFailed", "RunCompensated", "RunCancelled", "RunTerminated", "RunParked")
ROOM = 80 - len("    ✓ send_confirmation ")
STYLES = {"✓": "green", "✗": "red", "↩": "yellow", "?": "magenta", "!": "bold red"}


class Teller:
    """Writes to a terminal or, without colours, to wherever the output goes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def title(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, "bold"), soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        for line in text.splitlines():
            self.console.print(Text(f"  {line}", style), soft_wrap=True)

    def line(self, mark: str, name: str, what: str) -> None:
        """One line, of 80 columns at most."""
        what = what if len(what) <= ROOM else what[: ROOM - 1] + "…"
        line = Text.assemble("    ", (mark, STYLES[mark]), f" {name:<18}", (what, "dim"))
        self.console.print(line, soft_wrap=True)

    def verdict(self, text: str, *, good: bool) -> None:
        mark = "✓" if good else "✗"
        for line in textwrap.wrap(text, 76, initial_indent=f"{mark} ", subsequent_indent=" " * 11):
            self.say(line, STYLES[mark])


class Follower:
    """Tells a run's journal line by line, while it is being written."""

    def __init__(self, run: mg.RunHandle[Any], teller: Teller) -> None:
        self.run = run
        self._teller = teller
        self._told = 0
        self._names: dict[int, str] = {}
        self._best_effort: set[int] = set()
        self._undoing: set[int] = set()

    async def until(self, *events: str) -> bool:
        """Tell on until one of these events; False if it does not come in time."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await self._tell_new(events):  # noqa: ASYNC110 - a journal in a file calls nobody
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def until_the_end(self) -> bool:
        return await self.until(*ENDINGS)

    async def _tell_new(self, events: tuple[str, ...]) -> bool:
        for item in (await self.run.history())[self._told :]:
            self._told += 1
            self._tell(item.event, item.fields, item.at)
            if item.event in events:
                return True
        return False

    def _tell(self, event: str, fields: dict[str, Any], at: float) -> None:
        number = fields.get("step", 0)
        if event == "StepScheduled":
            self._names[number] = fields["name"]
            if not fields.get("critical", True):
                self._best_effort.add(number)
        elif event == "CompensationScheduled":
            self._undoing.add(number)
        for mark, what in self._lines(event, number, fields, at):
            self._teller.line(mark, self._names[number], what)

    def _lines(self, event: str, number: int, fields: dict[str, Any], at: float) -> Iterator[tuple[str, str]]:
        """What to tell of an event: a mark and words."""
        match event:
            case "StepCompleted":
                yield "✓", f"done: {next(iter(fields['result'].values()))}"
            case "CompensationCompleted":
                yield "↩", "undone"
            case "ProbeAnswered" if fields["outcome"] == "done":
                yield "✓", "looked up: it was done"
            case "AttemptFailed":
                mark = "?" if fields.get("unknown") and number not in self._undoing else "✗"
                yield mark, failure_text(fields["failure"]) + plan_text(fields, at)
            case "StepFailed" if number in self._best_effort:
                yield "✗", "missed; it is best effort, so the order stands"
            case "StepFailed" if fields.get("unknown"):
                yield "?", "given up: nobody knows whether it was done"


def failure_text(failure: dict[str, str]) -> str:
    name = failure["type"].rpartition(".")[2]
    if name == "WorkerLost":
        return "the engine died while asking"
    return failure["message"].rstrip(".") or name


def plan_text(attempt: dict[str, Any], at: float) -> str:
    """What the engine does after a failed attempt."""
    match attempt["then"]:
        case "retry":
            wait_seconds = max(attempt.get("retry_at", 0.0) - at, 0.0)
            return f"; again in {wait_seconds:.1f} s" if wait_seconds else "; again"
        case "probe":
            return "; looking"
        case _:
            return ""


def ledgers_text(directory: Path, order_id: str) -> str:
    """What the services did for an order, by their own ledgers, in order of time."""
    effects = [effect for name in SERVICES for effect in read_effects(directory / f"{name}.db")]
    own = sorted(
        (effect for effect in effects if effect.order_id == order_id), key=lambda effect: effect.time
    )
    return ", ".join(effect_text(effect) for effect in own) or "nothing"


EFFECTS: dict[str, Callable[[int], str]] = {
    "charge": lambda cents: f"charged {cents / 100:.2f}",
    "refund": lambda cents: f"refunded {cents / 100:.2f}",
    "reservation": lambda pieces: f"reserved {pieces}",
    "release": lambda pieces: f"released {pieces}",
    "label": lambda _: "labelled",
    "cancellation": lambda labels: "label cancelled" if labels else "no label to cancel",
    "email": lambda _: "emailed",
}


def effect_text(effect: Effect) -> str:
    return EFFECTS[effect.kind](effect.amount)
