"""A saga that waits for moments and decides by values that the run itself draws: they are the same in every life."""

from __future__ import annotations

from datetime import timedelta

import makegood as mg
from tests.faults.participants import Services
from tests.faults.sagas import TIMEOUT_SECONDS, Saga, Terms, make_undoable


class Otherwise(Exception):
    """A value is not what it was before."""


def lottery_saga(services: Services) -> Saga:
    """Draw a number, a name and a moment; note them; wait twice; compare; go left or right by what is drawn next."""
    retry = mg.Retry(delays=[0, 1])
    left, right = (make_undoable(services, name, retry=retry) for name in ("left", "right"))
    ship = make_undoable(services, "ship", retry=None)

    @mg.step(retry=retry, timeout=TIMEOUT_SECONDS)
    async def note(run_id: str, drawn: str) -> str:
        await services.do(run_id, "note", mg.idempotency_key())
        return drawn

    @mg.workflow
    async def lottery(run_id: str) -> str:
        drawn, began = f"{mg.random()} {mg.uuid4()} {mg.now()}", mg.now()
        noted = await note(run_id, drawn)
        await mg.sleep_until(began + 40 * mg.MINUTE)
        await (right if mg.random() < 1 / 2 else left)(run_id)
        await mg.sleep(10 * mg.MINUTE)
        if noted != drawn or mg.now() - began < timedelta(minutes=50):
            raise Otherwise(noted)
        return await ship(run_id)

    names = ("note", "left", "right", "ship")
    before = {"left": frozenset(("note",)), "right": frozenset(("note",)), "ship": frozenset(("note",))}
    return Saga("lottery", services, lottery, Terms(frozenset(names[1:]), predecessors=before), names)
