"""Nobody answers in time, and the mail has been sent."""

import makegood as mg
from tests.check.world import mail


Answer = mg.Signal("answer", bool)


@mg.step(timeout=10)
async def announce(order: str) -> None:  # expect: MG101
    await mail.send(order, key=mg.idempotency_key())


@mg.workflow
async def ask(order: str) -> bool:
    await announce(order)
    return await Answer.receive(timeout=mg.DAY)
