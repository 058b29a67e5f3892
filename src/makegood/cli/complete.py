"""``complete`` and ``fail``: the end of a step that waits for somebody outside, named by its completion token."""

from __future__ import annotations

from typing import Annotated

import typer

from makegood.cli.load import parse_json
from makegood.cli.operate import ask
from makegood.cli.options import DEFAULT_STORE, ByOption, JsonOption, StoreOption, WhyOption, WithOption
from makegood.definition.completion import read

TokenArgument = Annotated[
    str, typer.Argument(metavar="TOKEN", help="What mg.completion_token() gave in the step.")
]


def complete(
    token: TokenArgument,
    *,
    result: Annotated[str, typer.Option(metavar="JSON", help="The step's result.")] = "null",
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Complete a step that waits for somebody outside.

    The first completion counts.
    """
    value = parse_json(result, "--result")
    ask(
        "complete",
        read(token).run_id,
        lambda run: run.engine.complete(token, value, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def fail(
    token: TokenArgument,
    *,
    why: WhyOption,
    fatal: Annotated[bool, typer.Option("--fatal", help="Trying again is pointless.")] = False,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say that a step failed that waits for somebody outside.

    It took no effect; it is tried again as its retries say.
    """
    ask(
        "fail",
        read(token).run_id,
        lambda run: run.engine.fail(token, why, fatal=fatal, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )
