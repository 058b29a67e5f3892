"""Commands that only read: lists, runs, exports, views, histories, ``verify``. They never create a database."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from makegood import Engine, JournalCorrupt
from makegood.cli.interrupt import Interrupted, Interruption
from makegood.cli.options import DEFAULT_STORE, ExitCode, JsonOption, RunIdArgument, StoreOption
from makegood.cli.output import UNLIMITED_COLUMNS, Output, readable
from makegood.cli.render import history_table, run_report, runs_table, view_table
from makegood.cli.timeline import timeline_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from makegood.description import RunSummary

PAGE_RUNS = 500
USUAL_COLUMNS = 80


def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs.")] = 100,
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    *,
    filters: Any,
) -> None:
    """List runs, the newest first."""
    output = Output(as_json=as_json)

    async def read() -> tuple[list[RunSummary], int]:
        async with _reading(store) as engine:
            if count:
                return [], await engine.count(**filters)
            runs = await engine.list(limit=limit, **filters)
            return runs, len(runs)

    runs, found = asyncio.run(read())
    if count:
        if as_json:
            output.data({"count": found})
        else:
            output.show(Text(f"{found:,}"))
        return
    if as_json:
        output.data(runs)
    elif runs:
        output.show(runs_table(runs, time.time()))
        if len(runs) == limit:
            output.note(f"The newest {limit}; --limit N shows more.", "dim")
    else:
        output.note("No run is like that." if filters else "There are no runs yet.")


def show(
    run_id: RunIdArgument,
    diagram: Annotated[
        bool, typer.Option("--diagram", help="What happened, as a Mermaid flowchart.")
    ] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="What happened when, as bars.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show a run, and what can be done if it is parked."""
    output = Output(as_json=as_json)
    if diagram and timeline:
        raise typer.BadParameter("--diagram or --timeline, not both.")

    async def read() -> Any:
        async with _reading(store) as engine:
            run = await engine.get(run_id)
            return await (run.diagram() if diagram else run.timeline() if timeline else run.describe())

    told = asyncio.run(read())
    if as_json:
        output.data({"diagram": told} if diagram else told)
    elif diagram:
        output.out.file.write(told)
    elif timeline:
        columns = output.out.width if output.out.width < UNLIMITED_COLUMNS else USUAL_COLUMNS
        output.show(*timeline_report(told, time.time(), columns))
    else:
        output.show(*run_report(told, store, time.time()))


def export(
    run_id: RunIdArgument,
    children: Annotated[bool, typer.Option("--children", help="With the runs that it called.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write a whole run as JSON: its description, every event, and its journal with the hashes."""

    async def read() -> Any:
        async with _reading(store) as engine:
            return await (await engine.get(run_id)).export(children=children)

    Output(as_json=as_json).data(asyncio.run(read()))


def view(
    run_id: RunIdArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show each change, until the run has ended.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what a run publishes of itself: what its customer may see.

    As JSON it is one object; with --watch one on each line.
    """
    output = Output(as_json=as_json)

    def show_view(fields: dict[str, Any]) -> None:
        if as_json:
            output.data(fields)
        else:
            output.show(view_table(fields))

    async def read() -> None:
        async with _reading(store) as engine:
            run = await engine.get(run_id)
            if not watch:
                show_view(await run.view())
                return
            with Interruption() as interruption:
                await interruption.or_end(_each(run.watch(), show_view))
                if interruption.signal_number:
                    raise Interrupted(
                        f"Stopped by {interruption.name}. The run goes on.", interruption.signal_number
                    )

    asyncio.run(read())


async def _each(views: AsyncIterator[dict[str, Any]], show_view: Callable[[dict[str, Any]], None]) -> None:
    async for fields in views:
        show_view(fields)


def history(
    run_id: RunIdArgument,
    after: Annotated[int, typer.Option(min=0, help="Only entries after the one of this number.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many entries.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show a run's journal, event by event."""
    output = Output(as_json=as_json)

    async def read() -> Any:
        async with _reading(store) as engine:
            return await (await engine.get(run_id)).history(after=after, limit=limit)

    items = asyncio.run(read())
    if as_json:
        output.data(items)
    else:
        output.show(history_table(items))


def verify(
    run_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="One run; all of them without it.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Check that nobody has altered the journals.

    Exits with 1 if one was, and says where.
    """
    output = Output(as_json=as_json)
    runs, entries, altered = asyncio.run(_verify(store, run_id, output))
    if as_json:
        output.data({"runs": runs, "entries": entries, "altered": altered})
    else:
        for one in altered:
            output.show(Text.assemble(("altered  ", "bold red"), readable(one["message"])))
        if not altered:
            output.show(Text(f"{runs:,} run(s), {entries:,} journal entries: none altered.", "green"))
        else:
            output.show(Text(f"{len(altered):,} of {runs:,} run(s) altered.", "bold red"))
    raise typer.Exit(ExitCode.OTHERWISE if altered else ExitCode.OK)


async def _verify(store: str, run_id: str | None, output: Output) -> tuple[int, int, list[dict[str, str]]]:
    runs = entries = 0
    altered = []
    async with _reading(store) as engine:
        if run_id is not None:
            await engine.get(run_id)
        with _bar(output) as bar:
            task = bar.add_task("verifying", total=None)
            async for one, key in _ids(engine, run_id):
                runs += 1
                if runs == 1:
                    bar.update(task, total=key)
                try:
                    entries += await (await engine.get(one)).verify()
                except JournalCorrupt as error:
                    altered.append({"id": one, "message": str(error)})
                bar.advance(task)
    return runs, entries, altered


async def _ids(engine: Engine, run_id: str | None) -> AsyncIterator[tuple[str, int]]:
    """Runs' ids and keys; the first key is, about, how many follow."""
    if run_id is not None:
        yield run_id, 1
        return
    before_key = None
    while page := await engine.list(limit=PAGE_RUNS, before_key=before_key):
        for run in page:
            yield run.id, run.key
        before_key = page[-1].key


def _bar(output: Output) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}"),
        TimeRemainingColumn(),
        console=output.err,
        transient=True,
        disable=output.as_json or not output.err.is_terminal,
    )


def _reading(store: str) -> Engine:
    return Engine(store, work=False, create=False)
