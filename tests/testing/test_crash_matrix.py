"""The crash matrix passes what is sound, and finds each planted defect, with a history of as few faults as possible."""

import asyncio
import random
import re
from dataclasses import dataclass
from datetime import timedelta

import pytest

import makegood as mg
from makegood.testing import CrashMatrixError, crash_matrix
from tests.testing.fakes import World, good_step


def matrix(workflow, world, **options):
    return crash_matrix(workflow, 1, state=lambda: world.accounts, reset=world.__init__, **options)


def saga(world, *steps, name="order"):
    """The steps, one after the other, between two sound ones."""
    first, last = good_step(world, "first"), good_step(world, "last")

    @mg.workflow(name=name)
    async def order(amount: int) -> None:
        for step in (first, *steps, last):
            await step(amount)

    return order


def found(workflow, world, **options):
    """The one problem that is found: its headline, and the whole message."""
    with pytest.raises(CrashMatrixError) as raised:
        matrix(workflow, world, **options)
    problems = raised.value.report.problems
    assert len(problems) == 1, str(raised.value)
    return next(iter(problems)), str(raised.value)


def faults_of(message):
    """What goes wrong in the shortest history."""
    return re.findall(r"shortest of \d+ histories: (.*)", message)


def test_a_sound_saga_ends_well_in_every_history():
    world = World()
    report = matrix(saga(world, good_step(world, "middle")), world)

    assert len(report.outcomes) > 50
    assert all(len(outcome.fired) == len(outcome.faults) for outcome in report.outcomes)
    assert {outcome.status for outcome in report.outcomes} == {
        "COMPLETED",
        "COMPENSATED",
        "FAILED",
        "CANCELLED",
    }
    assert not report.never_ran


def test_a_step_that_ignores_its_key():
    world = World()

    @mg.step
    async def charge(amount: int) -> None:
        world.book("charge", amount, mg.idempotency_key() + str(mg.attempt()))

    @charge.compensation
    async def refund(_: None, amount: int) -> None:
        if "charge" in world.accounts:
            world.accounts.pop("charge")

    headline, message = found(saga(world, charge), world)
    assert (
        headline
        == "charge ignores its idempotency key: tried again under the same key, it takes effect again"
    )
    assert faults_of(message) == ["charge times out, but takes effect"]
    assert "charge(1) (attempt 2)" in message


def test_a_compensation_that_is_not_idempotent():
    world = World()
    charge = good_step(world, "charge")
    charge.safeguards.undo = None

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        if mg.original_key() in world.booked:
            world.book("charge", -amount, mg.idempotency_key() + str(mg.attempt()))

    headline, message = found(saga(world, charge), world)
    assert headline == "the compensation of charge is not idempotent: tried again, it takes effect again"
    assert len(faults_of(message)) == 1
    assert "the compensation of charge" in faults_of(message)[0]


def test_a_forgotten_compensation():
    world = World()

    @mg.step
    async def reserve(amount: int) -> None:
        world.book("reserve", amount, mg.idempotency_key())

    headline, message = found(saga(world, reserve), world)
    assert headline == "reserve has no compensation, and its effect stays"
    assert ", and" not in faults_of(message)[0]
    assert "{'reserve': 1}; it should be {}" in message


def test_an_effect_that_may_stay_is_no_forgotten_compensation():
    world = World()

    @mg.step
    async def mail(amount: int) -> None:
        world.book("mail", amount, mg.idempotency_key())

    matrix(saga(world, mail), world, may_stay=[mail])


def test_a_swallowed_cancellation():
    world = World()
    first, second = good_step(world, "first"), good_step(world, "second")

    @mg.workflow
    async def order(amount: int) -> str:
        try:
            await first(amount)
        except BaseException:  # noqa: BLE001 - the defect
            return "never mind"
        await second(amount)
        return "done"

    headline, message = found(order, world)
    assert headline == "the workflow swallows its cancellation"
    assert faults_of(message) == ["the run is cancelled during first, before that takes effect"]


def test_a_workflow_that_cleans_up_when_it_is_cancelled_is_sound():
    world = World()
    first, tidy = good_step(world, "first"), good_step(world, "tidy")

    @mg.workflow
    async def order(amount: int) -> str:
        try:
            return await first(amount)
        finally:
            await tidy(amount)

    matrix(order, world)


def test_a_compensation_that_fails_on_an_unknown_result():
    world = World()

    @mg.step
    async def charge(amount: int) -> str:
        return world.book("charge", amount, mg.idempotency_key())

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        world.unbook("charge", len(receipt.split("-")) - 1)

    headline, message = found(saga(world, charge), world)
    assert headline.startswith("the compensation of charge fails: AttributeError")
    assert "given None" in message
    assert len(faults_of(message)) == 1


def test_a_compensation_of_what_never_happened():
    world = World()
    charge = good_step(world, "charge")
    charge.safeguards.undo = None

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        world.book("charge", -amount, mg.idempotency_key())

    headline, message = found(saga(world, charge), world)
    assert headline == "the compensation of charge undoes what never happened"
    assert faults_of(message) == ["the run is cancelled during charge, before that takes effect"]


def test_a_compensation_that_does_nothing_for_an_unknown_result():
    world = World()
    charge = good_step(world, "charge")
    charge.safeguards.undo = None

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        if receipt is not None:
            world.unbook("charge", amount)

    headline, _ = found(saga(world, charge), world)
    assert headline == "the compensation of charge changes nothing"


def test_a_compensation_that_brings_half_of_it_back():
    world = World()
    charge = good_step(world, "charge")
    charge.safeguards.undo = None

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        world.unbook("charge", 2 * amount)

    headline, _ = found(saga(world, charge), world)
    assert headline == "the compensation of charge does not bring the state back"


def test_a_probe_that_denies_what_happened():
    world = World()

    @mg.step(retry=None)
    async def charge(amount: int) -> str:
        return world.book("charge", amount, mg.idempotency_key())

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        world.unbook("charge", amount)

    @charge.probe
    async def find_charge(amount: int) -> str | mg.NotDone:
        return mg.NotDone()

    headline, message = found(saga(world, charge), world)
    assert headline == "the probe of charge denies what happened"
    assert faults_of(message) == ["charge times out, but takes effect, each time"]
    assert "the probe of charge(1) -> NotDone()" in message


def test_a_workflow_that_is_not_deterministic():
    world = World()
    steps = [good_step(world, name) for name in ("first", "second")]
    dice = random.Random(4)

    @mg.workflow
    async def order(amount: int) -> None:
        for step in dice.sample(steps, 2):
            await step(amount)

    headline, message = found(order, world)
    assert headline == "the workflow is not deterministic"
    assert len(faults_of(message)) == 1
    assert "lost" in faults_of(message)[0]


def test_a_step_that_leaves_something_in_memory():
    world = World()
    cache = {}
    first, last = good_step(world, "first"), good_step(world, "last")

    @mg.step(retry=None)
    async def look_up(amount: int) -> None:
        cache["address"] = "1 Main Street"

    @mg.step(retry=None)
    async def label(amount: int) -> str:
        return cache["address"]

    @mg.workflow
    async def order(amount: int) -> None:
        await first(amount)
        await look_up(amount)
        await label(amount)
        await last(amount)

    headline, message = found(order, world)
    assert headline == "label fails after the process was lost: KeyError: 'address'"
    assert "kept something in cache" in message


def test_a_result_that_comes_from_memory():
    world = World()
    seen = []

    @mg.step
    async def count(amount: int) -> int:
        seen.append(amount)
        return len(seen)

    @mg.workflow
    async def order(amount: int) -> list[int]:
        return [await count(amount), await count(amount)]

    headline, _ = found(order, world)
    assert headline == "the result depends on what goes wrong on the way"


def test_a_step_that_cannot_be_tried_again():
    world = World()

    @mg.step
    async def charge(amount: int) -> None:
        if mg.idempotency_key() in world.booked:
            raise ValueError("charged already")
        world.book("charge", amount, mg.idempotency_key())

    @charge.compensation
    async def refund(_: None, amount: int) -> None:
        world.unbook("charge", amount)

    headline, message = found(saga(world, charge), world)
    assert headline == "charge fails when it is tried again: ValueError: charged already"
    assert len(faults_of(message)) == 1


def test_a_run_that_waits_for_ever():
    world = World()
    first = good_step(world, "first")
    Approved = mg.Signal("approved", bool)  # noqa: N806 - as users name signals

    @mg.workflow
    async def order(amount: int) -> None:
        await first(amount)
        await Approved.receive()

    headline, message = found(order, world)
    assert headline == "it never ends"
    assert "signal approved" in message


def test_a_driver_sends_the_signals():
    world = World()
    first, last = good_step(world, "first"), good_step(world, "last")
    Approved = mg.Signal("approved", bool)  # noqa: N806 - as users name signals

    @mg.workflow
    async def order(amount: int) -> None:
        await first(amount)
        await Approved.receive()
        await mg.sleep(timedelta(days=37))
        await last(amount)

    async def drive(run):
        await run.signal(Approved, True, id="approval")

    matrix(order, world, drive=drive)


def test_branches_nested_sagas_and_threads_are_sound():
    world = World()
    steps = [good_step(world, f"step{number}") for number in range(3)]

    @mg.step
    def in_thread(amount: int) -> str:
        return world.book("in_thread", amount, mg.idempotency_key())

    @in_thread.compensation
    def undo(receipt: str | None, amount: int) -> None:
        world.unbook("in_thread", amount)

    @mg.workflow
    async def order(amount: int) -> str:
        await steps[0](amount)
        try:
            async with mg.saga():
                await asyncio.gather(steps[1](amount), in_thread(amount))
        except mg.StepFailed:
            return "a day out"
        await steps[2](amount)
        return "a night away"

    report = matrix(order, world)
    assert {outcome.result for outcome in report.outcomes} >= {"a day out", "a night away"}


@dataclass
class Order:
    id: str
    amount: int


def test_payloads_keep_their_types():
    world = World()
    first = good_step(world, "first")

    @mg.workflow
    async def order(order: Order, *, gift: bool) -> Order:
        await first(order.amount)
        return Order(order.id, order.amount + gift)

    report = crash_matrix(
        order, Order("42", 5), gift=True, state=lambda: world.accounts, reset=world.__init__
    )
    assert report.outcomes[0].result == {"id": "42", "amount": 6}


def test_a_step_that_parks_is_tried_again_when_its_service_is_back():
    world = World()
    report = matrix(saga(world, good_step(world, "charge", on_exhausted="park")), world)

    assert any("an operator" in str(entry) for outcome in report.outcomes for entry in outcome.log)


def test_children_are_part_of_the_matrix():
    world = World()
    inner, last = good_step(world, "inner"), good_step(world, "last")

    @mg.workflow
    async def delivery(amount: int) -> str:
        return await inner(amount)

    @mg.workflow
    async def order(amount: int) -> None:
        await delivery(amount)
        await last(amount)

    report = matrix(order, world)
    assert any(noted.place.run and noted.place.kind == "undo" for o in report.outcomes for noted in o.calls)


@pytest.mark.parametrize("failures", [1, 5])
def test_a_saga_behind_a_breaker_is_sound(failures):
    world = World()
    charge = good_step(world, "charge", breaker=mg.Breaker("bank", failures=failures), max_concurrency=1)
    assert len(matrix(saga(world, charge), world).outcomes) > 20


def test_compensations_that_never_ran_are_named():
    world = World()

    @mg.workflow
    async def order(amount: int) -> None:
        mg.pivot()
        await good_step(world, "ship")(amount)

    report = matrix(order, world)
    assert [name.split(" in ")[0] for name in report.never_ran] == ["undo, of step ship"]
    assert "never run by any history: undo, of step ship" in str(report)


def test_without_a_state_the_endings_and_the_results_are_judged():
    world = World()
    charge = good_step(world, "charge")
    charge.safeguards.undo = None

    @charge.compensation
    async def refund(receipt: str | None, amount: int) -> None:
        if receipt is None:
            raise ValueError("no receipt")

    with pytest.raises(CrashMatrixError, match="the compensation of charge fails: ValueError: no receipt"):
        crash_matrix(saga(world, charge), 1)


def test_without_reset_a_changed_world_is_refused():
    world = World()
    with pytest.raises(mg.UsageError, match="reset="):
        crash_matrix(saga(world), 1, state=lambda: world.accounts)


def test_a_state_that_holds_something_random_is_refused():
    world = World()
    first = good_step(world, "first")
    dice = random.Random(1)

    @mg.step
    async def roll(amount: int) -> None:
        world.book("dice", dice.randrange(1_000_000), mg.idempotency_key())

    @mg.workflow
    async def order(amount: int) -> None:
        await first(amount)
        await roll(amount)

    headline, _ = found(order, world)
    assert headline == "two histories without faults end in different states"


def test_a_workflow_that_fails_by_itself_proves_nothing():
    world = World()

    @mg.workflow
    async def order(amount: int) -> None:
        raise ValueError("no fakes")

    headline, message = found(order, world)
    assert headline == "it ends FAILED, not COMPLETED"
    assert "no fakes" in message


def test_inside_a_running_loop_it_says_what_to_do():
    async def main():
        crash_matrix(saga(World()), 1)

    with pytest.raises(mg.UsageError, match="plain `def` test"):
        asyncio.run(main())


def test_transactions_are_refused_where_one_is_called():
    world = World()
    first = good_step(world, "first")

    @mg.transaction
    def pay(db: mg.Connection, amount: int) -> None:
        db.execute("INSERT INTO payments VALUES (?)", (amount,))

    @mg.workflow
    async def order(amount: int) -> None:
        await first(amount)
        if amount > 1:
            await pay(amount)

    matrix(order, world)
    with pytest.raises(mg.UsageError, match="transaction pay"):
        crash_matrix(order, 2)


def test_plain_data_that_the_test_names_is_the_world_outside():
    charges = {}

    @mg.step
    async def charge(amount: int) -> None:
        charges[mg.idempotency_key()] = amount

    @charge.compensation
    async def refund(_: None, amount: int) -> None:
        charges.pop(mg.original_key(), None)

    @mg.workflow
    async def order(amount: int) -> None:
        await charge(amount)

    crash_matrix(order, 1, state=lambda: charges, reset=charges.clear)


def test_a_run_that_ends_compensated_can_be_tried_as_well():
    world = World()

    @mg.step(retry=None)
    async def decline(amount: int) -> None:
        raise ValueError("declined")

    matrix(saga(world, decline), world, ends="COMPENSATED")
