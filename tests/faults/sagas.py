"""The sagas that the fault tests run: the order saga, and sagas generated from a small grammar.

A saga knows what the checker may demand of it (``Terms``); its steps call the participants and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import makegood as mg
from tests.faults.participants import ConnectionCut, Declined, Services

TIMEOUT_SECONDS = 10
PATIENT = mg.Retry(delays=[0, 1, 30])


@dataclass(frozen=True)
class Terms:
    """What the author of a saga promises: the checker's only knowledge of the code.

    ``predecessors``: steps that must be settled and durable before the step may start. ``transactions``: steps whose
    effect is a row of the ledger. ``of_signals``: the steps that are scheduled by a signal, and its payload.
    ``inside``: the steps of each nested saga. ``behind_pivot``: the first step behind the point of no return.
    """

    undoable: frozenset[str]
    best_effort: frozenset[str] = frozenset()
    predecessors: dict[str, frozenset[str]] = field(default_factory=dict)
    own_errors: frozenset[str] = frozenset()
    transactions: frozenset[str] = frozenset()
    of_signals: dict[str, str] = field(default_factory=dict)
    inside: dict[int, frozenset[str]] = field(default_factory=dict)
    behind_pivot: str = ""


Client = Callable[[Any, mg.RunHandle[Any]], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Saga:
    name: str
    services: Services
    workflow: mg.Workflow[..., Any]
    terms: Terms
    steps: tuple[str, ...]
    probed: frozenset[str] = frozenset()
    besides: tuple[Client, ...] = ()  # what clients do with a run beside waiting for its end
    deployed: tuple[mg.Workflow[..., Any], ...] = ()  # known, and started, since the second process


def make_step(services: Services, name: str, **options: Any) -> mg.Step[..., str]:
    """A step that calls the service of its name."""

    async def do(run_id: str) -> str:
        return await services.do(run_id, name, mg.idempotency_key())

    return mg.step(
        name=name,
        timeout=TIMEOUT_SECONDS,
        fatal=(Declined,),
        unknown=(ConnectionCut,),
        **options,
    )(do)


def make_undoable(
    services: Services, name: str, *, undo_retry: mg.Retry | None = PATIENT, **options: Any
) -> Any:
    declared = make_step(services, name, **options)

    @declared.compensation(retry=undo_retry, timeout=TIMEOUT_SECONDS)
    async def undo(result: str | None, run_id: str) -> None:
        await services.undo(run_id, name, mg.idempotency_key(), result)

    return declared


def add_probe(services: Services, declared: mg.Step[..., str]) -> None:
    name = declared.options_.name

    @declared.probe
    async def probe(run_id: str) -> str | mg.NotDone:
        answer = await services.probe(run_id, name, mg.idempotency_key())
        return mg.NotDone() if answer is None else answer


def order_saga(services: Services) -> Saga:
    """Charge, reserve (which can be probed), label, and a best-effort email."""
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    reserve = make_undoable(services, "reserve", retry=mg.Retry(delays=[0, 1]))
    add_probe(services, reserve)
    label = make_undoable(services, "label", retry=None)
    email = make_step(services, "email", retry=None, critical=False)

    @mg.workflow
    async def order(order_id: str) -> str:
        receipt = await charge(order_id)
        hold = await reserve(order_id)
        tracking = await label(order_id)
        await email(order_id)
        return f"{receipt} {hold} {tracking}"

    before = ("charge", "reserve", "label", "email")
    terms = Terms(
        undoable=frozenset(("charge", "reserve", "label")),
        best_effort=frozenset(("email",)),
        predecessors={name: frozenset(before[:position]) for position, name in enumerate(before)},
    )
    return Saga("order", services, order, terms, before, frozenset(("reserve",)))


def asking_saga(services: Services) -> Saga:
    """Charge; then wait to be told to go on, while a client may have the order redirected; label. All of it on view."""
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    redirect = make_undoable(services, "redirect", retry=mg.Retry(delays=[0, 1]))
    label = make_undoable(services, "label", retry=None)
    redirecting, closing = mg.Update("redirect", str, str), mg.Update("close", None)

    def known(street: str) -> None:
        if street == "nowhere":
            raise ValueError(street)

    @mg.workflow
    async def asked(run_id: str) -> str:
        mg.update_view(status="new", steps_pending=["charge", "redirect", "label"])
        await charge(run_id)
        closed = asyncio.Event()

        @redirecting.handler(validator=known)
        async def redirected(_street: str) -> str:
            mg.update_view(status="redirecting")
            return await redirect(run_id)

        closing.handler(lambda _: closed.set())
        mg.update_view(status="paid")
        await closed.wait()
        mg.update_view(status="closed")
        return await label(run_id)

    async def ask(life: Any, run: mg.RunHandle[Any]) -> None:
        """The same question twice at once, one that is rejected, and then the word to go on."""
        asked = [_ask(life, run, redirecting, "Elm St", "redirect-1") for _ in range(2)]
        await asyncio.gather(*asked, _ask(life, run, redirecting, "nowhere", "redirect-2"))
        await _ask(life, run, closing, None, "close-1")

    names = ("charge", "redirect", "label")
    before = {"redirect": frozenset(("charge",)), "label": frozenset(("charge",))}
    return Saga(
        "asked", services, asked, Terms(frozenset(names), predecessors=before), names, besides=(ask, _watch)
    )


async def _ask(life: Any, run: mg.RunHandle[Any], update: mg.Update[Any, Any], value: Any, name: str) -> None:
    try:
        reply = await run.update(update, value, id=name, by="customer")
    except mg.UpdateFailed as failed:
        life.say(run.id, "answered", (name, failed.failure.type))
    except mg.UpdateRejected:
        life.say(run.id, "rejected", name)
    except mg.NotPossible:
        life.say(run.id, "refused", name)
    else:
        life.say(run.id, "answered", (name, reply))


async def _watch(life: Any, run: mg.RunHandle[Any]) -> None:
    view = None
    async for view in run.watch():
        life.say(run.id, "seen", view)
    life.say(run.id, "seen to the end", view)


def approval_saga(services: Services) -> Saga:
    """Charge, have somebody outside approve (who completes the pending step), and label."""
    retry = mg.Retry(delays=[0, 1])
    charge = make_undoable(services, "charge", retry=retry)
    label = make_undoable(services, "label", retry=None)

    @mg.step(retry=retry, timeout=TIMEOUT_SECONDS)
    async def approve(run_id: str) -> str | mg.Pending:
        await services.ask(run_id, "approve", mg.completion_token())
        return mg.PENDING

    @approve.compensation(retry=PATIENT)
    async def revoke(result: str | None, run_id: str) -> None:
        await services.undo(run_id, "approve", mg.idempotency_key(), result)

    @mg.workflow
    async def approved(run_id: str) -> str:
        return f"{await charge(run_id)} {await approve(run_id)} {await label(run_id)}"

    names = ("charge", "approve", "label")
    predecessors = {name: frozenset(names[:position]) for position, name in enumerate(names)}
    terms = Terms(undoable=frozenset(names), predecessors=predecessors)
    return Saga("approval", services, approved, terms, names)


def booking_saga(services: Services) -> Saga:
    """Two transactions, one undone by a transaction and one by a service, and a service's step between and after them."""

    def book(db: mg.Connection, run_id: str) -> str:
        return services.transact(db, run_id, "book", "do")

    def note(db: mg.Connection, run_id: str) -> str:
        return services.transact(db, run_id, "note", "do")

    retry = mg.Retry(delays=[0, 1])
    booking = mg.transaction(retry=retry, fatal=(Declined,))(book)
    noting = mg.transaction(retry=None)(note)
    charge = make_undoable(services, "charge", retry=retry)
    label = make_undoable(services, "label", retry=None)

    @booking.compensating_transaction(retry=PATIENT)
    def unbook(db: mg.Connection, result: str, run_id: str) -> None:
        services.transact(db, run_id, "book", "undo", result)

    @noting.compensation(retry=PATIENT)
    async def erase(result: str, run_id: str) -> None:
        await services.undo(run_id, "note", mg.idempotency_key(), result)

    @mg.workflow
    async def booked(run_id: str) -> str:
        first = await booking(run_id)
        receipt = await charge(run_id)
        second = await noting(run_id)
        return f"{first} {receipt} {second} {await label(run_id)}"

    names = ("book", "charge", "note", "label")
    terms = Terms(
        undoable=frozenset(names),
        predecessors={name: frozenset(names[:position]) for position, name in enumerate(names)},
        transactions=frozenset(("book", "note")),
    )
    return Saga("booking", services, booked, terms, names)


# ---- families --------------------------------------------------------------------------------------------------------


def parcel_saga(services: Services) -> Saga:
    """A step, a child with a child of its own, a child with an id of its own, and a last step."""
    steps = {
        name: make_undoable(services, name, retry=None)
        for name in ("charge", "pick", "drive", "wrap", "bill")
    }
    label = make_undoable(services, "label", retry=None)

    @mg.workflow
    async def carry(run_id: str) -> str:
        return str(await steps["drive"](run_id))

    @mg.workflow
    async def pack(run_id: str) -> str:
        picked = await steps["pick"](run_id)
        carried = await carry(f"{run_id}/2-carry")
        return f"{picked} {carried} {await steps['wrap'](run_id)}"

    @mg.workflow
    async def invoice(run_id: str) -> str:
        return str(await steps["bill"](run_id))

    @mg.workflow
    async def parcel(run_id: str) -> str:
        receipt = await steps["charge"](run_id)
        packed = await pack(f"{run_id}/2-pack")
        billed = await mg.start_child(invoice, f"{run_id}.invoice", id=f"{run_id}.invoice")
        return f"{receipt} {packed} {billed} {await label(run_id)}"

    before = ("charge", "pack", "invoice", "label")
    terms = Terms(
        undoable=frozenset((*steps, *before, "carry")),
        predecessors={
            **{name: frozenset(before[:position]) for position, name in enumerate(before)},
            "carry": frozenset(("pick",)),
            "wrap": frozenset(("pick", "carry")),
        },
    )
    return Saga("parcel", services, parcel, terms, (*steps, "label"))


def fleet_saga(services: Services) -> Saga:
    """Children side by side: one that may be late and is given up, one whose failure is swallowed, and a last step."""
    names = ("load", "sail", "land", "label")
    steps = {name: make_undoable(services, name, retry=None) for name in names}

    @mg.workflow
    async def ship(run_id: str) -> str:
        await steps["load"](run_id)
        return str(await steps["sail"](run_id))

    @mg.workflow
    async def truck(run_id: str) -> str:
        return str(await steps["land"](run_id))

    async def in_time(run_id: str) -> str:
        try:
            async with asyncio.timeout(5):
                return await mg.start_child(ship, f"{run_id}.ship", id=f"{run_id}.ship")
        except TimeoutError:
            return "too late"

    async def perhaps(run_id: str) -> str:
        try:
            return await mg.start_child(truck, f"{run_id}.truck", id=f"{run_id}.truck")
        except mg.ChildFailed as failed:
            return failed.status

    @mg.workflow
    async def fleet(run_id: str) -> str:
        done = await asyncio.gather(in_time(run_id), perhaps(run_id))
        return f"{done} {await steps['label'](run_id)}"

    terms = Terms(
        undoable=frozenset((*names, "ship", "truck")),
        predecessors={"sail": frozenset(("load",)), "label": frozenset(("truck",))},
    )
    return Saga("fleet", services, fleet, terms, names)


# ---- generated sagas -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Do:
    """A step; ``kind``: undoable, probed (and undoable), plain (nothing to undo), best-effort or best-effort-undoable."""

    name: str
    kind: str = "undoable"
    retries: bool = False
    parks: bool = False


@dataclass(frozen=True)
class Block:
    """``kind``: one after the other (then), gather, group, race (the first ends it), within or sleep (seconds),
    try (its error is swallowed).
    """

    kind: str
    parts: tuple[Any, ...] = ()
    seconds: float = 0.0


def generated_saga(services: Services, plan: Any, name: str = "generated") -> Saga:
    """The saga of a plan."""
    nodes = list(_steps_of(plan))
    steps = {node.name: _declared(services, node) for node in nodes}

    @mg.workflow(name="generated")
    async def play(run_id: str) -> str:
        return str(await _start(plan, steps, run_id))

    terms = Terms(
        undoable=frozenset(node.name for node in nodes if "undoable" in node.kind or node.kind == "probed"),
        best_effort=frozenset(node.name for node in nodes if node.kind.startswith("best-effort")),
        predecessors=_predecessors(plan),
    )
    probed = frozenset(node.name for node in nodes if node.kind == "probed")
    return Saga(name, services, play, terms, tuple(steps), probed)


def _declared(services: Services, node: Do) -> mg.Step[..., str]:
    options: dict[str, Any] = {
        "retry": mg.Retry(delays=[0, 2]) if node.retries else None,
        "critical": not node.kind.startswith("best-effort"),
        "on_exhausted": "park" if node.parks else "fail",
    }
    if node.kind in ("plain", "best-effort"):
        return make_step(services, node.name, **options)
    declared = make_undoable(services, node.name, undo_retry=mg.Retry(delays=[0, 3]), **options)
    if node.kind == "probed":
        add_probe(services, declared)
    return declared


def _start(node: Any, steps: dict[str, mg.Step[..., str]], run_id: str) -> Any:
    """Something to await."""
    if isinstance(node, Do):
        return steps[node.name](run_id)
    parts = [partial(_start, part, steps, run_id) for part in node.parts]
    return KINDS[node.kind](parts, node.seconds)


async def _then(parts: list[Any], _: float) -> Any:
    return [await part() for part in parts]


async def _gather(parts: list[Any], _: float) -> Any:
    return await asyncio.gather(*(part() for part in parts))


async def _group(parts: list[Any], _: float) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
    return [task.result() for task in tasks]


async def _race(parts: list[Any], _: float) -> Any:
    racers = [asyncio.ensure_future(part()) for part in parts]
    winners, losers = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    for loser in losers:
        loser.cancel()
    return [winner.result() for winner in racers if winner in winners]


async def _within(parts: list[Any], seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await _then(parts, 0)
    except TimeoutError:
        return "too late"


async def _try(parts: list[Any], _: float) -> Any:
    try:
        return await _then(parts, 0)
    except Exception:  # noqa: BLE001 - whatever a group of steps may raise
        return "swallowed"


async def _sleep(parts: list[Any], seconds: float) -> Any:
    await asyncio.sleep(seconds)
    return await _then(parts, 0)


KINDS = {
    "then": _then,
    "gather": _gather,
    "group": _group,
    "race": _race,
    "within": _within,
    "try": _try,
    "sleep": _sleep,
}
ABANDONING = ("race", "within", "try")


def _steps_of(node: Any) -> Iterable[Do]:
    if isinstance(node, Do):
        yield node
    else:
        for part in node.parts:
            yield from _steps_of(part)


def _predecessors(plan: Any) -> dict[str, frozenset[str]]:
    """Who is certainly over before whom: parts of a ``then``, a ``try``, a ``within`` or a ``sleep`` go one by one.

    What a ``race``, ``within`` or ``try`` abandons may still be ending while the run goes on; those steps precede nobody.
    """
    found: dict[str, frozenset[str]] = {}

    def walk(node: Any, before: frozenset[str]) -> frozenset[str]:
        if isinstance(node, Do):
            found[node.name] = before
            return frozenset((node.name,))
        inside: frozenset[str] = frozenset()
        for part in node.parts:
            over = walk(part, before if node.kind in ("gather", "group", "race") else before | inside)
            inside |= over
        return frozenset() if node.kind in ABANDONING else inside

    walk(plan, frozenset())
    return found


def random_plan(dice: random.Random, size: int, depth: int = 2) -> Any:
    """A plan of about ``size`` steps, at most six, none of them twice."""
    names = iter("abcdef"[:size])

    def step() -> Do:
        kind = dice.choice(("undoable", "undoable", "undoable", "probed", "plain", "best-effort-undoable"))
        return Do(next(names), kind, retries=dice.random() < 0.3, parks=dice.random() < 0.1)

    def block(left: int, depth: int) -> Any:
        if left == 1 and (depth == 0 or dice.random() < 0.6):
            return step()
        kind = dice.choice(("then", "then", "gather", "group", "race", "within", "try", "sleep"))
        seconds = dice.choice((0.001, 0.004, 2.0, 20.0))
        if depth == 0:
            return Block("then", tuple(step() for _ in range(left)))
        if left == 1:
            kind = dice.choice(("within", "try", "sleep"))
            return Block(kind, (step(),), seconds)
        cut = dice.randint(1, left - 1)
        return Block(kind, (block(cut, depth - 1), block(left - cut, depth - 1)), seconds)

    return block(size, depth)


def guarded_saga(services: Services) -> Saga:
    """Charge and reserve, which depend on one bank: its breaker opens at the second failure in a row; label, on its own."""
    bank = mg.Breaker("bank", failures=2, within=100, cool_down=30, drain="1/s")
    retry = mg.Retry(delays=[0, 1])
    charge = make_step(services, "charge", retry=retry, breaker=bank)
    reserve = make_step(services, "reserve", retry=retry, breaker=bank, rate_limit="2/min")
    add_probe(services, reserve)
    label = make_undoable(services, "label", retry=None, max_concurrency=1)

    @charge.compensation(retry=PATIENT, timeout=TIMEOUT_SECONDS, breaker=bank)
    async def refund(result: str | None, run_id: str) -> None:
        await services.undo(run_id, "charge", mg.idempotency_key(), result)

    @reserve.compensation(retry=PATIENT, timeout=TIMEOUT_SECONDS, breaker=bank)
    async def release(result: str | None, run_id: str) -> None:
        await services.undo(run_id, "reserve", mg.idempotency_key(), result)

    @mg.workflow
    async def guarded(run_id: str) -> str:
        return f"{await charge(run_id)} {await reserve(run_id)} {await label(run_id)}"

    names = ("charge", "reserve", "label")
    predecessors = {name: frozenset(names[:position]) for position, name in enumerate(names)}
    terms = Terms(undoable=frozenset(names), predecessors=predecessors)
    return Saga("guarded", services, guarded, terms, names, probed=frozenset(("reserve",)))
