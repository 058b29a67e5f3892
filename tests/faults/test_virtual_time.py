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
        woken.append((days, round(asyncio.get_running_loop().time() / 86_400, 9)))

    async def main():
        await asyncio.gather(*(sleeper(days) for days in (4_000, 0.5, 400)))

    run(main())
    assert woken == [(0.5, 0.5), (400, 400), (4_000, 4_000)]


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
        return round(loop.now() - before, 6)

    assert run(main()) == 30


def test_whoever_looks_again_until_the_moment_has_come_gets_there():
    async def main():
        loop = asyncio.get_running_loop()
        due = loop.now() + 1e7 / 3
        while loop.now() < due:  # noqa: ASYNC110 - looking again is what is tested
            await asyncio.sleep(due - loop.now())
        return loop.now() - due

    assert 0 <= run(main()) < 1e-6
