"""Many orders at once, random faults in all services, and an engine that is killed again and again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from models import Order
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from service_kit.faults import AnswerTwice, AnyFault, Decline, Down, EffectThenTimeout, FailBeforeEffect, Slow
from workflow import fulfil_order

from stage.processes import Stage
from stage.telling import Teller

IN_FLIGHT = 24
KILLS = 3
LOOK_SECONDS = 0.05
LIMIT_SECONDS = 120
PRICES_CENTS = {"lamp": 4990, "chair": 12950, "clock": 1995}
ENDED = frozenset({"COMPLETED", "COMPENSATED", "FAILED", "CANCELLED", "TERMINATED"})
FAULTS: list[AnyFault] = [
    Decline(probability=0.05),
    Down(probability=0.05),
    Down(probability=0.03, close=True),
    FailBeforeEffect(probability=0.04),
    Slow(probability=0.04, seconds=0.4),
    EffectThenTimeout(probability=0.03),
    EffectThenTimeout(probability=0.05, close=True),
    AnswerTwice(probability=0.05),
]


def random_orders(count: int, dice: random.Random) -> list[Order]:
    orders = []
    for number in range(1, count + 1):
        sku, quantity = dice.choice(list(PRICES_CENTS)), dice.randint(1, 3)
        total_cents = PRICES_CENTS[sku] * quantity
        orders.append(
            Order(f"storm-{number}", "4242", total_cents, sku, quantity, "1 Main Street", "ada@example.org")
        )
    return orders


def moments_to_kill(orders: int, dice: random.Random) -> list[int]:
    """At how many ended orders the engine is to be killed: one random moment in each part of the storm."""
    part = orders / (KILLS + 1)
    return [int(part * (number + 0.25 + dice.random())) for number in range(KILLS)]


@dataclass
class Tally:
    """How the orders stand, by the engine's journal."""

    orders: int
    statuses: dict[str, str] = field(default_factory=dict)
    kills: int = 0

    @property
    def ended(self) -> int:
        return len(self.statuses) - len(self.unfinished)

    @property
    def in_flight(self) -> int:
        return len(self.unfinished)

    @property
    def unfinished(self) -> dict[str, str]:
        return {order: status for order, status in self.statuses.items() if status not in ENDED}

    @property
    def over(self) -> bool:
        """Nothing will change any more without a person."""
        return len(self.statuses) == self.orders and set(self.unfinished.values()) <= {"PARKED"}

    def __str__(self) -> str:
        count = Counter(self.statuses.values())
        endings = f"✓ {count['COMPLETED']} ↩ {count['COMPENSATED']} ✗ {count['FAILED']}"
        return f"{endings}  in flight: {self.in_flight}  kills: {self.kills}"

    @property
    def summary(self) -> str:
        count = Counter(self.statuses.values())
        return ", ".join(f"{count[status]} {status}" for status in sorted(count)) + f"; kills: {self.kills}"


class Storm:
    """These orders, some at a time, and now and then the end of the engine."""

    def __init__(self, stage: Stage, orders: Sequence[Order], dice: random.Random, teller: Teller) -> None:
        self.tally = Tally(len(orders))
        self._stage = stage
        self._waiting = list(reversed(orders))
        self._kills_at = moments_to_kill(len(orders), dice)
        self._dice = dice
        self._teller = teller

    async def rage(self) -> Tally:
        """Until every order has ended, is parked, or the time is up."""
        for service in self._stage.services.values():
            service.set_faults(*FAULTS, seed=self._dice.randrange(2**32))
        deadline = time.monotonic() + LIMIT_SECONDS
        with progress_bar(self._teller, self.tally) as show:
            while not self.tally.over and time.monotonic() < deadline:
                await self._submit_some()
                if self._kills_at and self.tally.ended >= self._kills_at[0]:
                    del self._kills_at[0]
                    await self._kill()
                self._stage.engine.check()
                await asyncio.sleep(LOOK_SECONDS)
                await self._look()
                show()
        return self.tally

    async def _submit_some(self) -> None:
        room = min(IN_FLIGHT - self.tally.in_flight, len(self._waiting))
        orders = [self._waiting.pop() for _ in range(room)]
        for order in orders:
            await self._stage.client.start(fulfil_order, order, id=order.id)
            self.tally.statuses[order.id] = "RUNNING"

    async def _kill(self) -> None:
        await asyncio.sleep(self._dice.uniform(0, 0.3))
        await self._look()
        pid = self._stage.engine.pid
        await asyncio.to_thread(self._stage.engine.kill)
        self.tally.kills += 1
        in_flight = self.tally.in_flight
        self._teller.line("!", "kill -9", f"engine {pid}, with {in_flight} orders in flight")
        await asyncio.to_thread(self._stage.engine.start)

    async def _look(self) -> None:
        runs = await self._stage.client.list(limit=len(self.tally.statuses) + 1)
        self.tally.statuses |= {run.id: run.status for run in runs if run.id in self.tally.statuses}


@contextmanager
def progress_bar(teller: Teller, tally: Tally) -> "Iterator[Show]":
    """A live bar in a terminal; elsewhere a line for every quarter."""
    live = teller.console.is_terminal
    columns = (
        TextColumn("   "),
        BarColumn(24),
        TextColumn("{task.completed}/{task.total}  {task.description}"),
    )
    with Progress(*columns, console=teller.console, disable=not live) as progress:
        task = progress.add_task("", total=tally.orders)
        yield Show(progress, task, tally, None if live else teller)


class Show:
    """Shows the tally as it stands."""

    def __init__(self, progress: Progress, task: TaskID, tally: Tally, teller: Teller | None) -> None:
        self._progress = progress
        self._task = task
        self._tally = tally
        self._teller = teller
        self._quarters = 0

    def __call__(self) -> None:
        self._progress.update(self._task, completed=self._tally.ended, description=str(self._tally))
        quarters = self._tally.ended * 4 // max(self._tally.orders, 1)
        if self._teller is not None and quarters > self._quarters:
            self._quarters = quarters
            self._teller.say(f"  {self._tally.ended}/{self._tally.orders}  {self._tally}")
