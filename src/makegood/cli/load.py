"""Finding what the command line names: the user's modules and workflows, and JSON values."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from makegood import UsageError, Workflow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


def load_module(name: str) -> ModuleType:
    """Import a module as ``python -m`` would: the current directory comes first.

    Raises:
        UsageError: there is none of that name. What the module itself raises is passed on.
    """
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(f"{name!r} is a path: name the module as an import would, {dotted}.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name}, neither in {directory} nor installed."
            ) from None
        raise
    except (ValueError, TypeError):
        raise UsageError(f"{name!r} is no module name.") from None


def load_workers_modules(names: Iterable[str]) -> list[ModuleType]:
    """Modules that each hold a workflow.

    Raises:
        UsageError: one does not exist or holds none.
    """
    modules = [load_module(name) for name in names]
    for module in modules:
        if not workflows_of(module):
            raise UsageError(f"module {module.__name__} holds no function decorated with @mg.workflow.")
    return modules


def load_workflow(target: str) -> Workflow[..., Any]:
    """The workflow that ``MODULE:WORKFLOW`` names, by its function's name or its own.

    Raises:
        UsageError: there is none.
    """
    module_name, separator, name = target.partition(":")
    if not module_name or (separator and not name):
        raise UsageError(f"{target!r} names no workflow: write MODULE:WORKFLOW, such as orders:fulfil_order.")
    module = load_module(module_name)
    known = workflows_of(module)
    if name not in known:
        listed = ", ".join(f"{module_name}:{known_name}" for known_name in known) or "none"
        missing = f"no workflow {name}" if name else "to be told which workflow"
        verb = "has" if name else "needs"
        raise UsageError(f"{target!r} {verb} {missing}. The workflows of that module: {listed}.")
    return known[name]


def workflows_of(module: ModuleType) -> dict[str, Workflow[..., Any]]:
    """A module's workflows by name: the function's, and where it differs, the declared one (of its newest version)."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Workflow)}
    by_version = sorted(found.values(), key=lambda workflow: workflow.version)
    return {workflow.name: workflow for workflow in by_version} | found


def read_json(text: str) -> bytes:
    """What ``--input`` gives: JSON itself, ``@FILE`` or ``-`` for stdin.

    Raises:
        UsageError: the file cannot be read.
    """
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"--input {text}: {error.strerror}.") from error


def parse_json(text: str | bytes, option: str) -> Any:
    """A value given as JSON.

    Raises:
        UsageError: it is no JSON.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UsageError(
            f"{option} {text!r} is no JSON: {error}. A text needs its quotes: {option} '\"paid\"'."
        ) from error
