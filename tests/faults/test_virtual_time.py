"""The clock that jumps: never early, in order, and still while a thread is at work."""

import asyncio
import time

from makegood.testing import VirtualTimeLoop


def run(main):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def test_years_pass_at_once_and_timers_fire_in_order():
    woken = []

    async def sleeper(days):
        await asyncio.sleep(days * 86_400)
        woken.append((days, asyncio.get_running_loop().time() / 86_400))

    async def main():
        await asyncio.gather(*(sleeper(days) for days in (4_000, 0.5, 400)))

    started = time.perf_counter()
    run(main())
    assert woken == [(0.5, 0.5), (400, 400), (4_000, 4_000)]
    assert time.perf_counter() - started < 60


def test_the_clock_stands_still_while_a_thread_is_at_work():
    async def main():
        async with asyncio.timeout(0.001):
            return await asyncio.to_thread(lambda: time.sleep(0.02) or "done")

    assert run(main()) == "done"


def test_now_is_the_wall_clock_of_the_same_loop():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.now()
        await asyncio.sleep(30)
        return loop.now() - before

    assert run(main()) == 30
