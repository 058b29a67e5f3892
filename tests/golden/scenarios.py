"""The workflows behind the golden journals, and how each journal was recorded. Never change one: add another.

A new kind of event needs a journal that has it: write a scenario, then ``python -m tests.golden.record`` adds its file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

import makegood as mg
from makegood.engine import journal
from makegood.engine.operator import Request
from makegood.failure import Failure
from tests.engine.kit import Run

Go = mg.Signal("go", int)
rename = mg.Update("rename", str, str)


@mg.step
async def charge(order: str) -> str: ...


@charge.compensation
async def refund(receipt: str | None, order: str) -> None: ...


@mg.step
async def reserve(order: str) -> str: ...


@reserve.compensation
async def release(hold: str | None, order: str) -> None: ...


@reserve.probe
async def find_hold(order: str) -> str | mg.NotDone: ...


@mg.step
async def note(text: str) -> str: ...


@mg.step(on_exhausted="park", retry=None)
async def approve(order: str) -> str: ...


@mg.step
async def ask(order: str) -> str | mg.Pending:
    return mg.PENDING


@mg.workflow
async def order(order: str) -> str:
    receipt = await charge(order)
    hold = await reserve(order)
    approval = await approve(order)
    return f"{receipt} {hold} {approval}"


@mg.workflow
async def hasty(order: str) -> str:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await charge(order)
    nap = asyncio.create_task(asyncio.sleep(3600))
    answer = await ask(order)
    nap.cancel()
    return answer


@mg.workflow(timeout=60)
async def limited(order: str) -> str:
    return await charge(order)


@mg.workflow
async def nested(order: str) -> str:
    mg.on_rollback(note, "it did not work out")
    with contextlib.suppress(mg.StepFailed):
        async with mg.saga():
            await charge(order)
            await reserve(order)
    mg.pivot()
    return await note(order)


@mg.workflow
async def collector(total: int) -> int:
    mg.update_view(total=total)
    factor = 2 if mg.patched("double") else 1

    @rename.handler
    async def take(name: str) -> str:
        return await note(name)

    value = await Go.receive()
    if value:
        mg.continue_as_new(total + factor * value)
    await note("last")
    return total


@mg.workflow(version=2)
async def parent(order: str) -> str:
    try:
        return await order_2(order)
    except mg.ChildFailed:
        await order_2(order)
        await note("and then")
        return "unreachable"


@mg.step(critical=False)
async def send(order: str) -> str: ...


@send.compensation
async def apologise(sent: str | None, order: str) -> None: ...


@mg.workflow
async def lenient(order: str) -> None:
    await send(order)


@mg.workflow
async def order_2(order: str) -> str:
    return await charge(order)


# ---- how the journals were recorded ------------------------------------------------------------------------------------


def completed() -> Run:
    run = Run(order, "o-1")
    run.fail("charge", "try again")
    run.complete("charge", "receipt")
    run.fail("reserve", "timed out", unknown=True)
    run.probe_finds("reserve", "hold")
    run.fail("approve", "closed")
    run.operate("skip", "approve")
    return run


def compensated() -> Run:
    run = Run(order, "o-1")
    run.complete("charge", "receipt")
    run.fail("reserve", "timed out", unknown=True)
    run.probe_finds_nothing("reserve")
    run.fail("reserve", lost=True, unknown=True)
    run.probe_finds_nothing("reserve", cannot_tell=True)
    run.fail_for_good("reserve", unknown=True)
    if run.step("reserve").state == "probing":
        run.probe_finds_nothing("reserve", cannot_tell=True)
    run.undo("reserve")
    run.fail_for_good("charge", "the bank is closed")
    run.operate("resolve", "charge")
    return run


def failed() -> Run:
    run = Run(order, "o-1")
    run.fail_for_good("charge", "declined")
    return run


def cancelled() -> Run:
    run = Run(order, "o-1")
    run.complete("charge", "receipt")
    run.cancel()
    run.cut_off("reserve")
    run.probe_finds_nothing("reserve", cannot_tell=True)
    run.undo("reserve")
    run.undo("charge")
    return run


def terminated() -> Run:
    run = Run(order, "o-1")
    run.complete("charge", "receipt")
    run.complete("reserve", "hold")
    run.fail("approve", "closed")
    run.operate("retry", "approve")
    run.act(Request("terminate", "ann", "enough"))
    return run


def left_open() -> Run:
    run = Run(order, "o-1")
    run.complete("charge", "receipt")
    run.fail_for_good("reserve")
    run.fail_for_good("charge", "the bank is closed")
    run.operate("skip", "charge")
    return run


def timers_and_completion() -> Run:
    run = Run(hasty, "o-1")
    run.fire()
    run.stop("charge")
    run.pend("ask", due=run.now + 600)
    run.complete_outside("ask", "yes")
    return run


def nested_saga() -> Run:
    run = Run(nested, "o-1")
    run.complete("charge", "receipt")
    run.fail_for_good("reserve")
    run.undo("charge")
    run.complete("note", "done")
    return run


def signals_updates_and_legs() -> Run:
    run = Run(collector, 1)
    run.act(Request("update", "ann", result=msgspec.Raw(b'"Bob"'), name="rename", id="r-1"))
    run.complete("note", "Bob")
    run.signal("go", 3, id="s-1")
    run.signal("go", 0)
    run.signal("go", 5)
    run.complete("note", "last")
    return run


def corrected() -> Run:
    """Parked because its code did not fit, and resumed."""
    run = Run(order, "o-1")
    run.tell(lambda execution: execution._record(journal.RunParked(0, "the code did not fit"), run.now))
    run.tell(
        lambda execution: execution.resumed(journal.OperatorActed("resume", "ann", "corrected"), run.now)
    )
    run.complete("charge", "receipt")
    return run


def parent_of_children() -> Run:
    run = Run(parent, "o-1")
    first = Run(order_2, "o-1", child_of=(run, "order_2"))
    first.fail_for_good("charge")
    run.child_ends(first)
    second = Run(order_2, "o-1", child_of=(run, "order_2"))
    second.complete("charge", "receipt")
    run.child_ends(second)
    run.fail_for_good("note")
    second.undo_asked()
    second.undo("charge")
    run.child_ends(second)
    return run


def child_undone() -> Run:
    run = Run(parent, "o-1")
    child = Run(order_2, "o-1", child_of=(run, "order_2"))
    child.complete("charge", "receipt")
    child.undo_asked()
    child.undo("charge")
    return child


def late_result() -> Run:
    """The workflow's time limit, a heartbeat's details, and an attempt that takes effect when its run has ended."""
    run = Run(limited, "o-1")
    run.give_up_on("charge", heartbeat={"page": 3})
    run.fire(0)
    run.cut_off("charge")
    run.undo("charge")
    run.end_late("charge", "receipt")
    run.undo("charge")
    return run


def held() -> Run:
    """Failed while what it depends on did not answer, and held until it does; another attempt that never began."""
    run = Run(order, "o-1")
    run.fail("charge", held="breaker payments")
    run.release("charge")
    run.complete("charge", "receipt")
    run.hold("reserve", "rate limit 10/s")
    run.crash()
    return run


def missed_step_retried() -> Run:
    """A best-effort step that failed was tried again twice after the run had completed, then the run was undone."""
    run = Run(lenient, "o-1", child_of=(Run(parent, "o-1"), "order_2"))
    run.fail_for_good("send")
    for failure in (Failure("OSError", "mail server down"), None):
        run.retry_missed("send", failure, "sent")
    run.undo_asked()
    run.undo("send")
    return run


SCENARIOS: dict[str, Callable[[], Run]] = {
    scenario.__name__: scenario
    for scenario in (
        completed,
        compensated,
        failed,
        cancelled,
        terminated,
        left_open,
        timers_and_completion,
        nested_saga,
        signals_updates_and_legs,
        corrected,
        parent_of_children,
        child_undone,
        late_result,
        held,
        missed_step_retried,
    )
}
WORKFLOWS: dict[str, mg.Workflow[..., Any]] = {
    one.name: one for one in (order, hasty, nested, collector, parent, order_2, limited, lenient)
}
