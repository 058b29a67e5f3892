"""Actions in many runs: ``retry --status PARKED``, ``cancel --workflow …``; and ``prune``, ``pin``, ``unpin``.

What is about to be changed is counted and shown, and has to be confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from makegood import Engine, UsageError
from makegood.cli.filters import declared, filtered, option, parameters_of, parse_duration
from makegood.cli.interrupt import Interrupted, Interruption
from makegood.cli.load import load_workers_modules
from makegood.cli.options import DEFAULT_STORE, ByOption, ExitCode, JsonOption, RunIdArgument, StoreOption
from makegood.cli.output import Output, others_to_stderr, readable, visible
from makegood.client import operator

if TYPE_CHECKING:
    from collections.abc import Callable

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether these runs are meant.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every run there is: no filter.")]
SHOWN_REFUSALS = 10


def or_many(action: Any, command: Callable[..., None]) -> Callable[..., None]:
    """A command for one run, which with filters in the place of an id acts on all runs that meet them."""

    @wraps(command)
    def either(
        *, run_id: str | None, filters: dict[str, Any], everything: bool, yes: bool, **given: Any
    ) -> None:
        if run_id is not None and (filters or everything):
            raise UsageError(f"{action}: give a run's id, or filters for many, not both.")
        if run_id is not None:
            command(run_id=run_id, **given)
        elif not filters and not everything:
            raise UsageError(
                f"{action}: which runs? Give an id; or filters, such as --status or --workflow; or --all."
            )
        elif given.get("step") or given.get("given"):
            raise UsageError(f"{action}: a step, or its input, is one run's: give that run's id.")
        else:
            common: dict[str, Any] = {name: given.get(name) for name in COMMON}
            _act(action, filters, yes=yes, **common)

    optional = Annotated[str | None, typer.Argument(metavar="ID", help="The run's id.")]
    own = [
        one.replace(default=None, annotation=optional) if one.name == "run_id" else one
        for one in parameters_of(command)
    ]
    more = [
        option("filters", {}, Any),
        option("everything", False, AllOption),
        option("yes", False, YesOption),
    ]
    return filtered(declared(either, [*own, *more]))


COMMON = ("why", "by", "with_modules", "store", "as_json", "compensate")


def _act(
    action: Any,
    filters: dict[str, Any],
    *,
    yes: bool,
    why: str,
    by: str | None,
    with_modules: list[str] | None,
    store: str,
    as_json: bool,
    compensate: bool | None,
) -> None:
    output = Output(as_json=as_json)
    with others_to_stderr(logging.WARNING):
        modules = load_workers_modules(with_modules or ())
        work = bool(modules) or (action == "terminate" and not compensate)  # which needs no code

        async def act() -> tuple[int, int, list[dict[str, str]]]:
            async with Engine(store, modules, work=work, create=False) as engine:
                found = await engine.count(**filters)
                if not found or not confirmed(f"{action} {found:,} run(s)", output, yes=yes):
                    return found, 0, []
                outcomes = engine.batch(action, why, by=operator(by), compensate=bool(compensate), **filters)
                return found, *await _through(outcomes, action, found, output)

        found, done, refused = asyncio.run(act())
    if as_json:
        output.data({"action": action, "found": found, "carried_out": done, "refused": refused})
    elif not found:
        output.note("No run is like that. Nothing was changed.")
    else:
        for one in refused[:SHOWN_REFUSALS]:
            output.show(
                Text.assemble(("refused  ", "bold red"), readable(f"{visible(one['id'])}: {one['refused']}"))
            )
        output.show(
            Text(f"{action}: carried out in {done:,} of {found:,} run(s), refused in {len(refused):,}.")
        )
    raise typer.Exit(ExitCode.OTHERWISE if refused or done < found else ExitCode.OK)


async def _through(
    outcomes: Any, action: str, found: int, output: Output
) -> tuple[int, list[dict[str, str]]]:
    done, refused = 0, []

    async def work() -> None:
        nonlocal done
        async for outcome in outcomes:
            if outcome.refused:
                refused.append({"id": outcome.id, "refused": outcome.refused})
            else:
                done += 1
            bar.advance(task)

    with progress_bar(output) as bar, Interruption() as interruption:
        task = bar.add_task(action, total=found)
        await interruption.or_end(work())
    if interruption.signal_number:
        raise Interrupted(
            f"Stopped by {interruption.name}: {action} was carried out in {done:,} of {found:,} run(s). "
            "The same command again goes on with the others.",
            interruption.signal_number,
        )
    return done, refused


def confirmed(what: str, output: Output, *, yes: bool) -> bool:
    """Whether the user means it.

    Raises:
        UsageError: there is nobody to ask.
    """
    if yes:
        return True
    if output.as_json or not at_a_terminal():
        raise UsageError(f"{what}: this has to be confirmed, and nobody can be asked here. Give --yes.")
    return typer.confirm(f"{what}?", err=True)


def at_a_terminal() -> bool:
    return sys.stdin.isatty()


def progress_bar(output: Output) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=output.err,
        transient=True,
        disable=output.as_json or not output.err.is_terminal,
    )


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="How long ago they ended, such as 30d, 12h.")
    ],
    tombstones: Annotated[
        bool, typer.Option("--tombstones", help="Remove the tombstones of runs pruned so long ago instead.")
    ] = False,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Remove runs that ended long ago.

    Each leaves a tombstone, which keeps its id from being run again. Pinned runs are kept.
    """
    output = Output(as_json=as_json)
    age = parse_duration(older_than)
    if age is None:
        raise UsageError(f"--older-than {older_than!r}: give a length of time, such as 30d, 12h or 90m.")
    what = "tombstones of runs pruned" if tombstones else "runs that ended"
    removed = 0

    async def work(engine: Engine, bar: Progress) -> None:
        task = bar.add_task("pruning", total=None)

        def note(runs: int) -> None:
            nonlocal removed
            removed = runs
            bar.update(task, completed=runs)

        await engine.prune(age, tombstones=tombstones, progress=note)

    async def through() -> None:
        async with Engine(store, work=False, create=False) as engine:
            with progress_bar(output) as bar, Interruption() as interruption:
                await interruption.or_end(work(engine, bar))
        if interruption.signal_number:
            raise Interrupted(
                f"Stopped by {interruption.name}: {removed:,} removed. The same command again goes on.",
                interruption.signal_number,
            )

    if confirmed(f"remove the {what} over {older_than} ago", output, yes=yes):
        asyncio.run(through())
        if as_json:
            output.data({"removed": removed})
        else:
            output.show(Text(f"{removed:,} removed."))


def pin(
    run_id: RunIdArgument,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, shown with the run.")] = "",
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Keep a run from being pruned."""
    _pin(run_id, store, Output(as_json=as_json), why=why, by=by)


def unpin(run_id: RunIdArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """No longer keep a run from being pruned."""
    _pin(run_id, store, Output(as_json=as_json), unpin=True)


def _pin(
    run_id: str, store: str, output: Output, *, why: str = "", by: str | None = None, unpin: bool = False
) -> None:
    async def act() -> None:
        async with Engine(store, work=False, create=False) as engine:
            run = await engine.get(run_id)
            await (run.unpin() if unpin else run.pin(why, by=by))

    asyncio.run(act())
    if output.as_json:
        output.data({"id": run_id, "pinned": not unpin})
    else:
        output.show(Text(f"{visible(run_id)}: {'no longer kept' if unpin else 'kept until makegood unpin'}."))
