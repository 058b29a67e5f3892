"""Sagas inside a saga, undoing without doing, and a point of no return, for the crash matrix."""

from __future__ import annotations

import asyncio

import makegood as mg
from tests.faults.participants import Services
from tests.faults.sagas import PATIENT, TIMEOUT_SECONDS, Saga, Terms, add_probe, make_step, make_undoable


def make_rollback_step(services: Services, name: str) -> mg.Step[..., None]:
    """A step to be registered: what it does is an undo to the participants."""

    async def undo(run_id: str) -> None:
        await services.undo(run_id, name, mg.idempotency_key(), None)

    return mg.step(name=name, timeout=TIMEOUT_SECONDS, retry=PATIENT)(undo)


def travel_saga(services: Services) -> Saga:
    """A flight; then, in a saga of their own, a hotel and beside it a car with a tour, and a dinner; then a souvenir."""
    flight = make_undoable(services, "flight", retry=None)
    hotel = make_undoable(services, "hotel", retry=None)
    add_probe(services, hotel)
    car = make_undoable(services, "car", retry=mg.Retry(delays=[0, 1]))
    tour = make_undoable(services, "tour", retry=None)
    apology = make_rollback_step(services, "apology")
    dinner = make_undoable(services, "dinner", retry=None)
    souvenir = make_undoable(services, "souvenir", retry=None)

    @mg.workflow
    async def travel(run_id: str) -> str:
        await flight(run_id)

        async def drive() -> None:
            async with mg.saga():
                await car(run_id)
                await tour(run_id)

        try:
            async with mg.saga():
                await asyncio.gather(hotel(run_id), drive())
                mg.on_rollback(apology, run_id)
                await dinner(run_id)
            stay = "away"
        except mg.StepFailed:
            stay = "home"
        await souvenir(run_id)
        return stay

    steps = ("flight", "hotel", "car", "tour", "apology", "dinner", "souvenir")
    terms = Terms(
        undoable=frozenset(steps),
        predecessors={
            "hotel": frozenset(("flight",)),
            "car": frozenset(("flight",)),
            "tour": frozenset(("car",)),
            "dinner": frozenset(("hotel", "tour")),
            "souvenir": frozenset(("flight",)),
        },
        inside={1: frozenset(("hotel", "car", "tour", "apology", "dinner")), 2: frozenset(("car", "tour"))},
    )
    return Saga("travel", services, travel, terms, steps, frozenset(("hotel",)))


def payout_saga(services: Services) -> Saga:
    """Reserve; from there on only forward: transfer, and a receipt."""
    reserve = make_undoable(services, "reserve", retry=mg.Retry(delays=[0, 1]))
    check = make_step(services, "check", retry=None)
    transfer = make_undoable(services, "transfer", retry=mg.Retry(delays=[0, 1]))
    receipt = make_step(services, "receipt", retry=None, critical=False)

    @mg.workflow
    async def payout(run_id: str) -> str:
        await reserve(run_id)
        await check(run_id)
        mg.pivot()
        paid = await transfer(run_id)
        await receipt(run_id)
        return f"paid: {paid}"

    steps = ("reserve", "check", "transfer", "receipt")
    terms = Terms(
        undoable=frozenset(("reserve", "transfer")),
        best_effort=frozenset(("receipt",)),
        predecessors={name: frozenset(steps[:place]) for place, name in enumerate(steps)},
        behind_pivot="transfer",
    )
    return Saga("payout", services, payout, terms, steps)
