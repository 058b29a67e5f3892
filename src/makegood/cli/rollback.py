"""``makegood rollback``: undo what a run has done, or its later part; it says first what that would be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from makegood import Engine
from makegood.cli.many import confirmed
from makegood.cli.operate import ask
from makegood.cli.options import (
    DEFAULT_STORE,
    ByOption,
    ExitCode,
    JsonOption,
    RunIdArgument,
    StoreOption,
    WhyOption,
    WithOption,
)
from makegood.cli.output import Output, visible

if TYPE_CHECKING:
    from makegood.rollback_plan import RollbackPlan


def rollback(
    run_id: RunIdArgument,
    *,
    why: WhyOption,
    to: Annotated[
        str, typer.Option(metavar="STEP", help="The last step that stays, by name or number; else none does.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Undo what a run has done, in reverse order, and end it.

    With --to only what came after that step. It shows first what would be undone and what stays.
    """
    output = Output(as_json=as_json)
    plan = asyncio.run(_plan(run_id, to, store))
    for line in in_words(plan):
        output.note(line)
    if not confirmed(f"rollback of run {run_id}", output, yes=yes):
        raise typer.Exit(ExitCode.OTHERWISE)
    ask(
        "rollback",
        run_id,
        lambda run: run.rollback(to, why=why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


async def _plan(run_id: str, to: str, store: str) -> RollbackPlan:
    async with Engine(store, work=False, create=False) as engine:
        run = await engine.get(run_id)
        return await run.rollback_plan(to)


def in_words(plan: RollbackPlan) -> list[str]:
    """A line for each list of the plan."""
    lists = {
        "stopped, and undone if it was done": plan.under_way,
        "undone, in this order": plan.undone,
        "stays done, listed as residue": plan.kept,
        "stays as it is, having no compensation": plan.as_is,
    }
    told = [f"{meaning}: {visible(', '.join(names))}" for meaning, names in lists.items() if names]
    return told or ["nothing was done that could be undone"]
