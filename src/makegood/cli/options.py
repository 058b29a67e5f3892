"""The options that commands share, and the exit codes that they all keep to."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Annotated

import typer

DEFAULT_STORE = "sqlite:///makegood.db"
STORE_VARIABLE = "MAKEGOOD_STORE"


class ExitCode(IntEnum):
    """What a script can tell from a command's end. A command ended by signal N exits with 128 + N."""

    OK = 0
    OTHERWISE = 1  # the run did not complete, or is parked; `verify` found an alteration
    USAGE = 2  # the command cannot work like this; nothing was changed
    TROUBLE = 3  # the store or makegood failed


StoreOption = Annotated[
    str, typer.Option("--store", envvar=STORE_VARIABLE, metavar="URL", help="Where the runs are kept.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
RunIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]
StepArgument = Annotated[
    str, typer.Argument(metavar="STEP", help="The parked step's name or number, if there are several.")
]
WhyOption = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="The reason; it goes into the journal.")
]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who asks for it; by default the system's user.")
]
WithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="MODULE",
        help="Work here, with this module's workflows, until the run ends or is parked again.",
    ),
]
GraceOption = Annotated[
    float,
    typer.Option("--grace", metavar="SECONDS", min=0, help="How long attempts under way may take to end."),
]


def is_usual_store(url: str) -> bool:
    """Whether a command on this store needs no ``--store``."""
    return url == os.environ.get(STORE_VARIABLE, DEFAULT_STORE)
