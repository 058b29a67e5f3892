"""Sagas whose code is changed while they run (``mg.patched``), and that go on as new (``mg.continue_as_new``)."""

from __future__ import annotations

import asyncio

import makegood as mg
from tests.faults.participants import Services
from tests.faults.sagas import Saga, Terms, make_step, make_undoable


def changed_saga(services: Services) -> Saga:
    """Charge, label; since the deploy: weigh, charge, insure and then label."""
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    label = make_undoable(services, "label", retry=None)
    weigh = make_step(services, "weigh", retry=None)
    insure = make_undoable(services, "insure", retry=None)

    @mg.workflow
    async def order(order_id: str) -> str:
        deployed = services.process > 1
        if deployed and mg.patched("weigh"):
            await weigh(order_id)
        receipt = await charge(order_id)
        if deployed and mg.patched("insure"):
            await insure(order_id)
        return f"{receipt} {await label(order_id)}"

    terms = Terms(
        undoable=frozenset(("charge", "label", "insure")),
        predecessors={
            "weigh": frozenset(),
            "charge": frozenset(),
            "insure": frozenset(("charge",)),
            "label": frozenset(("charge",)),
        },
    )
    return Saga("changed", services, order, terms, ("charge", "label"))


def second_version_saga(services: Services) -> Saga:
    """Charge, label; runs that are started since the deploy weigh first and insure last."""
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    label = make_undoable(services, "label", retry=None)
    weigh = make_step(services, "weigh", retry=None)
    insure = make_undoable(services, "insure", retry=None)

    @mg.workflow(name="order")
    async def first(order_id: str) -> str:
        return f"{await charge(order_id)} {await label(order_id)}"

    @mg.workflow(name="order", version=2)
    async def second(order_id: str) -> str:
        weight = await weigh(order_id)
        return f"{weight} {await charge(order_id)} {await label(order_id)} {await insure(order_id)}"

    terms = Terms(
        undoable=frozenset(("charge", "label", "insure")),
        predecessors={"label": frozenset(("charge",)), "insure": frozenset(("weigh", "charge", "label"))},
    )
    names = ("weigh", "charge", "label", "insure")
    return Saga("second version", services, first, terms, names, deployed=(second,))


def legs_saga(services: Services) -> Saga:
    """Weigh, and try to quote in time; then pause and pack; then charge and label, which may have to be undone."""
    weigh = make_step(services, "weigh", retry=mg.Retry(delays=[0, 1]))
    quote = make_undoable(services, "quote", retry=None)
    pack = make_step(services, "pack", retry=None)
    charge = make_undoable(services, "charge", retry=mg.Retry(delays=[0, 1]))
    label = make_undoable(services, "label", retry=None)

    @mg.workflow
    async def order(order_id: str, leg: int = 1, told: str = "") -> str:
        if leg == 1:
            told = await weigh(order_id)
            try:
                async with asyncio.timeout(2):
                    await quote(order_id)
            except TimeoutError:
                mg.continue_as_new(order_id, 2, f"{told} no quote")
            else:
                mg.pivot()
                mg.continue_as_new(order_id, 2, told)
        if leg == 2:
            await asyncio.sleep(30)
            mg.continue_as_new(order_id, 3, f"{told} {await pack(order_id)}")
        return f"{told} {await charge(order_id)} {await label(order_id)}"

    names = ("weigh", "quote", "pack", "charge", "label")
    predecessors = {name: frozenset(names[:place]) for place, name in enumerate(names)}
    predecessors |= {name: predecessors[name] - {"quote"} for name in ("pack", "charge", "label")}
    terms = Terms(frozenset(("quote", "charge", "label")), predecessors=predecessors)
    return Saga("legs", services, order, terms, names)
