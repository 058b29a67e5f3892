"""``makegood demo`` finds the example and runs it."""

from __future__ import annotations

import pytest

from makegood import UsageError
from makegood.cli.demo import find_example

PRINTER = """
import os, sys, pathlib
import beside, kit
print(*sys.argv[1:], pathlib.Path.cwd().name)
sys.exit(int(os.environ["DEMO_CODE"]))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package directory with an example that tells how it was called."""
    example = tmp_path / "makegood" / "_examples" / "01_ecommerce_order"
    example.mkdir(parents=True)
    (example / "demo.py").write_text(PRINTER)
    (example / "beside.py").touch()
    (example.parent / "kit.py").touch()
    monkeypatch.setattr("makegood.__file__", str(tmp_path / "makegood" / "__init__.py"))
    return example


def test_the_example_of_the_installed_package_comes_first(installed):
    assert find_example(installed.parents[1]) == installed


def test_in_a_source_checkout_the_example_lies_beside_the_sources(tmp_path):
    example = tmp_path / "examples" / "01_ecommerce_order"
    example.mkdir(parents=True)
    (example / "demo.py").touch()
    assert find_example(tmp_path / "src" / "makegood") == example


def test_a_missing_example_is_told_with_where_it_should_be(tmp_path):
    with pytest.raises(UsageError, match="_examples"):
        find_example(tmp_path / "src" / "makegood")


@pytest.mark.parametrize("code", [0, 1, 5])
def test_the_demo_runs_where_it_lies_and_its_exit_code_is_passed_on(installed, makegood, capfd, code):
    ended = makegood("demo", "--orders", "7", "--json", DEMO_CODE=str(code))
    assert ended.code == code
    assert capfd.readouterr().out == "--orders 7 --json 01_ecommerce_order\n"


def test_without_the_examples_packages_the_user_is_told_what_to_install(installed, makegood, monkeypatch):
    monkeypatch.setattr("makegood.cli.demo.NEEDED_PACKAGES", ("httpx", "absent_package"))
    refused = makegood("demo")
    assert refused.code == 2
    assert "absent_package: pip install 'makegood[examples]'" in refused.err
