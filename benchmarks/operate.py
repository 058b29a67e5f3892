"""``operate``: a million stored runs, searched, counted, read, pruned beside running sagas, acted on by thousands."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

import makegood as mg
from benchmarks import workflows
from benchmarks.measure import Measurement
from makegood.engine import journal
from makegood.failure import Failure
from makegood.store.address import store_at
from makegood.store.codec import FIRST_HASH, seal
from makegood.store.protocol import Write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PARKED = 10_000
AT_ONCE = 10_000
MERCHANTS = 1_000
STEPS = ("charge", "reserve", "ship")
ENTRIES = 4
REPEATS = 40
PHASE_SECONDS = 15.0
WORKFLOWS = ("order", "refund_order", "invoice")
ENDINGS = ("COMPLETED",) * 18 + ("FAILED", "COMPENSATED")
EVENTS: dict[str, Any] = {"FAILED": journal.RunFailed(), "COMPENSATED": journal.RunCompensated()}


async def operate(store: str, runs: int, in_flight: int) -> Measurement:
    """``runs`` ended runs, one a second until a day ago, and 10,000 parked ones: what an operator does with them."""
    measurement = Measurement("operate", store, runs, in_flight, steps_per_run=0)
    first_at = time.time() - 86_400 - runs
    with measurement:
        await _fill(store, runs, first_at)
    more: dict[str, Any] = {"filled_runs_per_s": round(measurement.runs_per_second)}
    async with mg.Engine(store, [workflows.order, workflows.parked]) as engine:
        more |= await _searches(engine, runs, first_at)
        more |= await _batch(engine)
        more |= await _pruning(engine, in_flight, half=first_at + runs / 2)
    measurement.more = more
    return measurement


# ---- filling: sealed journals, written by the store's own commits ----------------------------------------------------


async def _fill(url: str, runs: int, first_at: float) -> None:
    store = store_at(url)
    await store.open()
    epoch = await store.take_over("benchmark")
    assert epoch is not None
    numbers = iter(range(runs))
    while some := list(itertools.islice(numbers, AT_ONCE)):
        stored = [_ended(number, first_at + number) for number in some]
        for place in range(ENTRIES):
            writes = [journals[place] for journals in stored]
            for journals in stored if place else ():
                journals[place].key = journals[0].key
            await store.commit(epoch, writes)
    for first in range(0, PARKED, AT_ONCE):
        writes = [_parked(number, first_at + runs) for number in range(first, first + AT_ONCE)]
        await store.commit(epoch, writes)
        await store.set_wake(epoch, [(write.key, float("inf")) for write in writes if write.key])
    await store.close()


def _ended(number: int, at: float) -> list[Write]:
    """One run of three steps, in the four commits that a worker makes of it."""
    dice = random.Random(number)
    workflow, status = dice.choice(WORKFLOWS), dice.choice(ENDINGS)
    tags = {"merchant": str(dice.randrange(MERCHANTS))}
    run_id, value = f"order-{number}", msgspec.Raw(str(number).encode())
    charge, reserve, ship = (journal.StepScheduled(n, name, value) for n, name in enumerate(STEPS, start=1))
    charged, reserved, shipped = (journal.StepCompleted(n, 1, value) for n in (1, 2, 3))
    ending = EVENTS.get(status, journal.RunCompleted(value))
    rollback = [] if status == "COMPLETED" else [journal.RollbackStarted(Failure("Error", "declined"))]
    started = journal.RunStarted(run_id, workflow, value, tags=tags)
    commits: list[list[journal.AnyEvent]] = [
        [started, charge],
        [charged, reserve],
        [reserved, ship],
        [shipped, *rollback, ending],
    ]
    writes, previous_hash = [], FIRST_HASH
    for entry_number, events in enumerate(commits, start=1):
        ends = entry_number == ENTRIES
        sealed = seal(journal.Entry(at, 1, events), entry_number, previous_hash)
        previous_hash = sealed.hash
        writes.append(
            Write(
                None,
                run_id,
                workflow,
                status if ends else "RUNNING",
                at,
                at + 0.5 if ends else None,
                ends or entry_number == 1,
                sealed,
                tags=tags,
                before="" if entry_number == 1 else "RUNNING",
            )
        )
    return writes


def _parked(number: int, at: float) -> Write:
    """One run that waits for an operator."""
    run_id, argument = f"parked-{number}", msgspec.Raw(b"[%d]" % number)
    events: list[journal.AnyEvent] = [
        journal.RunStarted(run_id, "parked", argument),
        journal.StepScheduled(1, "pay", argument),
        journal.AttemptFailed(1, 1, Failure("ConnectionError", "down"), "give up"),
        journal.RunParked(1, "step pay gave up after 1 attempt(s): ConnectionError: down"),
    ]
    sealed = seal(journal.Entry(at, 1, events), 1, FIRST_HASH)
    return Write(None, run_id, "parked", "PARKED", at, None, True, sealed)


# ---- looking ---------------------------------------------------------------------------------------------------------


async def _searches(engine: mg.Engine, runs: int, first_at: float) -> dict[str, Any]:
    dice = random.Random(0)

    def moment() -> datetime:
        return datetime.fromtimestamp(first_at + dice.randrange(runs), UTC)

    def key() -> int:
        return dice.randrange(200, runs)

    searches: dict[str, Callable[[], Awaitable[object]]] = {
        "list": engine.list,
        "list_page": lambda: engine.list(before_key=key()),
        "list_status": lambda: engine.list(status=dice.choice(ENDINGS), before_key=key()),
        "list_parked": lambda: engine.list(status="PARKED"),
        "list_workflow": lambda: engine.list(workflow=dice.choice(WORKFLOWS), status="FAILED"),
        "list_tag": lambda: engine.list(tags={"merchant": str(dice.randrange(MERCHANTS))}),
        "list_tag_status": lambda: engine.list(
            tags={"merchant": str(dice.randrange(MERCHANTS))}, status="FAILED"
        ),
        "list_time": lambda: engine.list(started_before=moment()),
        "list_ended": lambda: engine.list(ended_after=moment(), ended_before=moment() + timedelta(hours=1)),
        "list_prefix": lambda: engine.list(id_prefix=f"order-{dice.randrange(1_000, runs)}"),
        "count": engine.count,
        "count_status": lambda: engine.count(status="FAILED", workflow="order"),
        "count_time": lambda: engine.count(ended_before=moment(), status="COMPLETED"),
        "count_tag": lambda: engine.count(tags={"merchant": str(dice.randrange(MERCHANTS))}),
        "history_page": lambda: _history(engine, f"order-{dice.randrange(runs)}"),
    }
    return {f"{name}_p95_ms": await _p95_ms(search) for name, search in searches.items()}


async def _history(engine: mg.Engine, run_id: str) -> object:
    return await (await engine.get(run_id)).history(after=0, limit=100)


async def _p95_ms(search: Callable[[], Awaitable[object]]) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await search()
        seconds.append(time.perf_counter() - began)
    return round(sorted(seconds)[REPEATS * 95 // 100] * 1000, 2)


# ---- acting ----------------------------------------------------------------------------------------------------------


async def _batch(engine: mg.Engine) -> dict[str, Any]:
    """Retry all that is parked; stopped a third of the way and repeated."""
    began, done = time.perf_counter(), 0
    async for outcome in engine.batch("retry", "benchmark", status="PARKED"):
        assert not outcome.refused, outcome
        done += 1
        if done == PARKED // 3:
            break
    async for outcome in engine.batch("retry", "benchmark", status="PARKED"):
        done += not outcome.refused
    while await engine.count(workflow="parked", status="COMPLETED") < PARKED:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - began
    return {"batch_retry_s": round(seconds, 2), "batch_retry_runs_per_s": round(PARKED / seconds)}


async def _pruning(engine: mg.Engine, in_flight: int, half: float) -> dict[str, Any]:
    """Sagas per second alone, beside pruning the older half, and alone again."""
    numbers = itertools.count()
    ended = 0
    going = True

    async def customer() -> None:
        nonlocal ended
        while going:
            await engine.run(workflows.order, next(numbers))
            ended += 1

    async def rate_until(done: Callable[[], bool]) -> float:
        began, before = time.perf_counter(), ended
        while not done():  # noqa: ASYNC110 - it is looked at, not announced
            await asyncio.sleep(0.05)
        return (ended - before) / (time.perf_counter() - began)

    async def for_a_while() -> float:
        end = time.perf_counter() + PHASE_SECONDS
        return await rate_until(lambda: time.perf_counter() > end)

    customers = [asyncio.create_task(customer()) for _ in range(in_flight)]
    before = await for_a_while()
    began = time.perf_counter()
    pruning = asyncio.create_task(engine.prune(time.time() - half))
    beside = await rate_until(pruning.done)
    seconds = time.perf_counter() - began
    after = await for_a_while()
    going = False
    await asyncio.gather(*customers)
    return {
        "pruned": await pruning,
        "prune_s": round(seconds, 1),
        "order_runs_per_s_before": round(before),
        "order_runs_per_s_while_pruning": round(beside),
        "order_runs_per_s_after": round(after),
        "order_while_pruning_of_alone": round(2 * beside / (before + after), 3),
    }
