"""``check``: the saga verifier's findings about modules, for people and for programs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from makegood import DefinitionError, Step, UsageError, Workflow
from makegood.check import findings, refused
from makegood.cli.load import load_module
from makegood.cli.options import ExitCode, JsonOption
from makegood.cli.output import Output, others_to_stderr, readable, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from makegood.check import Finding


def check(
    modules: Annotated[
        list[str], typer.Argument(metavar="MODULE...", help="Modules with workflows and steps.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Look for mistakes in workflows and steps, without running them.

    Exits with 1 if there is anything to correct, or to vouch for.
    """
    output = Output(as_json=as_json)
    with others_to_stderr(logging.WARNING):
        found = sorted({finding for name in modules for finding in _of_module(name)})
    if as_json:
        output.data(found)
    elif not found:
        output.show(Text(f"{visible(', '.join(modules))}: nothing found.", "green"))
    else:
        for finding in found:
            output.show(*_shown(finding))
        output.show(Text(f"\n{len(found):,} finding(s).", "bold"))
    raise typer.Exit(ExitCode.OTHERWISE if found else ExitCode.OK)


def _of_module(name: str) -> list[Finding]:
    try:
        module = load_module(name)
    except DefinitionError as error:
        finding = refused(error)
        if finding is None:
            raise
        return [finding]
    if not any(isinstance(value, (Workflow, Step)) for value in vars(module).values()):
        raise UsageError(f"module {name} holds no function decorated with @mg.workflow or @mg.step.")
    return findings(module)


def _shown(finding: Finding) -> Iterator[RenderableType]:
    place = f"{visible(_shortest(finding.file))}:{finding.line}"
    yield Text.assemble((place, "cyan"), "  ", (finding.code, "bold red"))
    yield Padding(Text(readable(finding.what)), (0, 0, 0, 2))
    yield Padding(Text(readable(finding.advice), "dim"), (0, 0, 0, 2))


def _shortest(file: str) -> str:
    """The path from here, for what lies below."""
    path = Path(file)
    return os.path.relpath(file) if path.is_relative_to(Path.cwd()) else file
