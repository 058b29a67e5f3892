"""The demo from beginning to end: the scenarios, the storm, the audit."""

import asyncio
import random
import shutil
import tempfile
import time
from pathlib import Path

from audit import Audit, Submitted, audit
from models import Order
from rich.console import Console

from stage.processes import EngineEnded, Stage, set_up
from stage.scenarios import SCENARIOS, order_of, play
from stage.storm import KILLS, PRICES_CENTS, Storm, Tally, random_orders
from stage.telling import Teller

INTRODUCTION = """\
Four services, each a process with a ledger of its own: payment, inventory,
shipping and email. One engine process runs workflow.py; its journal is one
SQLite file. All of it is real: processes, requests, faults, kill -9.

  ✓ done   ✗ not done   ? nobody knows   ↩ undone   ! the engine is killed"""


async def show(orders: int, seed: int) -> int:
    """Play everything; the exit status."""
    began = time.monotonic()
    teller = Teller(Console(highlight=False))
    teller.title("makegood: an order, every step done or everything made good")
    teller.say(INTRODUCTION)
    directory = Path(tempfile.mkdtemp(prefix="makegood-demo-"))
    try:
        problems = await perform(directory, random_orders(orders, random.Random(seed)), seed, teller)
    except EngineEnded as error:
        problems = [str(error)]
    except asyncio.CancelledError:  # Ctrl-C
        shutil.rmtree(directory)
        raise
    for problem in problems:
        teller.verdict(problem, good=False)
    if problems:
        teller.say(f"The ledgers, the journal and the engine's log are in {directory}")
        return 1
    shutil.rmtree(directory)
    seconds = time.monotonic() - began
    teller.verdict(f"Every order is complete or made good. ({seconds:.0f} s, --seed {seed})", good=True)
    return 0


async def perform(directory: Path, orders: list[Order], seed: int, teller: Teller) -> list[str]:
    """The scenarios, the storm and the audit; all that went wrong."""
    async with set_up(directory) as stage:
        for sku in PRICES_CENTS:
            stage.deliver(sku, 3 * len(orders) + 100)
        wrong = [
            f"scenario {number} did not go as told"
            for number, scenario in enumerate(SCENARIOS, start=1)
            if not await play(stage, scenario, number, teller)
        ]
        tally = await storm(stage, orders, seed, teller)
    told = [order_of(number) for number in range(1, len(SCENARIOS) + 1)]
    return wrong + disagreements(judge(directory, told + orders, teller), tally)


async def storm(stage: Stage, orders: list[Order], seed: int, teller: Teller) -> Tally:
    if not orders:
        return Tally(0)
    teller.title(
        f"{len(SCENARIOS) + 1}. {len(orders)} orders, random faults in all services, {KILLS} times kill -9"
    )
    tally = await Storm(stage, orders, random.Random(seed), teller).rage()
    struck = stage.faults_that_struck()
    teller.verdict(f"journal: {tally.summary}", good=not tally.unfinished)
    teller.say(f"  {struck} faults have struck (seed {seed})")
    return tally


def judge(directory: Path, orders: list[Order], teller: Teller) -> Audit:
    teller.title("The audit: the engine is not asked, only the four services' own ledgers count")
    result = audit(
        directory, [Submitted(order.id, order.total_cents, order.sku, order.quantity) for order in orders]
    )
    teller.console.print(result.as_table())
    return result


def disagreements(result: Audit, tally: Tally) -> list[str]:
    """What must not be: by the ledgers alone, and between them and what the engine says."""
    by_engine = {order for order, status in tally.statuses.items() if status == "COMPLETED"}
    by_ledgers = {order for order in result.completed if order in tally.statuses}
    return [
        *result.violations,
        *(f"{order}: {status}, not ended" for order, status in tally.unfinished.items()),
        *(f"{order}: the engine and the ledgers disagree on it" for order in sorted(by_engine ^ by_ledgers)),
    ]
