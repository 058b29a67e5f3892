"""Services as processes of their own: how they start, fail, and end."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_kit.faults import Down, EffectThenTimeout
from service_kit.ledger import read_effects
from service_kit.processes import ServiceProcess, running

BUILD = "service_kit.tests.marks:build"
MARK = {"order_id": "order-1", "count": 1}
KEY = {"Idempotency-Key": "key-1"}

# A parent that starts a service, says so, and waits to be killed.
PARENT = f"""
import pathlib, sys
from service_kit.processes import running
with running({{"marks": "{BUILD}"}}, pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[ServiceProcess]:
    with running({"marks": BUILD}, tmp_path) as services:
        yield services["marks"]


def test_services_are_ready_inside_and_gone_outside(tmp_path: Path) -> None:
    with running({"one": BUILD, "two": BUILD}, tmp_path) as services:
        urls = [service.url for service in services.values()]
        assert [httpx.get(f"{url}/faults").status_code for url in urls] == [200, 200]

    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/faults")


def test_a_restart_keeps_the_address_and_what_was_done(marks: ServiceProcess) -> None:
    url = marks.url
    httpx.post(f"{url}/marks", json=MARK, headers=KEY)
    marks.restart()

    assert marks.url == url
    assert httpx.post(f"{url}/marks", json=MARK, headers=KEY).headers["Idempotent-Replay"] == "true"


def test_a_service_that_cannot_start_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(RuntimeError, match="marks ended with status 1 before it was ready"),
        running({"marks": "service_kit.tests.marks:missing"}, tmp_path),
    ):
        pass

    assert "missing" in capfd.readouterr().err


def test_an_answer_can_be_lost_after_the_effect(marks: ServiceProcess) -> None:
    marks.set_faults(EffectThenTimeout(close=True, times=1))

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{marks.url}/marks", json=MARK, headers=KEY)

    assert [effect.key for effect in read_effects(marks.ledger)] == ["key-1"]
    assert httpx.post(f"{marks.url}/marks", json=MARK, headers=KEY).headers["Idempotent-Replay"] == "true"


def test_an_answer_can_be_later_than_a_client_waits(marks: ServiceProcess) -> None:
    marks.set_faults(EffectThenTimeout(seconds=60, times=1))

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{marks.url}/marks", json=MARK, headers=KEY, timeout=2)

    assert httpx.get(f"{marks.url}/marks", params={"key": "key-1"}).status_code == 200


def test_a_service_can_drop_the_connection_without_doing_anything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running({"marks": BUILD}, tmp_path) as services:
        marks = services["marks"]
        marks.set_faults(Down(close=True, times=1))
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{marks.url}/marks", json=MARK, headers=KEY)

        assert read_effects(marks.ledger) == []
        assert httpx.post(f"{marks.url}/marks", json=MARK, headers=KEY).status_code == 201

    assert capfd.readouterr().err == ""  # nor does it complain of itself


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_at_once_although_an_answer_is_due(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "service_kit.run", BUILD, "--ledger", str(tmp_path / "marks.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        plan = {"faults": [{"fault": "effect_then_timeout", "seconds": 3600}]}
        httpx.put(f"{url}/faults", json=plan)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/marks", json=MARK, headers=KEY, timeout=0.5)
        process.send_signal(ending)
        try:
            assert process.wait(timeout=30) == -ending
        finally:
            process.kill()


def test_no_service_outlives_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        # Both processes hold the error pipe: it ends when both are gone.
        assert parent.communicate(timeout=30) == ("", "")
