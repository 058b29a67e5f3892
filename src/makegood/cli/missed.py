"""Best-effort steps that failed: listed (``list --missed``), and tried again (``retry --failed-best-effort``)."""

from __future__ import annotations

import asyncio
import logging
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from makegood import Engine, MakegoodError, StillMissed, UsageError
from makegood.cli.filters import declared, option, parameters_of
from makegood.cli.load import load_workers_modules
from makegood.cli.options import ExitCode
from makegood.cli.output import Output, others_to_stderr, readable
from makegood.cli.render import missed_table
from makegood.client import operator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PAGE_RUNS = 200
MissedOption = Annotated[
    bool, typer.Option("--missed", help="List best-effort steps that failed; --workflow narrows it down.")
]
FailedOption = Annotated[
    bool,
    typer.Option(
        "--failed-best-effort",
        help="Try best-effort steps again that failed in completed runs: of ID, of --workflow, or all.",
    ),
]


def or_missed(command: Callable[..., None]) -> Callable[..., None]:
    """``list``, which with ``--missed`` lists missed steps."""

    @wraps(command)
    def either(*, missed: bool, **given: Any) -> None:
        if missed:
            _list(
                workflow_of(given, "list --missed"), given["limit"], given["store"], as_json=given["as_json"]
            )
        else:
            command(**given)

    return declared(either, [*parameters_of(command), option("missed", False, MissedOption)])


def or_missed_again(command: Callable[..., None]) -> Callable[..., None]:
    """``retry``, which with ``--failed-best-effort`` tries missed steps again."""

    @wraps(command)
    def either(*, failed_best_effort: bool, **given: Any) -> None:
        if not failed_best_effort:
            command(**given)
            return
        if given.get("step") or given.get("given"):
            raise UsageError("retry --failed-best-effort takes no step and no other arguments for it.")
        given["workflow"] = workflow_of(given, "retry --failed-best-effort")
        _retry(given)

    return declared(either, [*parameters_of(command), option("failed_best_effort", False, FailedOption)])


def workflow_of(given: dict[str, Any], command: str) -> str | None:
    """The only filter that is possible.

    Raises:
        UsageError: there are others.
    """
    filters = [name for name in FILTERS if given.get(name)]
    if filters:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in filters)
        raise UsageError(f"{command} can be narrowed down by --workflow only, not by {names}.")
    workflow: str | None = given.get("workflow")
    return workflow


FILTERS = (
    "status",
    "tags",
    "tag",
    "parent",
    "id_prefix",
    "started_after",
    "started_before",
    "ended_after",
    "ended_before",
    "count",
)


def _list(workflow: str | None, limit: int, store: str, *, as_json: bool) -> None:
    output = Output(as_json=as_json)

    async def read() -> Any:
        async with Engine(store, work=False, create=False) as engine:
            return await engine.missed(workflow=workflow, limit=limit)

    steps = asyncio.run(read())
    if as_json:
        output.data(steps)
    elif steps:
        output.show(missed_table(steps))
    else:
        output.note("No completed run has missed a step.")


def _retry(given: dict[str, Any]) -> None:
    output = Output(as_json=given["as_json"])
    with others_to_stderr(logging.WARNING):
        modules = load_workers_modules(given["with_modules"] or ())

        async def act() -> dict[str, str]:
            outcomes: dict[str, str] = {}
            async with Engine(given["store"], modules, work=bool(modules), create=False) as engine:
                async for run_id in _runs(engine, given["run_id"], given["workflow"]):
                    run = await engine.get(run_id)
                    try:
                        await run.retry_missed(why=given["why"], by=operator(given["by"]))
                        outcomes[run_id] = ""
                    except StillMissed as again:
                        outcomes[run_id] = str(again)
                    except MakegoodError as error:
                        if given["run_id"] is not None:
                            raise
                        outcomes[run_id] = str(error)
            return outcomes

        outcomes = asyncio.run(act())
    failed = {run_id: problem for run_id, problem in outcomes.items() if problem}
    if given["as_json"]:
        output.data({"made_good": len(outcomes) - len(failed), "still_missed": failed})
    else:
        for problem in failed.values():
            output.show(Text(readable(problem), "red"))
        output.show(Text(f"made good in {len(outcomes) - len(failed):,} of {len(outcomes):,} run(s)."))
    raise typer.Exit(ExitCode.OTHERWISE if failed else ExitCode.OK)


async def _runs(engine: Engine, run_id: str | None, workflow: str | None) -> AsyncIterator[str]:
    if run_id is not None:
        yield run_id
        return
    before_key = None
    while steps := await engine.missed(workflow=workflow, limit=PAGE_RUNS, before_key=before_key):
        for one in dict.fromkeys(step.run for step in steps):
            yield one
        before_key = steps[-1].key
