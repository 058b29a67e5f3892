"""What an author vouches for is not reported again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import makegood as mg
from makegood.check import findings, refused

CHECK = Callable[[str], list[tuple[int, str]]]

CHARGE = """
import makegood as mg
from tests.check.world import bank

@mg.step(timeout=10){decorated}
async def charge(order: str) -> str:{declared}
    # first{commented}
    return await bank.charge(order)

@mg.workflow
async def fulfil(order: str) -> None:
    await charge(order){first}
    await charge(order)
"""
NOWHERE = dict.fromkeys(("decorated", "declared", "commented", "first"), "")


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CHECK:
    """The lines and codes of the findings about a module with this source."""
    monkeypatch.syspath_prepend(tmp_path)

    def look(source: str) -> list[tuple[int, str]]:
        (tmp_path / "looked_at.py").write_text(source)
        monkeypatch.delitem(sys.modules, "looked_at", raising=False)
        importlib.invalidate_caches()
        found = findings(importlib.import_module("looked_at"))
        return [(one.line, one.code) for one in found]

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return look


def test_without_a_remark_both_are_reported_at_the_declaration(check):
    assert check(CHARGE.format(**NOWHERE)) == [(6, "MG101"), (6, "MG201")]


@pytest.mark.parametrize("where", ["decorated", "declared"])
def test_a_step_without_effect_needs_neither_compensation_nor_key(check, where):
    assert check(CHARGE.format(**NOWHERE | {where: "  # makegood: no effect"})) == []


@pytest.mark.parametrize("where", ["decorated", "declared"])
def test_one_code_is_accepted_and_the_other_is_not(check, where):
    remark = "  # makegood: ignore[MG201] the bank knows each order by its name"
    assert check(CHARGE.format(**NOWHERE | {where: remark})) == [(6, "MG101")]


@pytest.mark.parametrize("codes", ["MG101,MG201", "MG101 , MG201", " MG201, MG101 "])
def test_several_codes_in_one_remark(check, codes):
    assert check(CHARGE.format(**NOWHERE | {"declared": f"  # makegood: ignore[{codes}]"})) == []


def test_a_remark_elsewhere_accepts_nothing(check):
    remark = "  # makegood: ignore[MG101, MG201]"
    assert check(CHARGE.format(**NOWHERE | {"first": remark})) == [(6, "MG101"), (6, "MG201")]


def test_a_remark_in_a_string_is_none(check):
    source = CHARGE.format(**NOWHERE).replace(
        "import makegood as mg", 'import makegood as mg\nTEXT = "# makegood: nothing"'
    )
    assert [code for _, code in check(source)] == ["MG101", "MG201"]


@pytest.mark.parametrize(
    "remark", ["ignore", "ignore MG101", "ignore[]", "noeffect", "ignore[MG101, MG1]", ""]
)
def test_a_remark_that_says_nothing_is_reported(check, remark):
    found = check(CHARGE.format(**NOWHERE | {"first": f"  # makegood: {remark}"}))
    assert (12, "MG901") in found


def test_a_declaration_that_is_refused_is_found_in_the_users_file(check):
    with pytest.raises(mg.DefinitionError) as error:
        check("import makegood as mg\n\n@mg.step(retry='soon')\nasync def charge() -> None: ...\n")
    finding = refused(error.value)
    assert finding is not None
    assert (Path(finding.file).name, finding.line, finding.code) == ("looked_at.py", 3, "MG001")
    assert "retry" in finding.what


def test_a_module_without_source_is_refused(monkeypatch):
    module = importlib.import_module("types").ModuleType("made_up")
    with pytest.raises(mg.UsageError, match="cannot be read"):
        findings(module)
