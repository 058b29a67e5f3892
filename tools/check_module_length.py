"""Fail when a module or a function has grown too long to read in one sitting.

Usage: ``python tools/check_module_length.py DIRECTORY...``
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 450
FUNCTION_LINES = 70


def too_long(path: Path) -> Iterator[str]:
    """Yield one message for the module at ``path`` and for each function in it that exceeds its limit."""
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    if lines > MODULE_LINES:
        yield f"{path}: {lines} lines, at most {MODULE_LINES}"
    for node in ast.walk(ast.parse(source, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name}() has {lines} lines, at most {FUNCTION_LINES}"


def main(directories: list[str]) -> int:
    """Check every Python file below ``directories``; return the exit status."""
    complaints = [
        complaint
        for directory in directories
        for path in sorted(Path(directory).rglob("*.py"))
        for complaint in too_long(path)
    ]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
