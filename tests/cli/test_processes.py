"""Real processes: killed, stopped, and worked for by one another."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.cli.shop import ORDER
from tests.until import PATIENCE_SECONDS


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def wait_for_line(stream, words: str) -> str:
    """Read until a line has these words."""
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"the process ended without saying {words!r}")


@pytest.fixture
def held(process, place):
    """A process that runs order-1 and is in the middle of its first step."""
    (place / "hold").touch()
    child = process("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    wait_for((place / "charging").exists)
    return child


def test_a_killed_run_goes_on_with_the_same_command(held, makegood, works, effects):
    held.kill()
    held.wait()
    works("hold")
    done = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    assert (done.code, done.out) == (0, '"a shipped for 10.50"\n')
    assert effects() == ["charge", "ship", "thank"]


def test_sigterm_lets_the_attempt_under_way_finish_and_be_recorded(held, makegood, works, effects):
    held.send_signal(signal.SIGTERM)
    wait_for_line(held.stderr, "attempts under way may finish")
    works("hold")
    _, told = held.communicate(timeout=PATIENCE_SECONDS)
    assert held.returncode == 128 + signal.SIGTERM
    assert "order-1 goes on with the same command" in told
    run = makegood("show", "order-1", "--json").json
    assert run["steps"][0]["result"] == "receipt a"
    assert effects() == ["charge"]


def test_a_run_in_another_process_is_watched_to_its_end(process, place, works):
    (place / "hold").touch()
    child = process("run", "shop:track", "--input", ORDER, "--id", "order-1")
    wait_for((place / "charging").exists)
    watching = process("view", "order-1", "--watch", "--json")
    first = json.loads(watching.stdout.readline())
    works("hold")
    told, _ = watching.communicate(timeout=PATIENCE_SECONDS)
    last = json.loads(told.splitlines()[-1])
    child.communicate(timeout=PATIENCE_SECONDS)
    assert (first["status"], first["steps_pending"]) == ("new", ["charge", "ship"])
    assert (last["status"], last["steps_completed"]) == ("paid", ["charge", "ship"])
    assert watching.returncode == 0


def test_watching_is_stopped_by_a_signal_and_the_run_goes_on(held, process, works):
    watching = process("view", "order-1", "--watch", "--json")
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=PATIENCE_SECONDS)
    works("hold")
    held.communicate(timeout=PATIENCE_SECONDS)
    assert (watching.returncode, held.returncode) == (128 + signal.SIGINT, 0)


def test_a_second_signal_ends_the_process_at_once(held, makegood, effects):
    held.send_signal(signal.SIGINT)
    wait_for_line(held.stderr, "attempts under way may finish")
    held.send_signal(signal.SIGINT)
    assert held.wait(timeout=PATIENCE_SECONDS) == 128 + signal.SIGINT
    assert makegood("show", "order-1", "--json").json["status"] == "RUNNING"
    assert effects() == []


def test_the_grace_for_attempts_under_way_is_limited(process, place, effects):
    (place / "hold").touch()
    child = process("run", "shop:fulfil", "--input", ORDER, "--id", "order-1", "--grace", "0", "--json")
    wait_for((place / "charging").exists)
    child.send_signal(signal.SIGTERM)
    _, told = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 128 + signal.SIGTERM
    assert json.loads(told)["error"]["type"] == "Interrupted"
    assert effects() == []


def test_a_step_stuck_in_a_thread_does_not_hold_the_process(process, place):
    (place / "other.py").write_text(
        "import threading\nfrom pathlib import Path\nimport makegood as mg\n\n"
        "@mg.step\ndef stick() -> None:\n    Path('stuck').touch()\n    threading.Event().wait()\n\n"
        "@mg.workflow\nasync def wait() -> None:\n    await stick()\n"
    )
    child = process("run", "other:wait", "--grace", "0.1")
    wait_for((place / "stuck").exists)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_a_worker_finishes_what_others_left_and_drains_on_sigterm(held, process, makegood, works):
    held.kill()
    held.wait()
    works("hold")
    worker = process("worker", "shop", "--json")
    assert json.loads(worker.stdout.readline())["workflows"] == [
        "fulfil",
        "track",
        "approval",
        "visit",
        "register",
        "total",
        "spread",
        "basket",
        "sign_off",
    ]
    wait_for(lambda: makegood("show", "order-1", "--json").json["status"] == "COMPLETED")
    worker.send_signal(signal.SIGTERM)
    out, _ = worker.communicate(timeout=PATIENCE_SECONDS)
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["draining", "stopped"]
    assert worker.returncode == 0


@pytest.fixture
def patient(monkeypatch):
    """Another process may need its time to answer."""
    monkeypatch.setattr("makegood.backend.local.ANSWER_SECONDS", PATIENCE_SECONDS)


@pytest.mark.usefixtures("patient")
def test_a_request_is_carried_out_by_the_process_that_works(process, makegood, fails, works):
    fails("approve")
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask-1")
    works("approve")
    process("worker", "shop", "--json").stdout.readline()
    answered = makegood("retry", "ask-1", "--why", "open again", "--json")
    assert (answered.code, answered.json["carried_out"]) == (0, True)
    wait_for(lambda: makegood("show", "ask-1", "--json").json["status"] == "COMPLETED")


@pytest.mark.usefixtures("patient")
def test_a_refusal_comes_back_from_the_process_that_works(held, makegood):
    refused = makegood("retry", "order-1", "--why", "impatient")
    assert refused.code == 2
    assert "order-1 cannot retry: it is RUNNING, not PARKED" in refused.err


@pytest.mark.usefixtures("patient")
def test_a_run_can_be_cancelled_from_another_process(held, makegood, effects):
    assert makegood("cancel", "order-1", "--why", "changed my mind").code == 0
    _, told = held.communicate(timeout=PATIENCE_SECONDS)
    assert held.returncode == 1
    assert "order-1 ended CANCELLED" in told


def test_a_run_started_while_another_process_works_is_done_there_and_shown_here(process, makegood, effects):
    process("worker", "shop", "--json").stdout.readline()
    done = makegood("run", "shop:fulfil", "--input", ORDER)
    assert (done.code, done.out) == (0, '"a shipped for 10.50"\n')
    assert effects() == ["charge", "ship", "thank"]


def test_help_and_version_need_nothing(process):
    for words, told in (
        (["--help"], "resolve"),
        (["--version"], "makegood "),
        (["run", "--help"], "--input"),
    ):
        out, _ = process(*words).communicate(timeout=PATIENCE_SECONDS)
        assert told in out
