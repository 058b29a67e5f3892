"""Code that is changed under a running run, from deploy to deploy, each of them a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result

MODULE = """
import makegood as mg
from pathlib import Path


def effect(name):
    with Path("effects").open("a") as effects:
        effects.write(f"{name}\\n")


@mg.step
async def charge(): effect("charge")

@mg.step
async def reserve(): effect("reserve")

@mg.step
async def insure(): effect("insure")

@mg.step(retry=None, on_exhausted="park")
async def approve():
    if not Path("open").exists():
        raise ConnectionError("closed")
    effect("approve")


@mg.workflow
async def order():
"""
BEFORE = "await charge(); await reserve(); await approve()"
INSERTED = "await charge(); await insure(); await reserve(); await approve()"
PATCHED = """
    await charge()
    if mg.patched("insure"):
        await insure()
    await reserve()
    await approve()
    if mg.patched("insure-late"):
        await insure()
"""
CHANGES = [
    pytest.param(INSERTED, ["-StepScheduled: reserve", "+StepScheduled: insure"], id="insert"),
    pytest.param(
        "await charge(); await approve()", ["-StepScheduled: reserve", "+StepScheduled: approve"], id="delete"
    ),
    pytest.param(
        "await reserve(); await charge(); await approve()",
        ["-StepScheduled: charge", "+StepScheduled: reserve"],
        id="reorder",
    ),
    pytest.param(
        "await charge(); await reserve.options(name='hold')(); await approve()",
        ["-StepScheduled: reserve", "+StepScheduled: hold"],
        id="rename",
    ),
]


@pytest.fixture
def deploy(place) -> Callable[[str], object]:
    """Put other code for the workflow in place."""
    return lambda body: (place / "deployed.py").write_text(f"{MODULE}    {body}\n")


@pytest.fixture
def ran(process) -> Callable[..., Result]:
    """Run a command to its end, as a process of its own."""

    def run(*words: str) -> Result:
        child: subprocess.Popen[str] = process(*words)
        out, err = child.communicate(timeout=60)
        return Result(child.returncode, out, err)

    return run


@pytest.fixture
def waiting(deploy, ran) -> None:
    """Run order-1 has begun with the code as it was, and is parked at its third step."""
    deploy(BEFORE)
    assert ran("run", "deployed:order", "--id", "order-1").code == 1


@pytest.mark.parametrize(("changed", "diff"), CHANGES)
def test_changed_code_is_shown_against_the_journal_and_corrected_code_goes_on(
    waiting, deploy, ran, changed: str, diff: list[str]
):
    deploy(changed)
    refused = ran("resume", "order-1", "--why", "deployed", "--with", "deployed")
    assert refused.code == 2
    assert "".join(f"{line}\n" for line in diff) in refused.err
    shown = ran("show", "order-1").out
    assert "PARKED" in shown
    assert all(line in shown for line in diff)
    assert "makegood resume order-1" in shown

    deploy(BEFORE)
    Path("open").touch()
    assert ran("resume", "order-1", "--why", "corrected", "--with", "deployed").code == 1
    assert ran("retry", "order-1", "--why", "open again", "--with", "deployed").code == 0
    assert Path("effects").read_text().split() == ["charge", "reserve", "approve"]
    assert ran("verify", "order-1").code == 0


def test_what_is_inserted_with_patched_fits_the_journal(waiting, deploy, ran, effects):
    deploy(INSERTED)
    assert ran("resume", "order-1", "--why", "deployed", "--with", "deployed").code == 2
    deploy(PATCHED.strip())
    Path("open").touch()
    assert ran("resume", "order-1", "--why", "corrected", "--with", "deployed").code == 1
    assert ran("retry", "order-1", "--why", "open again", "--with", "deployed").code == 0
    assert effects() == ["charge", "reserve", "approve", "insure"]


def test_a_run_that_fits_its_code_cannot_be_resumed(waiting, ran):
    refused = ran("resume", "order-1", "--why", "hope", "--with", "deployed")
    assert refused.code == 2
    assert "cannot resume: it is PARKED, and its code fits its journal" in refused.err
    assert "retry, skip or resolve" in refused.err
