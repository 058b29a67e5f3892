"""The examples and every snippet of the README and the guides pass the verifier; and every code is documented."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from makegood.check import CODES, findings

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "check.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1)
    if "@mg.workflow" in snippet and page != GUIDE
]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*/workflow.py"))


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_has_no_findings(snippet: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = re.sub(r"\W", "_", request.node.callspec.id)
    path = tmp_path / f"{name}.py"
    path.write_text(re.sub(r"^asyncio\.run\(.*", "", snippet, flags=re.MULTILINE))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved by it
    try:
        spec.loader.exec_module(module)
        assert findings(module) == []
    finally:
        del sys.modules[name]


@pytest.mark.parametrize("workflow", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_has_no_findings(workflow: Path) -> None:
    command = "from makegood.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", command, "check", "workflow", "--json"],
        cwd=workflow.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stdout + ran.stderr


def test_the_guide_has_every_code() -> None:
    rows = dict(re.findall(r"^\| (MG\d+) \| ([^|]+?) \|", GUIDE.read_text(), re.MULTILINE))
    assert rows == CODES
