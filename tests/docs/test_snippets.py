"""Every Python snippet in the README and the docs runs, and prints what its comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.name}-{number}")
    for page in PAGES
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1)
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_runs_and_prints_what_it_says(snippet: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    for said in re.findall(r"print\(.*\)  # (.*)", snippet):
        assert said in ran.stdout


def test_the_first_example_has_at_most_twenty_five_lines() -> None:
    first = re.search(r"```python\n(.*?)```", PAGES[0].read_text(), re.DOTALL)

    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 25


def test_every_linked_file_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
