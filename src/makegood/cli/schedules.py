"""Schedules: ``schedules`` lists them, ``schedule pause | resume | backfill | remove`` steers one, worker or no worker."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from makegood import Engine, UsageError
from makegood.cli.options import DEFAULT_STORE, ByOption, JsonOption, StoreOption
from makegood.cli.output import Output, readable, visible
from makegood.cli.render import moment, schedules_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from makegood.backend.schedules import ScheduleSummary

    Act = Callable[[Engine], Awaitable[Any]]

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name: its workflow's.")]
WhyOption = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="The reason; it is kept with the schedule.")
]

schedule = typer.Typer(help="Steer a schedule: pause, resume, backfill, remove.")


def schedules(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the workflows that start by themselves.

    With what is due next, what ran last, what was skipped, and why one does not start.
    """
    output = Output(as_json=as_json)
    found = asyncio.run(_with_engine(store, lambda engine: engine.schedules()))
    if as_json:
        output.data(found)
    elif not found:
        output.note("There are no schedules yet: a worker enters those of its modules.")
    else:
        output.show(schedules_table(found, time.time()))
        for line in (line for one in found for line in _remarks(one)):
            output.show(line)


@schedule.command("pause")
def pause(
    name: NameArgument,
    *,
    why: WhyOption,
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have a schedule start nothing until it is resumed."""
    asyncio.run(_with_engine(store, lambda engine: engine.pause_schedule(name, why, by=by)))
    _report(name, "pause", f"schedule {name} is paused.", as_json=as_json)


@schedule.command("resume")
def resume(
    name: NameArgument,
    *,
    why: WhyOption = "",
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have a paused schedule go on.

    Ticks missed meanwhile start, if they are within its catch-up window.
    """
    asyncio.run(_with_engine(store, lambda engine: engine.resume_schedule(name, why, by=by)))
    _report(name, "resume", f"schedule {name} goes on.", as_json=as_json)


@schedule.command("backfill")
def backfill(
    name: NameArgument,
    *,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="The first moment, such as 2026-11-23 or 2026-11-23T02:00; without an offset, on the schedule's clock.",
        ),
    ],
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The last moment; now without it.")
    ] = None,
    why: WhyOption,
    by: ByOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run ticks of the past that have no run.

    One after the other, unless the schedule allows runs to overlap.
    """
    span = _moment(since, "--since"), _moment(until, "--until") if until is not None else None
    ids = asyncio.run(_with_engine(store, lambda engine: engine.backfill(name, *span, why, by=by)))
    said = (
        f"schedule {name}: {len(ids):,} run(s) to come."
        if ids
        else f"schedule {name}: no tick without a run."
    )
    _report(name, "backfill", said, as_json=as_json, runs=ids)


@schedule.command("remove")
def remove(name: NameArgument, *, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Forget a schedule whose workflow is no longer in the code.

    Its runs stay.
    """
    asyncio.run(_with_engine(store, lambda engine: engine.remove_schedule(name)))
    _report(name, "remove", f"schedule {name} is removed.", as_json=as_json)


async def _with_engine(store: str, act: Act) -> Any:
    async with Engine(store, work=False, create=False) as engine:
        return await act(engine)


def _report(name: str, action: str, said: str, *, as_json: bool, **details: Any) -> None:
    output = Output(as_json=as_json)
    if as_json:
        output.data({"schedule": name, "action": action, **details})
        return
    output.show(Text(visible(said)))
    for run_id in details.get("runs", ()):
        output.show(Text(f"  {visible(run_id)}"))


def _moment(text: str, option: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no time: write 2026-11-23 or 2026-11-23T02:00:00+01:00."
        ) from None


def _remarks(one: ScheduleSummary) -> Iterator[Any]:
    """What the table has no room for."""
    remarks = [(one.problem, "bold red")] if one.problem else []
    if one.paused is not None:
        since = f"paused since {moment(one.paused.at)} by {one.paused.by}"
        remarks.append((f"{since}: {one.paused.why}" if one.paused.why else since, "yellow"))
    if one.waiting:
        remarks.append((f"{len(one.waiting):,} tick(s) wait, the first of {moment(one.waiting[0])}", ""))
    for ticks in one.skipped:
        span = moment(ticks.first)
        if ticks.until - ticks.first >= 60:
            span += f" to {moment(ticks.until)}"
        remarks.append((f"skipped {span}: {ticks.reason}", "yellow"))
    if remarks:
        yield Text(f"\n{visible(one.workflow)}", "bold")
    for text, style in remarks:
        yield Padding(Text(readable(text), style), (0, 0, 0, 2))
