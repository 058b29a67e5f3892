"""An operator's commands: ``resume``, ``retry``, ``skip``, ``resolve``, ``cancel``, ``terminate``; and ``signal``.

The request goes through the store to the process that works on it. With ``--with MODULE`` this command is
that process, unless there is another, and sees the run through.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from makegood import Engine, NoWorker
from makegood.cli.interrupt import Interruption
from makegood.cli.load import load_workers_modules, parse_json, read_json
from makegood.cli.options import (
    DEFAULT_STORE,
    ByOption,
    ExitCode,
    JsonOption,
    RunIdArgument,
    StepArgument,
    StoreOption,
    WhyOption,
    WithOption,
)
from makegood.cli.output import Output, command_line, others_to_stderr, visible
from makegood.cli.render import headline
from makegood.cli.start import check_not_interrupted, report_end, see_through
from makegood.client import operator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from makegood import RunHandle
    from makegood.description import Description

    Act = Callable[[RunHandle[Any]], Awaitable[None]]


def retry(
    run_id: RunIdArgument,
    step: StepArgument = "",
    *,
    why: WhyOption,
    given: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="JSON", help="Other arguments for the step; @FILE or - (stdin) reads them."
        ),
    ] = None,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Try a parked step again.

    A parked compensation, too. With other arguments a step gets another idempotency key.
    """
    arguments = None if given is None else parse_json(read_json(given), "--input")
    ask(
        "retry",
        run_id,
        lambda run: run.retry(step, arguments=arguments, why=why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def pause(
    run_id: RunIdArgument,
    *,
    why: WhyOption,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have a run stand still until it is resumed.

    No attempt begins and no timer fires; what is under way ends and is recorded.
    """
    ask(
        "pause",
        run_id,
        lambda run: run.pause(why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def resume(
    run_id: RunIdArgument,
    *,
    why: WhyOption,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have a run go on that was paused, or whose code was corrected.

    The latter stood still because its code did not do what its journal tells, or failed after its point of no return.
    """
    ask(
        "resume",
        run_id,
        lambda run: run.resume(why=why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def skip(
    run_id: RunIdArgument,
    step: StepArgument = "",
    *,
    why: WhyOption,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Go on without a parked step.

    Its call returns None. A skipped compensation leaves its effect open, as residue.
    """
    ask(
        "skip",
        run_id,
        lambda run: run.skip(step, why=why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def resolve(
    run_id: RunIdArgument,
    step: StepArgument = "",
    *,
    why: WhyOption,
    result: Annotated[str, typer.Option(metavar="JSON", help="The step's result.")] = "null",
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say that a parked step is done, and its result.

    Or that a parked compensation was done by hand.
    """
    value = parse_json(result, "--result")
    ask(
        "resolve",
        run_id,
        lambda run: run.resolve(value, step, why=why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def cancel(
    run_id: RunIdArgument,
    *,
    why: WhyOption,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Stop a run: what it has done is undone."""
    ask(
        "cancel",
        run_id,
        lambda run: run.cancel(why, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def terminate(
    run_id: RunIdArgument,
    *,
    why: WhyOption,
    compensate: Annotated[
        bool,
        typer.Option("--compensate", help="First undo what was done; needs a worker that knows its steps."),
    ] = False,
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """End a run at once, in any state.

    Without --compensate what it has done stays and is listed as residue; its code is not needed for that.
    """
    ask(
        "terminate",
        run_id,
        lambda run: run.terminate(why, compensate=compensate, by=by),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
        needs_code=compensate,
    )


def signal(
    run_id: RunIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    *,
    given: Annotated[
        str, typer.Option("--input", metavar="JSON", help="What it carries; @FILE or - (stdin) reads it.")
    ] = "null",
    signal_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Of all signals with this id the run accepts one.")
    ] = "",
    by: ByOption = None,
    with_modules: WithOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Send a run a signal.

    The run keeps it until its workflow asks for it.
    """
    value = parse_json(read_json(given), "--input")
    ask(
        "signal",
        run_id,
        lambda run: run.signal(name, value, id=signal_id, by=operator(by)),
        store=store,
        with_modules=with_modules,
        as_json=as_json,
    )


def ask(
    action: str,
    run_id: str,
    act: Act,
    *,
    store: str,
    with_modules: list[str] | None,
    as_json: bool,
    needs_code: bool = True,
) -> None:
    output = Output(as_json=as_json)
    with others_to_stderr(logging.WARNING):
        modules = load_workers_modules(with_modules or ())
        if modules:
            run, carried_out = asyncio.run(_carry_out(run_id, act, store, modules, output)), True
        else:
            run, carried_out = asyncio.run(_request(run_id, act, store, work=not needs_code))
    if output.as_json:
        output.data({"id": run_id, "action": action, "carried_out": carried_out, "run": run})
    elif modules:
        report_end(run, output, store)
    elif carried_out:
        output.show(Text.assemble(f"{action}: carried out.  ", headline(run, time.time())))
    else:
        output.show(Text(_stored(action, run, store)))
    raise typer.Exit(ExitCode.OTHERWISE if modules and run.ended_at is None else ExitCode.OK)


async def _carry_out(
    run_id: str, act: Act, store: str, modules: list[ModuleType], output: Output
) -> Description:
    """Be the worker, unless there is one, until the run has ended or is parked again."""
    with Interruption() as interruption:
        async with Engine(store, modules, create=False) as engine:
            handle = await engine.get(run_id)
            await act(handle)
            run = await see_through(handle, output, interruption)
        check_not_interrupted(run, interruption, store, modules[0].__name__)
        return run


async def _request(run_id: str, act: Act, store: str, *, work: bool) -> tuple[Description, bool]:
    """Have another process's worker carry it out; False if none is there, and the request waits for one.

    ``work``: be that worker, if there is none, for what needs no code.
    """
    async with Engine(store, work=work, create=False) as engine:
        handle = await engine.get(run_id)
        try:
            await act(handle)
        except NoWorker:
            return await handle.describe(), False
        return await handle.describe(), True


def _stored(action: str, run: Description, store: str) -> str:
    start = command_line("worker", "MODULE", store=store)
    return (
        f"{action}: stored, not carried out yet: no worker answers on {store}.\n"
        f"The next worker that knows workflow {visible(run.workflow)} carries it out:\n  {start}"
    )
