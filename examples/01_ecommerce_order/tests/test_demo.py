"""The demo as a user runs it, and with a workflow that is broken on purpose: then it must fail, and say where."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ended:
    status: int
    output: str
    errors: str

    def lines(self, beginning: str) -> list[str]:
        return [line.strip() for line in self.output.splitlines() if line.strip().startswith(beginning)]

    def audited(self, figure: str) -> str:
        rows = [[cell.strip() for cell in line.split("│")] for line in self.output.splitlines()]
        return next(row[2] for row in rows if row[1:2] == [figure])


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ended]]:
    """The demos, run side by side: each waits for services most of the time."""
    demos = {
        "whole": start(EXAMPLE, "--orders", "20", "--seed", "7"),
        "no refund": start(without_refund(tmp_path_factory.mktemp("copy")), "--orders", "0"),
    }
    results: dict[str, Ended] = {}

    def result(name: str) -> Ended:
        if name not in results:
            output, errors = demos[name].communicate(timeout=110)
            results[name] = Ended(demos[name].returncode, output, errors)
        return results[name]

    yield result
    for name, demo in demos.items():
        demo.kill()
        for line in result(name).lines("The ledgers, the journal and the engine's log are in "):
            rmtree(line.rpartition(" ")[2])


def without_refund(directory: Path) -> Path:
    """A copy of the example whose charges are never refunded."""
    copy = copytree(EXAMPLE, directory / "example", ignore=ignore_patterns("__pycache__", ".*_cache"))
    text = (copy / "workflow.py").read_text()
    refund = 'await undo(PAYMENT, "/refunds", order.id)'
    assert refund in text
    (copy / "workflow.py").write_text(text.replace(refund, "pass"))
    return copy


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "demo.py", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{EXAMPLE.parent}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_everything_goes_as_told_and_adds_up(ended: Callable[[str], Ended]) -> None:
    demo = ended("whole")

    assert (demo.status, demo.errors) == (0, "")
    assert len(demo.lines("✓ journal: ")) == 8
    assert len(demo.lines("✓ ledgers: ")) == 7
    assert len(demo.lines("! kill -9")) == 4
    assert demo.audited("orders") == "27"
    for violation in ("double charges", "lost", "cents that do not add up"):
        assert demo.audited(violation) == "0"


def test_without_a_terminal_the_output_is_plain_and_at_most_80_columns_wide(
    ended: Callable[[str], Ended],
) -> None:
    output = ended("whole").output

    assert "\x1b" not in output
    assert [line for line in output.splitlines() if len(line) > 80] == []


def test_a_workflow_that_refunds_nothing_is_found_out(ended: Callable[[str], Ended]) -> None:
    demo = ended("no refund")

    assert demo.status == 1
    assert demo.lines("✗ scenario") == [f"✗ scenario {number} did not go as told" for number in (2, 3, 4)]
    assert demo.audited("lost") == "3"
