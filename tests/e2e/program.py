"""The program under test: an engine in a process of its own, told what to do by its arguments.

``python -m tests.e2e.program MODE DATABASE EFFECTS [PREFIX]`` prints a line for whatever happens, and is killed,
stopped or asked to end by the test. Each step appends ``key attempt`` to EFFECTS, durably, when it takes effect.
"""

import asyncio
import os
import signal
import sys

import makegood as mg

PATIENCE_SECONDS = 60.0
RUNS_IN_FLIGHT = 40


class Effects:
    """The participants' own log."""

    path = ""
    hold = False


def take_effect() -> None:
    line = f"{mg.idempotency_key()} {mg.attempt()}\n"
    descriptor = os.open(Effects.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@mg.step(retry=None)
async def reserve(number: int) -> int:
    take_effect()
    return number


@reserve.compensation
async def release(_reservation: int | None, number: int) -> None:
    take_effect()


@mg.step(retry=None)
def pay(number: int) -> int:
    take_effect()
    return number


@pay.compensation
def pay_back(payment: int | None, number: int) -> None:
    take_effect()


@mg.step(retry=None)
async def ship(number: int) -> int:
    if number % 5 == 0:
        raise LookupError("no such address")
    take_effect()
    return number


@mg.workflow
async def order(number: int) -> int:
    await asyncio.gather(reserve(number), pay(number))
    return await ship(number)


@mg.step
async def held() -> str:
    take_effect()
    if Effects.hold:
        say("holding")
        await asyncio.Event().wait()
    return "let go"


@mg.workflow
async def holding() -> str:
    return await held()


@mg.step
async def slow() -> str:
    say("slow")
    await asyncio.sleep(0.2)
    take_effect()
    return "done"


@mg.workflow
async def slowly() -> list[str]:
    return [await slow() for _ in range(6)]


WORKFLOWS = [order, holding, slowly]


def say(text: str) -> None:
    print(text, flush=True)


async def load(engine: mg.Engine, prefix: str) -> None:
    """Start one order after the other, many at a time, until killed."""

    async def orders(lane: int) -> None:
        number = lane
        while True:
            run = await engine.start(order, number, id=f"{prefix}-{number}")
            say(f"ack {run.id}")
            await asyncio.gather(run.result(), return_exceptions=True)
            number += RUNS_IN_FLIGHT

    await asyncio.gather(*(orders(lane) for lane in range(RUNS_IN_FLIGHT)))


async def finish(engine: mg.Engine, _prefix: str) -> None:
    """See all runs to their ends."""
    for run in await engine.list(limit=1_000_000):
        if run.ended_at is None:
            await asyncio.gather((await engine.get(run.id)).result(), return_exceptions=True)
    say("finished")


async def hold(engine: mg.Engine, _prefix: str) -> None:
    """Begin a step that never ends in this process."""
    Effects.hold = True
    await engine.start(holding, id="held")
    await asyncio.Event().wait()


async def client(engine: mg.Engine, _prefix: str) -> None:
    """Work on a file that another process works on; wait for its runs."""
    run = await engine.start(order, 1, id="from the client")
    say(f"submitted {(await run.describe()).status}")
    say(f"result {await run.result()}")
    say(f"held {await (await engine.get('held')).result()}")


async def drain(engine: mg.Engine, _prefix: str) -> None:
    """Run steps that take a while, until asked to end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.start(slowly, id="slow")
    await stop.wait()
    say("stopping")


async def create(_engine: mg.Engine, _prefix: str) -> None:
    say("opened")


MODES = {"load": load, "finish": finish, "hold": hold, "client": client, "drain": drain, "create": create}


async def main(mode: str, database: str, effects: str, prefix: str = "run") -> None:
    Effects.path = effects
    async with asyncio.timeout(PATIENCE_SECONDS), mg.Engine(f"sqlite:///{database}", WORKFLOWS) as engine:
        await MODES[mode](engine, prefix)
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
