"""``complete`` and ``fail``: whoever has a step's token ends it from the command line."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg
from tests.cli.shop import sign_off
from tests.until import eventually


@pytest.fixture
def token(place) -> str:
    """The token of a step that waits in run paper-1."""

    async def begin() -> None:
        async with mg.Engine("sqlite:///makegood.db") as engine:
            run = await engine.start(sign_off, "lease", id="paper-1")

            async def is_pending() -> bool:
                return [step.state for step in (await run.describe()).steps] == ["pending"]

            await eventually(is_pending)

    asyncio.run(begin())
    return (place / "token").read_text()


def test_complete_gives_the_step_its_result(makegood, token):
    done = makegood("complete", token, "--result", '"signed"', "--by", "ann", "--with", "shop")
    assert (done.code, done.out) == (0, '"lease signed"\n')
    history = makegood("history", "paper-1", "--json").json
    assert [item["fields"]["by"] for item in history if item["event"] == "CompletionArrived"] == ["ann"]


def test_the_second_completion_is_refused(makegood, token):
    makegood("complete", token, "--result", '"signed"', "--with", "shop")
    again = makegood("complete", token, "--result", '"torn"', "--with", "shop", "--json")
    assert (again.code, again.error["type"]) == (2, "NotPossible")


def test_a_result_of_the_wrong_type_is_refused(makegood, token):
    wrong = makegood("complete", token, "--result", "7", "--with", "shop", "--json")
    assert (wrong.code, wrong.error["type"]) == (2, "PayloadError")


def test_fail_ends_the_attempt(makegood, token):
    ended = makegood("fail", token, "--why", "the pen is empty", "--with", "shop", "--json")
    assert ended.json["run"]["status"] == "FAILED"
    assert ended.json["run"]["failure"]["message"] == "the pen is empty"


def test_a_text_that_is_no_token_is_refused(makegood):
    wrong = makegood("complete", "nonsense", "--json")
    assert (wrong.code, wrong.error["type"]) == (2, "UsageError")


def test_show_tells_that_somebody_is_waited_for(makegood, token):
    shown = makegood("show", "paper-1", "--json").json
    assert shown["waiting_for"] == "step sign: completion from outside"
