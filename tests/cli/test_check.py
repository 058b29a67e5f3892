"""The saga verifier on the command line."""

from __future__ import annotations

import sys

import pytest

ORDERS = """
import time
import makegood as mg

print("imported")

@mg.step
async def pack(order: str) -> str:
    return order

@mg.workflow
async def fulfil(order: str) -> str:
    return await pack(f"{order} {time.time()}")
"""


@pytest.fixture
def module(place, monkeypatch):
    """Write a module, and forget it afterwards."""

    def write(source: str, name: str = "other") -> None:
        (place / f"{name}.py").write_text(source)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return write


def test_findings_have_a_place_a_code_and_advice(makegood, module):
    module(ORDERS)
    checked = makegood("check", "other")
    assert checked.code == 1
    assert checked.out == (
        "other.py:13  MG401\n"
        "  time.time() reads the machine's clock, and a replay would read another time.\n"
        "  Use mg.now(), or read the clock in a step.\n"
        "\n"
        "1 finding(s).\n"
    )


def test_programs_get_one_object_for_each_finding(makegood, module, place):
    module(ORDERS)
    checked = makegood("check", "other", "other", "--json")
    assert checked.code == 1
    [finding] = checked.json
    assert finding.pop("what")
    assert finding.pop("advice")
    assert finding == {"file": str(place / "other.py"), "line": 13, "code": "MG401"}


def test_a_module_in_order_says_so(makegood, module):
    module(ORDERS.replace("{time.time()}", "{mg.now()}"))
    checked = makegood("check", "other")
    assert (checked.code, checked.out) == (0, "other: nothing found.\n")
    assert makegood("check", "other", "--json").json == []


def test_a_declaration_that_is_refused_is_a_finding(makegood, module):
    module(ORDERS.replace("@mg.step\n", "@mg.step(timeout=-1)\n"))
    checked = makegood("check", "other")
    assert checked.code == 1
    assert checked.out.startswith("other.py:7  MG001\n")
    assert "is not a duration" in checked.out


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("nowhere", "", "there is no module nowhere"),
        ("other.py", "", "is a path"),
        ("other", "import makegood", "holds no function decorated"),
    ],
)
def test_what_cannot_be_checked_is_refused(makegood, module, name, source, message):
    module(source)
    refused = makegood("check", name)
    assert refused.code == 2
    assert message in refused.err


def test_what_the_module_raises_is_shown_whole(makegood, module):
    module("raise RuntimeError('no bank')")
    failed = makegood("check", "other")
    assert failed.code == 3
    assert "RuntimeError: no bank" in failed.err
