"""asyncio inside a workflow: it works unchanged, and the journal decides every race."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import makegood as mg
from makegood.engine.run import Status
from tests.engine.shop import charge, email, note, reserve, ship

# ---- gather and tasks ----------------------------------------------------------------------------------------------


@mg.workflow
async def all_at_once() -> list[str]:
    return await asyncio.gather(charge(), reserve(), ship())


def test_gather_schedules_all_steps_in_one_entry_and_keeps_their_order(start):
    run = start(all_at_once)
    assert run.began == ["STARTED", "charge scheduled", "reserve scheduled", "ship scheduled"]
    assert run.complete("ship", "s") == ["ship done"]
    assert run.complete("charge", "c") == ["charge done"]
    assert run.complete("reserve", "r") == ["reserve done", "COMPLETED"]
    assert bytes(run.state.result) == b'["c","r","s"]'


def test_facts_of_one_entry_are_delivered_in_order(start):
    run = start(all_at_once)
    entry = run.tell(
        run.completing("ship", "s"), run.completing("charge", "c"), run.completing("reserve", "r")
    )
    assert entry == ["ship done", "charge done", "reserve done", "COMPLETED"]


def test_compensation_runs_in_the_reverse_order_of_scheduling_whatever_the_order_of_completion(start):
    run = start(all_at_once)
    run.complete("reserve", "r")
    run.complete("charge", "c")
    assert run.fail_for_good("ship")[-1] == "undo reserve"
    assert run.undo("reserve") == ["reserve undone", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPENSATED"]
    assert run.state.undone == ["reserve", "charge"]


def test_when_gather_fails_nothing_is_undone_before_the_siblings_have_settled(start):
    run = start(all_at_once)
    assert run.fail_for_good("charge")[1:] == ["charge failed", "reserve cancelled", "ship cancelled"]
    assert run.cut_off("reserve") == [
        "reserve attempt 1 failed (unknown): give up",
        "reserve failed (unknown)",
    ]
    assert run.complete("ship", "s") == ["ship done", "rollback", "undo ship"]
    assert run.undo("ship") == ["ship undone", "undo reserve"]
    assert run.undo("reserve") == ["reserve undone", "COMPENSATED"]


def test_gather_may_return_exceptions(start):
    @mg.workflow
    async def tolerant() -> list[str]:
        results = await asyncio.gather(charge(), reserve(), return_exceptions=True)
        return [str(result) for result in results]

    run = start(tolerant)
    run.complete("charge", "c")
    run.fail_for_good("reserve")
    assert run.status is Status.COMPLETED
    assert b"step reserve failed" in bytes(run.state.result)


def test_branches_of_several_steps_run_beside_each_other(start):
    async def branch(first: mg.Step, second: mg.Step) -> str:
        return await first() + await second()

    @mg.workflow
    async def branches() -> list[str]:
        return await asyncio.gather(branch(charge, reserve), branch(ship, note))

    run = start(branches)
    assert run.began == ["STARTED", "charge scheduled", "ship scheduled"]
    assert run.complete("ship", "s") == ["ship done", "note scheduled"]
    assert run.complete("charge", "c") == ["charge done", "reserve scheduled"]
    run.complete("reserve", "r")
    run.complete("note", "n")
    assert bytes(run.state.result) == b'["cr","sn"]'


def test_a_task_group_runs_steps_and_branches(start):
    async def later() -> str:
        return await note(await reserve())

    @mg.workflow
    async def group() -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(charge())
            second = tasks.create_task(later(), name="later")
        return [first.result(), second.result()]

    run = start(group)
    assert run.began == ["STARTED", "charge scheduled", "reserve scheduled"]
    run.complete("charge", "c")
    assert run.complete("reserve", "r") == ["reserve done", "note scheduled"]
    run.complete("note", "n")
    assert bytes(run.state.result) == b'["c","n"]'


@mg.workflow
async def group_of_three() -> None:
    async with asyncio.TaskGroup() as tasks:
        for step in (charge, reserve, ship):
            tasks.create_task(step())


def test_a_failure_in_a_task_group_cancels_the_siblings_and_waits_for_them_before_any_undo(start):
    run = start(group_of_three)
    run.complete("charge", "c")
    assert run.fail_for_good("ship")[1:] == ["ship failed", "reserve cancelled"]
    assert run.status is Status.RUNNING, "reserve has not settled"
    assert run.cut_off("reserve")[1:] == ["reserve failed (unknown)", "rollback", "undo reserve"]
    assert run.undo("reserve")[-1] == "undo charge"
    run.undo("charge")


def test_a_run_that_failed_in_a_task_group_names_the_step_and_the_cause(start):
    run = start(group_of_three)
    run.tell(run.completing("charge", "c"), run.completing("reserve", "r"))
    run.fail_for_good("ship", "no driver")
    run.undo("reserve")
    run.undo("charge")
    assert run.state.failed_step == "ship"
    assert str(run.state.failure) == "Refused: no driver"


def test_many_siblings_are_cancelled_in_the_same_order_in_every_life(start):
    @mg.workflow
    async def wide() -> None:
        async def branch(number: int) -> None:
            await note.options(name=f"branch_{number}")()

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(note.options(name=f"direct_{number}")())
                tasks.create_task(branch(number))

    run = start(wide)
    cancelled = run.fail_for_good("direct_7")[2:]
    assert len(cancelled) == 15
    for line in cancelled:
        run.stop(line.split()[0])
    assert run.status is Status.FAILED


def test_create_task_of_a_step_and_of_a_coroutine(start):
    async def inner() -> str:
        return await reserve()

    @mg.workflow
    async def tasks() -> str:
        first = asyncio.create_task(charge())
        second = asyncio.create_task(inner(), name="inner")
        return await second + await first

    run = start(tasks)
    run.complete("charge", "c")
    run.complete("reserve", "r")
    assert bytes(run.state.result) == b'"rc"'


# ---- wait, as_completed, shield ------------------------------------------------------------------------------------


@mg.workflow
async def race() -> list[str]:
    calls = [asyncio.ensure_future(step()) for step in (charge, reserve, ship)]
    done, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for loser in pending:
        loser.cancel()
    return [call.result() for call in done]


def test_the_first_of_a_race_wins_and_the_losers_are_made_good(start):
    run = start(race)
    assert run.complete("reserve", "r") == ["reserve done", "charge cancelled", "ship cancelled"]
    run.cut_off("charge")
    assert run.stop("ship") == ["ship failed", "undo charge"]
    assert run.undo("charge") == ["charge undone", "COMPLETED"]
    assert bytes(run.state.result) == b'["r"]'


def test_a_loser_that_finished_all_the_same_is_undone(start):
    run = start(race)
    run.complete("reserve", "r")
    run.complete("charge", "too late")
    assert run.stop("ship") == ["ship failed", "undo charge"]
    assert bytes(run.step("charge").result) == b'"too late"', "the compensation gets the result"
    assert run.undo("charge") == ["charge undone", "COMPLETED"]


def test_pending_steps_are_cancelled_in_the_same_order_in_every_life(start):
    @mg.workflow
    async def wide_race() -> None:
        calls = [note.options(name=f"note_{number}")() for number in range(16)]
        _, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()

    run = start(wide_race)
    run.complete("note_5", "n")
    for number in range(16):
        if number != 5:
            run.stop(f"note_{number}")
    assert run.status is Status.COMPLETED


def test_pending_tasks_are_cancelled_in_the_same_order_in_every_life(start):
    @mg.workflow
    async def wide_race() -> None:
        async def branch(number: int) -> None:
            await note.options(name=f"note_{number}")()

        tasks = [asyncio.create_task(branch(number)) for number in range(16)]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        await asyncio.wait(pending)

    run = start(wide_race)
    run.complete("note_5", "n")
    for number in range(16):
        if number != 5:
            run.stop(f"note_{number}")
    assert run.status is Status.COMPLETED


def test_as_completed_gives_results_in_journal_order(start):
    @mg.workflow
    async def by_arrival() -> list[str]:
        return [await call for call in asyncio.as_completed([charge(), reserve(), ship()])]

    run = start(by_arrival)
    run.complete("ship", "s")
    run.complete("charge", "c")
    run.complete("reserve", "r")
    assert bytes(run.state.result) == b'["s","c","r"]'


def test_a_shielded_step_is_not_cancelled_by_a_timeout(start):
    @mg.workflow
    async def guarded() -> str:
        call = charge()
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(call)
        except TimeoutError:
            await note("patience")
        return await call

    run = start(guarded)
    assert run.fire() == ["timer 1 fired", "note scheduled"]
    run.complete("note", "n")
    assert run.complete("charge", "c") == ["charge done", "COMPLETED"]


# ---- time ----------------------------------------------------------------------------------------------------------


def test_sleep_is_a_durable_timer(start):
    @mg.workflow
    async def sleeper() -> str:
        await asyncio.sleep(30)
        return await charge()

    run = start(sleeper)
    assert run.began == ["STARTED", "timer 1 started, due at 30"]
    assert run.crash() == []
    assert run.fire() == ["timer 1 fired", "charge scheduled"]
    run.complete("charge", "c")


def test_sleep_0_only_yields(start):
    @mg.workflow
    async def yielding() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return 3

    assert start(yielding).began == ["STARTED", "COMPLETED"]


def test_the_clock_is_the_runs_and_stands_still_within_an_entry(start):
    @mg.workflow
    async def times() -> list[float]:
        clock = asyncio.get_running_loop().time
        seen = [clock(), clock()]
        await asyncio.sleep(10)
        await asyncio.sleep(5)
        return [*seen, clock()]

    run = start(times)
    run.fire()
    run.fire()
    assert bytes(run.state.result) == b"[1000000.0,1000000.0,1000015.0]"


def test_a_timer_that_fires_early_by_the_clock_still_moves_the_run_to_its_time(start):
    @mg.workflow
    async def sleeper() -> float:
        await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    run = start(sleeper)
    run.tell(lambda execution: execution.timer_fired(1, 999_000.0))
    assert bytes(run.state.result) == b"1000010.0"


def test_a_timer_that_was_cancelled_meanwhile_is_ignored(start):
    @mg.workflow
    async def in_time() -> None:
        async with asyncio.timeout(5):
            await charge()

    run = start(in_time)
    assert run.complete("charge", "c") == ["charge done", "timer 1 cancelled", "COMPLETED"]
    assert run.tell(lambda execution: execution.timer_fired(1, run.now + 5)) == []


@mg.workflow
async def hurried() -> str:
    try:
        async with asyncio.timeout(5):
            return await charge()
    except TimeoutError:
        return "too slow"


@mg.workflow
async def hurried_with_wait_for() -> str:
    try:
        return await asyncio.wait_for(charge(), 5)
    except TimeoutError:
        return "too slow"


@pytest.mark.parametrize("workflow", [hurried, hurried_with_wait_for])
def test_a_timeout_around_a_step_cancels_it_and_makes_it_good(start, workflow):
    run = start(workflow)
    assert "timer 1 started, due at 5" in run.began
    assert run.fire() == ["timer 1 fired", "charge cancelled"]
    assert run.cut_off("charge")[-1] == "undo charge"
    assert run.undo("charge") == ["charge undone", "COMPLETED"]
    assert bytes(run.state.result) == b'"too slow"'


@pytest.mark.parametrize("workflow", [hurried, hurried_with_wait_for])
def test_a_step_within_its_timeout_cancels_the_timer(start, workflow):
    run = start(workflow)
    assert run.complete("charge", "c") == ["charge done", "timer 1 cancelled", "COMPLETED"]


@pytest.mark.parametrize("workflow", [hurried, hurried_with_wait_for])
def test_a_timed_out_step_that_never_began_leaves_nothing_to_undo(start, workflow):
    run = start(workflow)
    run.fail("charge")
    run.fire()
    assert run.stop("charge") == ["charge failed", "COMPLETED"]


def test_nested_timeouts(start):
    @mg.workflow
    async def nested() -> str:
        try:
            async with asyncio.timeout(10):
                try:
                    async with asyncio.timeout(3):
                        await charge()
                except TimeoutError:
                    await reserve()
        except TimeoutError:
            return "outer"
        return "inner"

    run = start(nested)
    assert run.fire() == ["timer 2 fired", "charge cancelled", "reserve scheduled"]
    run.stop("charge")
    assert run.fire() == ["timer 1 fired", "reserve cancelled"]
    run.stop("reserve")
    assert bytes(run.state.result) == b'"outer"'


def test_timers_fire_in_the_order_of_the_journal(start):
    @mg.workflow
    async def clocks() -> list[str]:
        order: list[str] = []

        async def after(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            order.append(name)

        await asyncio.gather(after(20, "late"), after(10, "early"))
        return order

    run = start(clocks)
    run.fire(2)
    run.fire(1)
    assert bytes(run.state.result) == b'["early","late"]'


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
def test_a_sleep_that_never_ends_is_refused_and_does_not_spoil_the_journal(start, seconds):
    @mg.workflow
    async def forever() -> None:
        await asyncio.get_running_loop().create_task(asyncio.sleep(seconds))

    run = start(forever)
    assert run.status is Status.FAILED


# ---- locks, queues, events -----------------------------------------------------------------------------------------


def test_a_lock_keeps_branches_apart(start):
    @mg.workflow
    async def one_at_a_time() -> None:
        lock = asyncio.Lock()

        async def branch(step: mg.Step) -> None:
            async with lock:
                await step()

        await asyncio.gather(branch(charge), branch(reserve))

    run = start(one_at_a_time)
    assert run.began == ["STARTED", "charge scheduled"]
    assert run.complete("charge", "c") == ["charge done", "reserve scheduled"]
    assert run.complete("reserve", "r") == ["reserve done", "COMPLETED"]


def test_a_queue_feeds_workers_inside_a_workflow(start):
    @mg.workflow
    async def pool() -> int:
        queue: asyncio.Queue[str] = asyncio.Queue()
        for item in "abc":
            queue.put_nowait(item)

        async def worker() -> None:
            while True:
                await note.options(name=f"note_{await queue.get()}")()
                queue.task_done()

        workers = [asyncio.create_task(worker()) for _ in range(2)]
        await queue.join()
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return queue.qsize()

    run = start(pool)
    assert run.began == ["STARTED", "note_a scheduled", "note_b scheduled"]
    assert run.complete("note_b", "n") == ["note_b done", "note_c scheduled"]
    run.complete("note_c", "n")
    assert run.complete("note_a", "n") == ["note_a done", "COMPLETED"]


def test_an_event_wakes_its_waiters(start):
    @mg.workflow
    async def signalled() -> str:
        ready = asyncio.Event()

        async def waiter() -> str:
            await ready.wait()
            return await reserve()

        task = asyncio.create_task(waiter())
        await charge()
        ready.set()
        return await task

    run = start(signalled)
    assert run.complete("charge", "c") == ["charge done", "reserve scheduled"]
    run.complete("reserve", "r")


def test_semaphores_and_conditions(start):
    @mg.workflow
    async def limited() -> None:
        semaphore, condition = asyncio.Semaphore(1), asyncio.Condition()

        async def branch(step: mg.Step) -> None:
            async with semaphore:
                await step()
            async with condition:
                condition.notify_all()

        tasks = [asyncio.create_task(branch(step)) for step in (charge, reserve)]
        async with condition:
            await condition.wait_for(lambda: all(task.done() or not semaphore.locked() for task in tasks))
        await asyncio.gather(*tasks)

    run = start(limited)
    assert run.complete("charge", "c") == ["charge done", "reserve scheduled"]
    assert run.complete("reserve", "r")[-1] == "COMPLETED"


# ---- what is left when the workflow returns --------------------------------------------------------------------------


def test_a_step_that_was_never_awaited_is_waited_for(start):
    @mg.workflow
    async def forgetful() -> str:
        charge()
        return await reserve()

    run = start(forgetful)
    assert run.complete("reserve", "r") == ["reserve done"]
    assert run.status is Status.RUNNING
    assert run.complete("charge", "c") == ["charge done", "COMPLETED"]


@pytest.mark.parametrize("order", [["charge", "reserve"], ["reserve", "charge"]])
def test_a_step_that_was_never_awaited_fails_the_run_whenever_it_fails(start, order):
    @mg.workflow
    async def forgetful() -> str:
        charge()
        return await reserve()

    run = start(forgetful)
    for step in order:
        if step == "charge":
            run.fail_for_good("charge")
        else:
            run.complete("reserve", "r")
    run.undo("reserve")
    assert run.status is Status.COMPENSATED
    assert run.state.failed_step == "charge"


def test_a_best_effort_step_that_was_never_awaited_fails_nothing(start):
    @mg.workflow
    async def forgetful() -> str:
        email()
        return await reserve()

    run = start(forgetful)
    run.complete("reserve", "r")
    assert run.fail_for_good("email")[1:] == ["email failed", "COMPLETED"]
    assert run.state.missed == ["email"]


def test_tasks_left_behind_are_cancelled_with_their_steps_and_timers(start):
    @mg.workflow
    async def messy() -> str:
        async def aside() -> None:
            await charge()

        tasks = [asyncio.create_task(aside()), asyncio.create_task(asyncio.sleep(99))]
        return await reserve() + str(len(tasks))

    run = start(messy)
    entry = run.complete("reserve", "r")
    assert sorted(entry) == ["charge cancelled", "reserve done", "timer 1 cancelled"]
    run.cut_off("charge")
    assert run.undo("charge") == ["charge undone", "COMPLETED"]


def test_a_task_left_behind_that_refuses_to_end_does_not_hold_the_run(start):
    @mg.workflow
    async def haunted() -> str:
        async def ghost() -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        task = asyncio.create_task(ghost())
        return await reserve() + str(task.done())

    run = start(haunted)
    assert run.complete("reserve", "r")[-1] == "COMPLETED"


def test_a_step_called_while_a_task_left_behind_is_cleared_up_is_refused(start):
    seen = []

    @mg.workflow
    async def messy() -> str:
        async def aside() -> None:
            try:
                await charge()
            finally:
                try:
                    await note("too late")
                except mg.UsageError as error:
                    seen.append(str(error))
                    raise

        task = asyncio.create_task(aside())
        return await reserve() + str(task.done())

    run = start(messy)
    run.complete("reserve", "r")
    run.stop("charge")
    assert run.status is Status.COMPLETED
    assert seen[0] == "step note was called after its workflow had ended."


def test_steps_still_under_way_when_the_workflow_raises_are_cancelled(start):
    @mg.workflow
    async def careless() -> None:
        charge()
        await reserve()
        raise ValueError("oops")

    run = start(careless)
    assert run.complete("reserve", "r") == ["reserve done", "charge cancelled"]
    assert run.cut_off("charge")[-2:] == ["rollback", "undo reserve"]
    run.undo("reserve")
    run.undo("charge")
    assert run.state.failure.message == "oops"
