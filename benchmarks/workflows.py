"""What the benchmarks run: steps that do nothing, so that what is measured is the engine."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path

import makegood as mg


@mg.step
async def charge(order: int) -> int:
    return order


@charge.compensation
async def refund(receipt: int | None, order: int) -> None: ...


@mg.step
async def reserve(order: int) -> int:
    return order


@reserve.compensation
async def release(hold: int | None, order: int) -> None: ...


@mg.step
async def ship(order: int) -> int:
    return order


@mg.step(retry=None)
async def fail_to_ship(order: int) -> int:
    raise RuntimeError("no carrier")


@mg.workflow
async def order(number: int) -> int:
    receipt = await charge(number)
    hold = await reserve(receipt)
    return await ship(hold)


@mg.workflow
async def compensate(number: int) -> int:
    receipt = await charge(number)
    hold = await reserve(receipt)
    return await fail_to_ship(hold)


@mg.workflow
async def fanout(width: int) -> int:
    return sum(await asyncio.gather(*(ship(index) for index in range(width))))


@mg.workflow
async def long(length: int) -> int:
    total = 0
    for index in range(length):
        total += await ship(index)
    return total


@mg.step
async def take_effect(run: int, number: int) -> int:
    """An effect that leaves a trace of its own: its idempotency key, appended to the file named by the environment."""
    trace = os.open(Path(os.environ["BENCHMARK_TRACE"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(trace, f"{mg.idempotency_key()}\n".encode())
    finally:
        os.close(trace)
    await asyncio.sleep(0.01)
    return number


@mg.workflow
async def traced(run: int, length: int) -> int:
    for number in range(length):
        await take_effect(run, number)
    return length


@mg.workflow
async def timer(due: datetime) -> None:
    await mg.sleep_until(due)


Wake = mg.Signal("wake", int)


@mg.step
async def act_on(sent_at: float) -> float:
    """The seconds from a moment to now, on this machine's monotonic clock."""
    return time.perf_counter() - sent_at


Sent = mg.Signal("sent", float)


@mg.workflow
async def listener(count: int) -> list[float]:
    return [await act_on(await Sent.receive()) for _ in range(count)]


@mg.workflow
async def sleeper(number: int) -> int:
    return number + await Wake.receive()


Position = mg.Signal("position", int)
ARRIVED = -1


@mg.workflow
async def follow_taxi(leg_signals: int, seen: int = 0, total: int = 0) -> list[int]:
    for _ in range(leg_signals):
        position = await Position.receive()
        if position == ARRIVED:
            return [seen, total]
        seen += 1
        total += position
        mg.update_view(seen=seen, position=position)
    return mg.continue_as_new(leg_signals, seen, total)


@mg.step(retry=None, on_exhausted="park")
async def pay(order: int) -> int:
    return order


@mg.workflow
async def parked(order: int) -> int:
    return await pay(order)
