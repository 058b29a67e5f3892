"""The fixture ``crash_matrix``, in a pytest of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

SHOP = """
import makegood as mg

class Bank:
    def __init__(self):
        self.balance, self.seen = 0, set()

    def book(self, amount, key):
        if key not in self.seen:
            self.seen.add(key)
            self.balance += amount

bank = Bank()

@mg.step
async def charge(amount: int) -> None:
    bank.book(-amount, mg.idempotency_key())

@charge.compensation
async def refund(_: None, amount: int) -> None:
    if mg.original_key() in bank.seen:
        bank.book(amount, mg.idempotency_key())

@mg.step
async def gift(amount: int) -> None:
    bank.book(-1, {key})

@gift.compensation
async def take_back(_: None, amount: int) -> None:
    pass

@mg.workflow
async def order(amount: int) -> None:
    await charge(amount)
    mg.pivot()
    await gift(amount)

def test_order(crash_matrix):
    crash_matrix(order, 5, state=lambda: bank.balance, reset=bank.__init__)
"""


def run_pytest(tmp_path, source):
    (tmp_path / "test_shop.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "makegood.testing.plugin",
        "-p",
        "no:cacheprovider",
        "-q",
        ".",
    ]
    return subprocess.run(
        command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )


def test_the_fixture_passes_and_names_compensations_that_never_ran(tmp_path):
    ran = run_pytest(tmp_path, SHOP.replace("{key}", "mg.idempotency_key()"))

    assert ran.returncode == 0, ran.stdout
    assert "compensations that never ran in any test" in ran.stdout
    assert "take_back, of step gift in test_shop" in ran.stdout
    assert "refund" not in ran.stdout


def test_a_failure_shows_the_shortest_history_and_no_traceback(tmp_path):
    ran = run_pytest(tmp_path, SHOP.replace("{key}", "mg.idempotency_key() + str(mg.attempt())"))

    assert ran.returncode == 1
    assert "gift ignores its idempotency key" in ran.stdout
    assert "gift(5) (attempt 2) -> None  [-6 => -7]" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert "matrix.py" not in ran.stdout


def test_pytest_finds_the_plugin_by_its_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["pytest11"] == {"makegood.testing.plugin": "makegood.testing.plugin"}
    assert not any("pytest" in dependency for dependency in project["dependencies"])
