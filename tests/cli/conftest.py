from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from makegood.cli.app import app


class Result:
    """How a command ended: its exit code, what it wrote, and that as JSON."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that a program is told."""
        return json.loads(self.err)["error"]

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n--- stderr\n{self.err}"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """The current directory, with shop.py in it and nothing else."""
    shutil.copy(Path(__file__).with_name("shop.py"), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delenv("MAKEGOOD_STORE", raising=False)
    for name in ("shop", "other", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("makegood.backend.local.ANSWER_SECONDS", 0.2)
    return tmp_path


@pytest.fixture
def makegood(place) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*words: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        for name in ("shop", "other", "broken"):
            sys.modules.pop(name, None)
        result = CliRunner().invoke(app, list(words), input=stdin, env=environment)
        return Result(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(place):
    """Start a command as a process of its own; those that still run at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", "from makegood.cli import main; main()", *words],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def effects(place) -> Callable[[], list[str]]:
    """What really happened, in order."""

    def read() -> list[str]:
        file = place / "effects"
        return file.read_text().split() if file.exists() else []

    return read


@pytest.fixture
def fails(place) -> Callable[..., None]:
    """Have steps or compensations fail, with a message."""

    def fail(*names: str, message: str = "no") -> None:
        for name in names:
            (place / name).write_text(message)

    return fail


@pytest.fixture
def works(place) -> Callable[[str], None]:
    """Have a step or compensation work again."""
    return lambda name: (place / name).unlink()
