"""``makegood fork``: another run that takes over what a run did before one of its steps."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from makegood import Engine
from makegood.cli.options import DEFAULT_STORE, ByOption, JsonOption, RunIdArgument, StoreOption, WhyOption
from makegood.cli.output import Output, command_line
from makegood.client import operator


def fork(
    run_id: RunIdArgument,
    from_step: Annotated[
        str, typer.Argument(metavar="STEP", help="The first step that is run anew, by name or number.")
    ],
    *,
    why: WhyOption,
    fork_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The new run's id.")] = None,
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Start a run that takes over what an ended run did before a step.

    The steps before it are not run again: the new run has their results, and undoes them if it is rolled back.
    """
    output = Output(as_json=as_json)

    async def ask() -> str:
        async with Engine(store, work=False, create=False) as engine:
            run = await engine.get(run_id)
            return (await run.fork(from_step, id=fork_id, why=why, by=operator(by))).id

    made = asyncio.run(ask())
    if as_json:
        output.data({"id": made, "forked_from": run_id, "from_step": from_step})
    else:
        output.show(Text(f"fork: run {made} takes over from run {run_id}; its worker goes on with it."))
        output.show(Text(f"  {command_line('show', made, store=store)}", no_wrap=True))
