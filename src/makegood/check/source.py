"""Source files as the verifier reads them: their syntax trees, functions and remarks. The only place that reads files.

``# makegood: no effect`` at a step's declaration is its author's word that it leaves nothing behind.
``# makegood: ignore[MG101]`` at a finding's lines accepts it. What follows, after a blank, is the reason.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from makegood.check.finding import CODES, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

REMARK = re.compile(r"#\s*makegood:\s*(.*)")
NO_EFFECT = re.compile(r"no effect\b")
IGNORE = re.compile(r"ignore\[\s*(\w+(?:\s*,\s*\w+)*)\s*\]")


class Source:
    """One file's text, taken apart."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.tree = ast.parse(text, filename=file)

    @cached_property
    def functions(self) -> dict[tuple[str, int], FunctionNode]:
        """Every function by its name and its first line, which is that of its first decorator."""
        found = (node for node in ast.walk(self.tree) if isinstance(node, FunctionNode))
        return {(node.name, first_line(node)): node for node in found}

    @cached_property
    def imports(self) -> dict[str, str]:
        """What the names that the module itself imports stand for: ``{"mg": "makegood"}``."""
        return imported(self.tree.body)

    @cached_property
    def remarks(self) -> dict[int, str]:
        """What follows ``# makegood:``, by line."""
        if "makegood:" not in self.text:
            return {}
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        comments = (
            (token.start[0], REMARK.match(token.string)) for token in tokens if token.type == tokenize.COMMENT
        )
        return {line: found[1].strip() for line, found in comments if found is not None}

    def says_no_effect(self, lines: Iterable[int]) -> bool:
        """Whether the author says so on one of these lines."""
        return any(NO_EFFECT.match(self.remarks.get(line, "")) for line in lines)

    def ignores(self, code: str, lines: Iterable[int]) -> bool:
        """Whether a finding with this code is accepted on one of these lines."""
        remarks = (IGNORE.match(self.remarks.get(line, "")) for line in lines)
        return any(found is not None and code in re.split(r"\s*,\s*", found[1]) for found in remarks)

    def misunderstood(self) -> Iterator[Finding]:
        """Remarks that say nothing to the verifier."""
        for line, remark in self.remarks.items():
            ignored = IGNORE.match(remark)
            unknown = (
                [] if ignored is None else [c for c in re.split(r"\s*,\s*", ignored[1]) if c not in CODES]
            )
            if unknown or (ignored is None and not NO_EFFECT.match(remark)):
                wrong = (
                    f"There is no code {unknown[0]}"
                    if unknown
                    else f"{remark!r} is no remark that can be understood"
                )
                yield Finding(
                    self.file,
                    line,
                    "MG901",
                    f"{wrong}: nothing is accepted by it.",
                    "Write `# makegood: no effect` or `# makegood: ignore[MG101]`.",
                )


class Sources:
    """Source files, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, Source | None] = {}

    def of(self, file: str) -> Source | None:
        """The source, or None if it cannot be read (a REPL, a compiled module)."""
        if file not in self._read:
            self._read[file] = _read(file)
        return self._read[file]


def _read(file: str) -> Source | None:
    try:
        with tokenize.open(Path(file)) as opened:  # in the encoding that the file declares
            return Source(file, opened.read())
    except (OSError, SyntaxError, ValueError):
        return None


def first_line(node: FunctionNode) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def declaration(node: FunctionNode) -> range:
    """The lines of a function's decorators and signature."""
    return range(first_line(node), max(node.lineno + 1, node.body[0].lineno))


def imported(statements: Iterable[ast.AST]) -> dict[str, str]:
    """What the names stand for that these statements import, also inside blocks, not inside functions."""
    names: dict[str, str] = {}
    for node in outside_functions(statements):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def outside_functions(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in statements:
        yield node
        if not isinstance(node, (FunctionNode, ast.ClassDef, ast.Lambda)):
            yield from outside_functions(ast.iter_child_nodes(node))
