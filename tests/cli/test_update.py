"""``makegood update``: a question to the process that works on a run, and its reply."""

from __future__ import annotations

import pytest

from tests.cli.test_processes import wait_for
from tests.until import PATIENCE_SECONDS


@pytest.fixture
def registering(process, place):
    """A process whose run guest-1 waits to be renamed."""
    child = process("run", "shop:register", "--input", '"Ann"', "--id", "guest-1")
    wait_for((place / "charging").exists)
    return child


def test_the_reply_is_printed_and_the_run_goes_on(registering, makegood):
    asked = makegood("update", "guest-1", "rename", "--input", '"Bea"', "--by", "Eve")
    assert (asked.code, asked.out) == (0, '"Ann is Bea now"\n')
    told, _ = registering.communicate(timeout=PATIENCE_SECONDS)
    assert told == '"Bea"\n'
    history = makegood("history", "guest-1", "--json").json
    assert [item["fields"]["by"] for item in history if item["event"] == "UpdateAccepted"] == ["Eve"]


def test_a_program_is_given_the_reply_and_the_same_under_the_same_id_later(registering, makegood):
    words = ("update", "guest-1", "rename", "--input", "-", "--id", "click-7", "--json")
    first = makegood(*words, stdin='"Bea"')
    registering.communicate(timeout=PATIENCE_SECONDS)
    again = makegood(*words, stdin='"Bea"')
    assert first.json == again.json == {"id": "guest-1", "update": "rename", "reply": "Ann is Bea now"}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ('""', (2, "UpdateRejected"), "everybody has a name"),
        ("5", (2, "PayloadError"), "does not fit"),
        ('"nobody"', (1, "UpdateFailed"), "nobody is nobody"),
    ],
)
def test_a_question_that_is_refused_or_fails_says_why(registering, makegood, given, error, message):
    asked = makegood("update", "guest-1", "rename", "--input", given, "--json")
    assert (asked.code, asked.error["type"]) == error
    assert message in asked.error["message"]


def test_without_an_answer_in_time_it_says_how_to_hear_it_later(registering, makegood):
    registering.kill()
    registering.communicate()
    asked = makegood(
        "update", "guest-1", "rename", "--input", '"Bea"', "--id", "c", "--timeout", "0.1", "--json"
    )
    assert (asked.code, asked.error["type"]) == (1, "TimeoutError")
    assert "ask again under the id c." in asked.error["message"]


def test_an_unknown_run_answers_nothing(makegood, registering):
    asked = makegood("update", "guest-2", "rename", "--input", '"Bea"', "--json")
    assert (asked.code, asked.error["type"]) == (2, "RunNotFound")
