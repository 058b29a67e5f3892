"""The seven orders that the guide tells of, each with what must come of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models import Order
from service_kit.faults import AnyFault, Decline, Down, EffectThenTimeout
from workflow import fulfil_order

from stage.processes import Stage
from stage.telling import Follower, Teller, ledgers_text

CHARGED = "charged 49.90"
COMPLETE = f"{CHARGED}, reserved 2, labelled, emailed"


async def submit(stage: Stage, order: Order, teller: Teller) -> Follower:
    return Follower(await stage.client.start(fulfil_order, order, id=order.id), teller)


async def submit_twice(stage: Stage, order: Order, teller: Teller) -> Follower:
    """As an impatient customer does, or a client that repeats a request after a lost answer."""
    await asyncio.gather(*(stage.client.start(fulfil_order, order, id=order.id) for _ in range(2)))
    teller.say(f"{order.id} was submitted twice, at the same time")
    return await submit(stage, order, teller)


async def submit_and_kill(stage: Stage, order: Order, teller: Teller) -> Follower:
    """The inventory is down, so that the engine is caught between the charge and the reservation."""
    follower = await submit(stage, order, teller)
    await follower.until("AttemptFailed")
    pid = stage.engine.pid
    await asyncio.to_thread(stage.engine.kill)
    teller.line("!", "kill -9", f"process {pid}, the engine, is dead")
    teller.line("!", "ledgers", ledgers_text(stage.directory, order.id))
    stage.services["inventory"].set_faults()
    await asyncio.to_thread(stage.engine.start)
    teller.line("!", "restart", f"as process {stage.engine.pid}; the inventory is up again")
    return follower


@dataclass(frozen=True)
class Scenario:
    """One order: which faults strike it, and how it must end by the journal and by the services' ledgers."""

    title: str
    ending: str
    ledgers: str
    faults: Mapping[str, Sequence[AnyFault]] = field(default_factory=dict)
    missed: Sequence[str] = ()
    submit: Callable[[Stage, Order, Teller], Awaitable[Follower]] = submit


SCENARIOS = (
    Scenario("All steps succeed", "COMPLETED", COMPLETE),
    Scenario(
        "Step 2 fails: out of stock. The charge is refunded",
        "COMPENSATED",
        f"{CHARGED}, refunded 49.90",
        {"inventory": [Decline()]},
    ),
    Scenario(
        "Step 3 fails: address refused. Stock released, then charge refunded",
        "COMPENSATED",
        f"{CHARGED}, reserved 2, released 2, refunded 49.90",
        {"shipping": [Decline()]},
    ),
    Scenario(
        "The label times out although it was made. Nobody knows: it is cancelled, too",
        "COMPENSATED",
        f"{CHARGED}, reserved 2, labelled, label cancelled, released 2, refunded 49.90",
        {"shipping": [EffectThenTimeout(path="/labels")]},
    ),
    Scenario(
        "The email service is down. The order stands, the missed email is listed",
        "COMPLETED",
        f"{CHARGED}, reserved 2, labelled",
        {"email": [Down()]},
        missed=["send_confirmation"],
    ),
    Scenario("The same order is submitted twice. One charge", "COMPLETED", COMPLETE, submit=submit_twice),
    Scenario(
        "kill -9 of the engine between charge and reservation. One charge",
        "COMPLETED",
        COMPLETE,
        {"inventory": [Down()]},
        submit=submit_and_kill,
    ),
)


def order_of(number: int) -> Order:
    """The order of the scenario with this number."""
    return Order(f"order-{number}", "4242", 4990, "lamp", 2, "1 Main Street", "ada@example.org")


async def play(stage: Stage, scenario: Scenario, number: int, teller: Teller) -> bool:
    """Play one scenario; whether it went as told."""
    order = order_of(number)
    teller.title(f"{number}. {scenario.title}")
    for name, faults in scenario.faults.items():
        stage.services[name].set_faults(*faults)
    follower = await scenario.submit(stage, order, teller)
    await follower.until_the_end()
    stage.engine.check()
    for name in scenario.faults:
        stage.services[name].set_faults()
    description = await follower.run.describe()
    ledgers = ledgers_text(stage.directory, order.id)
    listed = f"; missed: {', '.join(description.missed)}" if description.missed else ""
    told = (description.status, description.missed)
    went_as_told = told == (scenario.ending, list(scenario.missed))
    teller.verdict(f"journal: {description.status}{listed}", good=went_as_told)
    teller.verdict(f"ledgers: {ledgers}", good=ledgers == scenario.ledgers)
    if not went_as_told or ledgers != scenario.ledgers:
        teller.verdict(f"expected {scenario.ending}: {scenario.ledgers}", good=False)
        return False
    return True
