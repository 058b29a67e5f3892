"""Commands that work: ``run`` starts one run and sees it through, ``worker`` serves until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from makegood import Engine
from makegood.cli.filters import parse_tags
from makegood.cli.interrupt import Interrupted, Interruption
from makegood.cli.load import load_workers_modules, load_workflow, read_json, workflows_of
from makegood.cli.options import DEFAULT_STORE, ExitCode, GraceOption, JsonOption, StoreOption
from makegood.cli.output import Output, command_line, others_to_stderr
from makegood.cli.progress import follow
from makegood.cli.render import ending, parked_report, plain_result

if TYPE_CHECKING:
    from types import ModuleType

    from makegood import RunHandle
    from makegood.description import Description


def run(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:WORKFLOW", help="A workflow, such as orders:fulfil_order.")
    ],
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="JSON",
            help="Its arguments: an array by position, an object by name; for a workflow of one parameter "
            "simply its value. @FILE reads a file, - reads stdin.",
        ),
    ] = None,
    *,
    run_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Names the run: the same id again is the same run."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the run can be found by; also several."),
    ] = None,
    grace_seconds: GraceOption = 10.0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run a workflow, show its progress, print its result.

    Exits with 0 if it completed, 1 if it ended otherwise or is parked, 2 if it could not be started.
    """
    output = Output(as_json=as_json)
    with others_to_stderr(logging.WARNING):
        workflow = load_workflow(target)
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if given is not None:
            bound = workflow.signature.decode_arguments(read_json(given))
            args, kwargs = bound.args, bound.kwargs

        tags = parse_tags(tag)

        async def drive() -> Description:
            with Interruption() as interruption:
                async with Engine(store, [workflow], grace_seconds=grace_seconds) as engine:
                    handle = await engine.start(workflow, *args, id=run_id, tags=tags, **kwargs)
                    run = await see_through(handle, output, interruption)
            check_not_interrupted(run, interruption, store, target.partition(":")[0])
            return run

        description = asyncio.run(drive())
    raise typer.Exit(report_end(description, output, store))


def worker(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules with workflows.")],
    grace_seconds: GraceOption = 10.0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run what others start, until SIGTERM.

    Also what earlier workers left. After the signal, attempts under way may finish.
    """
    output = Output(as_json=as_json)
    with others_to_stderr(logging.INFO):
        loaded = load_workers_modules(modules)
        _spare_the_collector()
        asyncio.run(_serve(loaded, output, store, grace_seconds))


def _spare_the_collector() -> None:
    """Have the garbage collector look less often: a worker's runs leave no cycles behind (docs/benchmarks.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(modules: list[ModuleType], output: Output, store: str, grace_seconds: float) -> None:
    found = (workflow.name for module in modules for workflow in workflows_of(module).values())
    workflows = list(dict.fromkeys(found))
    with Interruption() as interruption:
        async with Engine(store, modules, grace_seconds=grace_seconds) as engine:
            _tell(output, "started", f"working on {store}: {', '.join(workflows)}", workflows=workflows)
            serving = asyncio.create_task(engine.serve())
            stopped = asyncio.create_task(interruption.asked.wait())
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            serving.cancel()
            _tell(output, "draining", draining(interruption))
        _tell(output, "stopped", "stopped: what was under way is recorded.")


def _tell(output: Output, event: str, message: str, **details: Any) -> None:
    if output.as_json:
        output.data({"event": event, **details})
    else:
        output.note(message)


async def see_through(handle: RunHandle[Any], output: Output, interruption: Interruption) -> Description:
    """Show a run's progress to its end, or until the user stops the command; say so then."""
    description = await follow(handle, output, interruption)
    if interruption.asked.is_set() and description.ended_at is None:
        output.note(draining(interruption))
    return description


def draining(interruption: Interruption) -> str:
    """What happens after the first signal."""
    return f"{interruption.name}: attempts under way may finish; a second signal ends this at once."


def check_not_interrupted(
    description: Description, interruption: Interruption, store: str, module: str
) -> None:
    """Raise ``Interrupted`` if the user stopped the command before the run came to its end."""
    if interruption.asked.is_set() and description.ended_at is None and not description.held_up:
        raise Interrupted(
            f"stopped by {interruption.name}; what was under way is recorded. Run {description.id} goes on "
            f"with the same command, or with a worker: {command_line('worker', module, store=store)}",
            interruption.signal_number,
        )


def report_end(description: Description, output: Output, store: str) -> ExitCode:
    """Print how a run ended, and its result; the exit code that says so."""
    completed = description.status == "COMPLETED"
    if output.as_json:
        output.data(description)
    elif completed:
        if description.missed:
            output.note(ending(description), "yellow")
        output.show(plain_result(description.result))
    else:
        output.note(ending(description), "yellow")
        if description.parked:
            output.aside(*parked_report(description, store))
        elif description.held_up:
            output.note(
                f"waits for {description.waiting_for}: makegood show tells what can be done.", "yellow"
            )
    return ExitCode.OK if completed else ExitCode.OTHERWISE
