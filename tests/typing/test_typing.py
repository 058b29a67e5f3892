"""Runs mypy on the typing assertions beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_a_type_checker_sees_the_steps_own_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    report, errors, status = api.run(
        [
            "--config-file=pyproject.toml",
            "--follow-imports=silent",
            f"--python-executable={sys.executable}",
            str(HERE / "assertions.py"),
        ]
    )
    assert (status, errors) == (0, ""), report
