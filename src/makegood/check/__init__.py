"""The saga verifier: reads a module's workflows and steps, and says what will go wrong with them. Runs none of them.

``source`` reads files, ``code`` puts objects and syntax trees side by side, ``effects`` says what a function does to the
world. The rules: ``walk`` with ``saga`` along a workflow's paths, ``determinism``, ``awaiting``, ``declarations``.
``verifier`` asks them all.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from makegood.check.finding import CODES, Finding, refusal
from makegood.check.source import Sources
from makegood.check.verifier import Verifier
from makegood.errors import DefinitionError, UsageError

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = str(Path(__file__).parents[1])

__all__ = ["CODES", "Finding", "findings", "refused"]


def findings(module: ModuleType) -> list[Finding]:
    """What is wrong with the workflows and steps of an imported module, in the order of files and lines.

    Raises:
        UsageError: its source cannot be read.
    """
    sources = Sources()
    if sources.of(getattr(module, "__file__", None) or "") is None:
        raise UsageError(f"the source of module {module.__name__} cannot be read: check needs it.")
    return Verifier(module, sources).findings()


def refused(error: DefinitionError) -> Finding | None:
    """A declaration that makegood refused while its module was imported, as a finding; None if it is not known where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((PACKAGE, "<"))]
    return refusal(error, own[-1].filename, own[-1].lineno or 1) if own else None
