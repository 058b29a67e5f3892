"""``makegood signal``: delivered by the process that works on the run, or kept for the next one."""

from __future__ import annotations

import pytest

from tests.cli.test_processes import wait_for
from tests.until import PATIENCE_SECONDS


@pytest.fixture
def waiting(process, makegood):
    """A process whose run visit-1 waits for a signal."""
    child = process("run", "shop:visit", "--input", '"Ann"', "--id", "visit-1")

    def waits() -> bool:
        shown = makegood("show", "visit-1", "--json")
        return shown.code == 0 and shown.json["waiting_for"] == "signal host_decision"

    wait_for(waits)
    return child


def events(makegood, kind: str) -> list[dict[str, object]]:
    history = makegood("history", "visit-1", "--json").json
    return [item["fields"] for item in history if item["event"] == kind]


def test_a_signal_is_delivered_to_the_process_that_works_on_the_run(waiting, makegood):
    sent = makegood("signal", "visit-1", "host_decision", "--input", "true", "--by", "Eve", "--json")
    told, _ = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert (sent.code, sent.json["action"], sent.json["carried_out"]) == (0, "signal", True)
    assert told == '"Ann is welcome"\n'
    assert [event["by"] for event in events(makegood, "SignalReceived")] == ["Eve"]


def test_a_signal_is_read_from_a_file_and_sent_once_under_its_id(waiting, makegood, place):
    (place / "no.json").write_text("false")
    makegood("signal", "visit-1", "misspelt", "--id", "n1", "--input", "@no.json")
    makegood("signal", "visit-1", "misspelt", "--id", "n1", "--input", "-", stdin="false")
    makegood("signal", "visit-1", "host_decision", "--input", "-", stdin="false")
    told, _ = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert told == '"Ann is turned away"\n'
    assert events(makegood, "SignalsLeft") == [{"signals": [1]}]
    assert "signals left  misspelt false" in makegood("show", "visit-1").out


def test_a_signal_without_a_worker_is_stored_and_delivered_by_the_next(waiting, makegood):
    waiting.kill()
    waiting.communicate()
    stored = makegood("signal", "visit-1", "host_decision", "--input", "true")
    assert "stored, not carried out yet" in stored.out
    done = makegood("run", "shop:visit", "--input", '"Ann"', "--id", "visit-1")
    assert (done.code, done.out) == (0, '"Ann is welcome"\n')


@pytest.mark.parametrize("given", ['"yes"', "5", "null", "{}"])
def test_a_payload_of_the_wrong_type_is_refused(waiting, makegood, given):
    refused = makegood("signal", "visit-1", "host_decision", "--input", given, "--json")
    assert refused.code == 2
    assert "signal host_decision: the value does not fit the annotation bool" in refused.error["message"]


@pytest.mark.parametrize("given", ["yes", "", "{", "@missing.json"])
def test_an_input_that_is_no_json_is_refused(makegood, given):
    assert makegood("signal", "visit-1", "host_decision", "--input", given).code == 2


def test_an_ended_and_an_unknown_run_take_no_signal(waiting, makegood):
    makegood("signal", "visit-1", "host_decision", "--input", "true")
    waiting.communicate(timeout=PATIENCE_SECONDS)
    late = makegood("signal", "visit-1", "host_decision", "--input", "true", "--json")
    assert (late.code, late.error["type"]) == (2, "NotPossible")
    lost = makegood("signal", "visit-2", "host_decision", "--input", "true", "--json")
    assert (lost.code, lost.error["type"]) == (2, "RunNotFound")
