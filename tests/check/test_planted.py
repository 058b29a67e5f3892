"""Every planted mistake is found, with its file, its line and its code; and nothing else."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from makegood.check import CODES, findings

PLANTED = sorted(path.stem for path in Path(__file__).with_name("planted").glob("*.py"))
CLEAN = sorted(path.stem for path in Path(__file__).with_name("clean").glob("*.py"))


def planted(name: str) -> tuple[Path, set[tuple[int, str]]]:
    """The file, and where it expects which codes."""
    path = Path(__file__).parent / "planted" / f"{name}.py"
    lines = enumerate(path.read_text().splitlines(), start=1)
    return path, {(line, code) for line, text in lines for code in re.findall(r"expect: (MG\d+)", text)}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found_where_it_is(name):
    path, expected = planted(name)
    found = findings(importlib.import_module(f"tests.check.planted.{name}"))
    assert {(one.line, one.code) for one in found} == expected
    assert {one.file for one in found} == {str(path)}


def test_every_code_is_planted():
    assert {code for name in PLANTED for _, code in planted(name)[1]} == set(CODES)


@pytest.mark.parametrize("name", CLEAN)
def test_what_looks_dangerous_and_is_right_is_left_alone(name):
    assert findings(importlib.import_module(f"tests.check.clean.{name}")) == []
