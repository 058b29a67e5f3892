"""Signals: accepted in every state, received once and in order, never lost to whoever no longer waits."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import dataclass

import msgspec
import pytest

import makegood as mg
from makegood.engine.execution import Execution
from makegood.engine.journal import SignalReceived
from makegood.engine.run import Status
from makegood.engine.signals import Mailbox
from tests.engine.kit import START, signalling
from tests.engine.shop import approve, charge, note, reserve


@dataclass
class Decision:
    accepted: bool
    reason: str = ""


HostDecision = mg.Signal("host_decision", Decision)
Position = mg.Signal("position", int)
Go = mg.Signal("go")


@mg.workflow
async def visit() -> str:
    await charge()
    decision = await HostDecision.receive()
    return decision.reason


YES = {"accepted": True, "reason": "welcome"}


# ---- waiting and coming ----------------------------------------------------------------------------------------------


def test_a_signal_wakes_whoever_waits_for_it(start):
    run = start(visit)
    assert run.complete("charge", "c") == ["charge done", "waits for host_decision"]
    assert run.signal("host_decision", YES) == [
        'signal 1: host_decision {"accepted":true,"reason":"welcome"}',
        "waits for no signal",
        "COMPLETED",
    ]
    assert bytes(run.state.result) == b'"welcome"'


def test_a_signal_is_accepted_before_the_first_step_has_run_and_received_without_waiting(start):
    run = start(visit)
    run.signal("host_decision", YES)
    assert run.complete("charge", "c") == ["charge done", "COMPLETED"]


def test_a_run_that_only_waits_for_a_signal_is_not_stuck(start):
    @mg.workflow
    async def patient() -> int:
        return await Position.receive()

    run = start(patient)
    assert run.began == ["STARTED", "waits for position"]
    assert run.status is Status.RUNNING


def test_signals_are_received_in_the_order_in_which_they_were_accepted(start):
    @mg.workflow
    async def three() -> list[int]:
        return [await Position.receive() for _ in range(3)]

    run = start(three)
    for value in (1, 2, 3):
        run.signal("position", value)
    assert bytes(run.state.result) == b"[1,2,3]"


def test_signals_are_iterated(start):
    @mg.workflow
    async def follow() -> int:
        total = 0
        async for position in Position:
            if position < 0:
                break
            total += position
        return total

    run = start(follow)
    assert run.signal("position", 20) == ["signal 1: position 20"]
    assert run.signal("position", 22) == ["signal 2: position 22"]
    assert run.signal("position", -1)[-1] == "COMPLETED"
    assert bytes(run.state.result) == b"42"


def test_a_signal_without_a_payload(start):
    @mg.workflow
    async def ready() -> None:
        await Go.receive()

    assert start(ready).signal("go")[-1] == "COMPLETED"


def test_signals_of_different_names_are_independent(start):
    @mg.workflow
    async def both() -> int:
        await Go.receive()
        return await Position.receive()

    run = start(both)
    assert run.signal("position", 7) == ["signal 1: position 7"]
    assert run.signal("go")[-1] == "COMPLETED"


def test_a_wait_in_a_crash_goes_on(start):
    run = start(visit)
    run.complete("charge", "c")
    assert run.crash() == []
    run.signal("host_decision", YES)
    assert run.status is Status.COMPLETED


def test_a_signal_that_came_before_a_crash_is_still_there(start):
    run = start(visit)
    run.signal("host_decision", YES)
    assert run.crash() == ["charge attempt 1 failed (unknown) (lost): retry"]
    assert run.complete("charge", "c")[-1] == "COMPLETED"


def test_a_signal_with_an_id_is_accepted_once(start):
    @mg.workflow
    async def two() -> list[int]:
        return [await Position.receive(), await Position.receive()]

    run = start(two)
    assert run.signal("position", 1, id="a") == ["signal 1: position 1"]
    assert run.signal("position", 1, id="a") == []
    run.crash()
    assert run.signal("position", 1, id="a") == []
    assert run.signal("position", 1, id="b")[-1] == "COMPLETED"


# ---- timeouts --------------------------------------------------------------------------------------------------------


@mg.workflow
async def impatient() -> str:
    try:
        return (await HostDecision.receive(timeout=30)).reason
    except TimeoutError as error:
        return str(error)


def test_a_receive_times_out_by_a_durable_timer(start):
    run = start(impatient)
    assert run.began == ["STARTED", "timer 1 started, due at 30", "waits for host_decision"]
    run.crash()
    assert run.fire() == ["timer 1 fired", "waits for no signal", "COMPLETED"]
    assert bytes(run.state.result) == b'"no signal host_decision came within 30 s"'


def test_a_signal_in_time_cancels_the_timer(start):
    run = start(impatient)
    assert run.signal("host_decision", YES)[1:] == ["timer 1 cancelled", "waits for no signal", "COMPLETED"]


def test_a_signal_and_the_timeout_at_the_same_moment_are_decided_by_their_order(start):
    @mg.workflow
    async def decided() -> str:
        said = "in time"
        try:
            await Go.receive(timeout=30)
        except TimeoutError:
            said = "too late"
        await charge()
        return said

    def signal(execution: Execution) -> None:
        execution.act(signalling("go"), START + 30)

    def timer(execution: Execution) -> None:
        execution.timer_fired(1, START + 30)

    early, late = start(decided), start(decided)
    early.tell(signal, timer)
    late.tell(timer, signal)
    early.complete("charge", "c")
    assert late.complete("charge", "c")[1:] == ["left: 1", "COMPLETED"]
    assert (bytes(early.state.result), bytes(late.state.result)) == (b'"in time"', b'"too late"')


def test_a_signal_that_comes_with_the_timeout_is_there_for_the_next_receive(start):
    @mg.workflow
    async def twice() -> int:
        try:
            await Position.receive(timeout=30)
        except TimeoutError:
            await note("late")
        return await Position.receive()

    run = start(twice)
    run.tell(
        lambda execution: execution.timer_fired(1, run.now),
        lambda execution: execution.act(signalling("position", 5), run.now),
    )
    assert run.complete("note", "n")[-1] == "COMPLETED"
    assert bytes(run.state.result) == b"5"


def test_no_time_at_all_takes_only_what_is_there(start):
    @mg.workflow
    async def peek() -> list[int | None]:
        await charge()
        taken: list[int | None] = []
        for _ in range(2):
            try:
                taken.append(await Position.receive(timeout=0))
            except TimeoutError:
                taken.append(None)
        return taken

    run = start(peek)
    run.signal("position", 3)
    run.complete("charge", "c")
    assert bytes(run.state.result) == b"[3,null]"


def test_a_timeout_may_be_a_timedelta(start):
    @mg.workflow
    async def days() -> None:
        await Go.receive(timeout=datetime.timedelta(days=30))

    assert start(days).began[1] == "timer 1 started, due at 2.592e+06"


@pytest.mark.parametrize(
    "timeout", [-1, float("nan"), float("inf"), 1e11, 10**400, "5", True, datetime.timedelta(-1)]
)
def test_a_time_that_makes_no_sense_is_explained(start, timeout):
    @mg.workflow
    async def absurd() -> None:
        await Go.receive(timeout=timeout)

    run = start(absurd)
    assert run.status is Status.FAILED
    assert run.state.failure.type == "makegood.errors.UsageError"
    assert "signal go: receive(" in run.state.failure.message


# ---- whoever no longer waits takes nothing away ------------------------------------------------------------------------


def test_a_cancelled_receive_leaves_the_signal_to_the_next(start):
    @mg.workflow
    async def race() -> str:
        receiving = asyncio.ensure_future(Position.receive())
        await asyncio.wait((receiving, charge()), return_when=asyncio.FIRST_COMPLETED)
        receiving.cancel()
        return f"{await Position.receive()}"

    run = start(race)
    run.complete("charge", "c")
    run.signal("position", 9)
    assert bytes(run.state.result) == b'"9"'


def received(number: int) -> SignalReceived:
    return SignalReceived(number, "position", msgspec.Raw(str(number).encode()))


def test_a_receive_that_is_cancelled_as_it_is_woken_passes_the_signal_on():
    async def main() -> int:
        mailbox = Mailbox(Position)
        first, second = (asyncio.create_task(mailbox.take(Position)) for _ in range(2))
        await asyncio.sleep(0)
        mailbox.put(received(1))
        first.cancel()
        return await second

    assert asyncio.run(main()) == 1


def test_nobody_overtakes_a_receiver_that_was_woken_and_has_not_run_yet():
    async def main() -> list[int]:
        mailbox = Mailbox(Position)
        early = asyncio.create_task(mailbox.take(Position))
        await asyncio.sleep(0)
        mailbox.put(received(1))
        mailbox.put(received(2))
        return [await mailbox.take(Position), await early]

    assert asyncio.run(main()) == [2, 1]  # what came later; the earlier one is spoken for


def test_of_two_signals_at_once_in_a_race_none_is_lost(start):
    @mg.workflow
    async def race() -> list[int]:
        either = {asyncio.ensure_future(Position.receive()), asyncio.ensure_future(Position.receive())}
        done, waiting = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        taken = [task.result() for task in done]
        await charge()
        while len(taken) < 2:
            taken.append(await Position.receive())
        return taken

    run = start(race)
    at = run.now
    run.tell(*(lambda execution, n=n: execution.act(signalling("position", n), at) for n in (1, 2)))
    run.complete("charge", "c")
    assert sorted(msgspec.json.decode(run.state.result)) == [1, 2]


def test_when_gather_fails_the_receive_beside_it_goes_on(start):
    @mg.workflow
    async def beside() -> int:
        receiving = asyncio.ensure_future(Position.receive())
        try:
            await asyncio.gather(receiving, charge())
        except mg.StepFailed:
            return await receiving
        return 0

    run = start(beside)
    run.fail_for_good("charge")
    run.signal("position", 6)
    assert bytes(run.state.result) == b"6"


def test_a_task_group_that_fails_leaves_the_signal(start):
    @mg.workflow
    async def group() -> int:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Position.receive())
                tasks.create_task(charge())
        except* mg.StepFailed:
            pass
        return await Position.receive()

    run = start(group)
    run.fail_for_good("charge")
    run.signal("position", 6)
    assert bytes(run.state.result) == b"6"


def test_receivers_are_served_in_the_order_in_which_they_asked(start):
    @mg.workflow
    async def queue() -> list[str]:
        async def receives(name: str) -> str:
            return f"{name} {await Position.receive()}"

        return await asyncio.gather(*map(receives, "abc"))

    run = start(queue)
    at = run.now
    run.signal("position", 1)
    run.tell(*(lambda execution, n=n: execution.act(signalling("position", n), at) for n in (2, 3)))
    assert bytes(run.state.result) == b'["a 1","b 2","c 3"]'


# ---- cancelling, parking, rolling back -----------------------------------------------------------------------------------


def test_a_cancellation_reaches_a_workflow_that_waits_for_a_signal(start):
    run = start(visit)
    run.complete("charge", "c")
    assert run.cancel() == ["ann: cancel", "waits for no signal", "rollback (cancelled)", "undo charge"]


def test_a_signal_is_accepted_in_a_rollback_and_listed_as_left(start):
    run = start(visit)
    run.complete("charge", "c")
    run.cancel()
    assert run.signal("host_decision", YES) == [
        'signal 1: host_decision {"accepted":true,"reason":"welcome"}'
    ]
    assert run.undo("charge") == ["charge undone", "left: 1", "CANCELLED"]


def test_a_signal_is_accepted_while_a_step_is_parked(start):
    @mg.workflow
    async def approved() -> int:
        await approve()
        return await Position.receive()

    run = start(approved)
    run.fail("approve")
    assert run.status is Status.PARKED
    assert run.signal("position", 4) == ["signal 1: position 4"]
    run.operate("resolve", "approve", "yes")
    assert bytes(run.state.result) == b"4"


def test_a_workflow_goes_on_with_a_signal_while_a_step_beside_it_is_parked(start):
    @mg.workflow
    async def beside() -> None:
        async def listens() -> None:
            await Go.receive()
            await reserve()

        await asyncio.gather(approve(), listens())

    run = start(beside)
    run.fail("approve")
    assert run.signal("go") == ["signal 1: go null", "reserve scheduled", "waits for no signal"]


def test_signals_that_nobody_received_are_listed_before_the_ending(start):
    run = start(visit)
    run.signal("position", 1)
    run.signal("host_decision", YES)
    run.signal("host_decision", YES)
    assert run.complete("charge", "c") == ["charge done", "left: 1, 3", "COMPLETED"]
    assert run.state.signals_left == [1, 3]


def test_an_ended_run_takes_no_signal(start):
    run = start(visit)
    run.signal("host_decision", YES)
    run.complete("charge", "c")
    with pytest.raises(
        mg.NotPossible, match="run run-1 takes no signal position: it has already ended, COMPLETED"
    ):
        run.signal("position", 1)


# ---- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"accepted": "perhaps"}, {}, "yes", None, [True]])
def test_a_payload_of_the_wrong_type_is_refused_and_nothing_is_recorded(start, wrong):
    run = start(visit)
    with pytest.raises(
        mg.PayloadError, match="signal host_decision: the value does not fit the annotation Decision"
    ):
        run.signal("host_decision", wrong)
    assert run.state.signals == 0
    assert not run.execution.events


def test_a_payload_larger_than_the_limit_is_refused(start):
    run = start(visit)
    with pytest.raises(
        mg.PayloadError, match="signal anything: 2,097,155 bytes of JSON, and the limit is 2,097,152"
    ):
        run.signal("anything", "x" * (2 * 1024 * 1024 + 1))


def test_a_name_that_no_signal_can_have_is_refused(start):
    with pytest.raises(mg.UsageError, match="there can be no signal of this name: 'host decision'"):
        start(visit).signal("host decision", YES)


def hidden(carries: type[object]) -> mg.Workflow:
    """A workflow whose signal nobody can know before it asks: it is made on the way."""

    @mg.workflow
    async def secretive() -> str:
        await charge()
        return repr(await mg.Signal("hidden", carries).receive())

    return secretive


def test_an_unreadable_signal_that_nobody_could_refuse_is_set_aside_and_listed(start):
    run = start(hidden(int))
    run.signal("hidden", "no number")
    run.signal("hidden", 5)
    assert run.complete("charge", "c") == ["charge done", "left: 1", "COMPLETED"]
    assert bytes(run.state.result) == b'"5"'


def test_once_the_workflow_has_asked_its_type_is_known_and_the_sender_is_told(start):
    run = start(hidden(int))
    run.complete("charge", "c")
    with pytest.raises(mg.PayloadError, match="signal hidden"):
        run.signal("hidden", "no number")
    run.crash()
    with pytest.raises(mg.PayloadError, match="signal hidden"):
        run.signal("hidden", "no number")


def test_one_name_with_two_types_in_one_workflow_fails_it_with_an_explanation(start):
    @mg.workflow
    async def torn() -> None:
        await mg.Signal("torn", int).receive()
        await mg.Signal("torn", str).receive()

    run = start(torn)
    run.signal("torn", 1)
    assert run.state.failure.type == "makegood.errors.DefinitionError"
    assert "two signals are called torn" in run.state.failure.message


def test_the_same_signal_may_be_declared_twice(start):
    @mg.workflow
    async def twice() -> int:
        return await mg.Signal("same", int).receive() + await mg.Signal("same", int).receive()

    run = start(twice)
    run.signal("same", 1)
    run.signal("same", 2)
    assert bytes(run.state.result) == b"3"
