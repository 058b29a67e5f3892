"""``list --stuck``: runs that overstay what is usual for their workflow, and what they wait for."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from makegood import Engine
from makegood.cli.filters import declared, option, parameters_of
from makegood.cli.load import load_workers_modules
from makegood.cli.missed import workflow_of
from makegood.cli.options import WithOption
from makegood.cli.output import Output
from makegood.cli.render import stuck_table

if TYPE_CHECKING:
    from collections.abc import Callable

StuckOption = Annotated[
    bool,
    typer.Option(
        "--stuck",
        help="List runs that overstay what is usual for their workflow: as it declares in the module given by --with, "
        "or as its recent runs show. --workflow narrows it down.",
    ),
]


def or_stuck(command: Callable[..., None]) -> Callable[..., None]:
    """``list``, which with ``--stuck`` lists the runs that overstay."""

    @wraps(command)
    def either(*, stuck: bool, with_modules: list[str] | None, **given: Any) -> None:
        if stuck:
            _list(workflow_of(given, "list --stuck"), with_modules, given)
        else:
            command(**given)

    more = [option("stuck", False, StuckOption), option("with_modules", None, WithOption)]
    return declared(either, [*parameters_of(command), *more])


def _list(workflow: str | None, with_modules: list[str] | None, given: dict[str, Any]) -> None:
    output = Output(as_json=given["as_json"])
    modules = load_workers_modules(with_modules or ())

    async def read() -> Any:
        async with Engine(given["store"], modules, work=False, create=False) as engine:
            return await engine.stuck(workflow=workflow, limit=given["limit"])

    runs = asyncio.run(read())
    if output.as_json:
        output.data(runs)
    elif runs:
        output.show(stuck_table(runs))
    else:
        output.note("No run overstays what is known to be usual for its workflow.")
