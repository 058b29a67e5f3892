"""Updates inside one run: who answers, when, and what replay makes of it. Every run here is replayed at its end."""

import asyncio

import msgspec
import pytest

import makegood as mg
from makegood.engine.operator import Request
from makegood.engine.updates import NoHandler
from tests.engine.shop import charge, reserve

Ask = mg.Update("ask", str, str)


def request(value="hello", update_id="u1", name="ask"):
    return Request("update", "ann", result=msgspec.Raw(msgspec.json.encode(value)), name=name, id=update_id)


def ask(run, value="hello", update_id="u1"):
    return run.act(request(value, update_id))


def answer(run, update_id="u1"):
    (event,) = [
        event
        for event in run.events
        if getattr(event, "update", "") == update_id and type(event).__name__ == "UpdateAnswered"
    ]
    return event


def reply(run, update_id="u1"):
    return msgspec.json.decode(answer(run, update_id).reply)


@mg.workflow
async def plain() -> None:
    Ask.handler(lambda text: text.upper())
    await charge()


@mg.workflow
async def thorough() -> list[str]:
    asked: list[str] = []

    @Ask.handler
    async def check(text: str) -> str:
        asked.append(text)
        return await reserve(text)

    await charge()
    return asked


@mg.workflow
async def patient() -> None:
    enough = asyncio.Event()

    @Ask.handler
    def stop(text: str) -> str:
        enough.set()
        return text

    await enough.wait()


def test_a_plain_handler_answers_with_the_same_entry(start):
    run = start(plain)
    assert ask(run) == ["ann asks ask", "answered u1"]
    assert reply(run) == "HELLO"


def test_a_handler_that_calls_a_step_answers_when_that_is_done(start):
    run = start(thorough)
    assert ask(run) == ["ann asks ask", "reserve scheduled"]
    assert run.complete("reserve", "held") == ["reserve done", "answered u1"]
    assert reply(run) == "held"
    run.complete("charge", "paid")
    assert msgspec.json.decode(run.state.result) == ["hello"]


def test_several_are_under_way_and_each_gets_its_own_answer(start):
    run = start(thorough)
    ask(run, "a", "u1")
    ask(run, "b", "u2")
    run.tell(lambda execution: execution.step_completed(3, 1, msgspec.Raw(b'"of b"'), run.now))
    run.tell(lambda execution: execution.step_completed(2, 1, msgspec.Raw(b'"of a"'), run.now))
    assert (reply(run, "u1"), reply(run, "u2")) == ("of a", "of b")


def test_an_update_wakes_a_workflow_that_waits_for_nothing_else(start):
    run = start(patient)
    assert run.status == "RUNNING"
    assert ask(run)[-2:] == ["answered u1", "COMPLETED"]


def test_an_update_under_way_survives_a_crash(start):
    run = start(thorough)
    ask(run)
    run.crash()
    run.complete("reserve", "held")
    assert reply(run) == "held"


def test_the_same_id_is_accepted_once(start):
    run = start(thorough)
    ask(run)
    assert ask(run) == []
    run.complete("reserve", "held")
    assert ask(run) == []
    assert len([step for step in run.state.steps.values() if step.name == "reserve"]) == 1


def test_what_a_handler_raises_is_the_answer_and_the_run_goes_on(start):
    run = start(thorough)
    ask(run)
    assert run.fail_for_good("reserve", "sold out")[-1] == "answered u1 with StepFailed"
    run.complete("charge", "paid")
    assert run.status == "COMPLETED"


def test_a_handler_under_way_when_the_workflow_ends_is_answered_before_the_ending(start):
    run = start(thorough)
    ask(run)
    told = run.complete("charge", "paid")
    assert "answered u1 with NotAnswered" in told
    run.cut_off("reserve")
    run.undo("reserve")
    assert run.status == "COMPLETED"


def test_a_handler_under_way_when_the_run_is_cancelled_is_answered(start):
    run = start(thorough)
    ask(run)
    assert "answered u1 with NotAnswered" in run.cancel()


def test_a_run_that_is_rolled_back_takes_no_update(start):
    run = start(thorough)
    run.cancel()
    with pytest.raises(mg.NotPossible, match="answers no update ask any more"):
        ask(run)


def test_a_run_without_a_handler_is_not_asked_yet(start):
    @mg.workflow
    async def deaf() -> None:
        await charge()
        Ask.handler(str)
        await reserve()

    run = start(deaf)
    with pytest.raises(NoHandler):
        ask(run)
    run.complete("charge", "paid")
    assert ask(run)[-1] == "answered u1"


def test_the_latest_handler_answers(start):
    @mg.workflow
    async def moody() -> None:
        Ask.handler(lambda _: "early")
        await charge()
        Ask.handler(lambda _: "late")
        await reserve()

    run = start(moody)
    ask(run, update_id="u1")
    run.complete("charge", "paid")
    ask(run, update_id="u2")
    assert (reply(run, "u1"), reply(run, "u2")) == ("early", "late")


def refusing(validator):
    @mg.workflow
    async def workflow() -> None:
        Ask.handler(lambda text: text, validator=validator)
        await charge()

    return workflow


def calls_a_step(_text: str) -> None:
    reserve()


def says_no(_text: str) -> None:
    raise ValueError("no")


def starts_a_task(_text: str) -> None:
    asyncio.get_running_loop()


@pytest.mark.parametrize(
    ("validator", "reason"),
    [
        (says_no, "ValueError: no"),
        (calls_a_step, "OutsideWorkflow"),
        (lambda _: mg.update_view(status="x"), "OutsideWorkflow"),
        (starts_a_task, "RuntimeError: no running event loop"),
    ],
    ids=["says no", "calls a step", "publishes", "wants a loop"],
)
def test_a_rejected_update_records_nothing(start, validator, reason):
    run = start(refusing(validator))
    before = run.story
    with pytest.raises(mg.UpdateRejected, match=reason):
        ask(run)
    assert run.story == before
    assert not run.execution.events


def test_a_handler_may_be_registered_inside_a_saga_or_a_task(start):
    @mg.workflow
    async def grouped() -> None:
        async def listen() -> None:
            Ask.handler(lambda text: text)
            await reserve()

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            group.create_task(charge())

    run = start(grouped)
    assert ask(run)[-1] == "answered u1"


def test_code_that_no_longer_has_the_handler_does_not_fit_the_journal(start):
    from tests.engine.kit import replayed

    @mg.workflow(name="thorough")
    async def today() -> None:
        await charge()

    run = start(thorough)
    ask(run)
    with pytest.raises(mg.DeterminismError):
        replayed(today, run.entries)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Ask.handler(5), "is no function"),
        (lambda: Ask.handler(str, validator=patient.function), "plain function"),
        (lambda: Ask.handler(str, validator=5), "plain function"),
    ],
    ids=["no function", "async validator", "no validator"],
)
def test_a_handler_that_cannot_work_is_refused_where_it_is_registered(start, wrong, message):
    @mg.workflow
    async def registering() -> str:
        try:
            wrong()
        except mg.UsageError as error:
            return str(error)
        return "accepted"

    assert message in msgspec.json.decode(start(registering).state.result)


def test_a_handler_is_registered_inside_a_workflow():
    with pytest.raises(mg.OutsideWorkflow, match="update ask"):
        Ask.handler(str)


@pytest.mark.parametrize("types", [("str", str), (str, "str"), (object(), str)], ids=str)
def test_an_update_is_declared_with_types_that_can_be_stored(types):
    with pytest.raises(mg.DefinitionError, match="update ask"):
        mg.Update("ask", *types)


@pytest.mark.parametrize("name", ["", "a b", "1st", "x" * 101])
def test_an_update_has_a_usable_name(name):
    with pytest.raises(mg.DefinitionError, match="no usable name"):
        mg.Update(name, str, str)
