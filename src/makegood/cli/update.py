"""``update``: ask a running workflow something, and print its reply."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from makegood import Engine, UpdateFailed
from makegood.cli.load import parse_json, read_json
from makegood.cli.options import DEFAULT_STORE, ByOption, ExitCode, JsonOption, RunIdArgument, StoreOption
from makegood.cli.output import Output
from makegood.cli.render import plain_result
from makegood.client import operator


def update(
    run_id: RunIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The update's name.")],
    *,
    given: Annotated[
        str, typer.Option("--input", metavar="JSON", help="What is asked; @FILE or - (stdin) reads it.")
    ] = "null",
    update_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Asked again under this id, the reply is the same."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for the reply.")
    ] = 10.0,
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Ask a run something, and print its reply.

    A worker has to be at work on the run. Exits with 1 if its handler failed, or gave no reply in time.
    """
    output = Output(as_json=as_json)
    value = parse_json(read_json(given), "--input")

    async def ask() -> Any:
        async with Engine(store, work=False, create=False) as engine:
            run = await engine.get(run_id)
            return await run.update(name, value, id=update_id, by=operator(by), timeout=timeout)

    try:
        reply = asyncio.run(ask())
    except (TimeoutError, UpdateFailed) as error:
        output.error(type(error).__name__, str(error))
        raise typer.Exit(ExitCode.OTHERWISE) from None
    if as_json:
        output.data({"id": run_id, "update": name, "reply": reply})
    else:
        output.show(plain_result(reply))
