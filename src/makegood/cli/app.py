"""The command line itself: the commands, and how every error is shown.

``start`` and ``operate`` work, ``inspect`` reads, ``render`` and ``progress`` show.
"""

from __future__ import annotations

import io
import sys
import traceback
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from makegood.cli import (
    check,
    complete,
    demo,
    fork,
    inspect,
    many,
    missed,
    operate,
    rollback,
    schedules,
    start,
    stuck,
    update,
)
from makegood.cli.filters import filtered
from makegood.cli.interrupt import Interrupted, leave
from makegood.cli.options import ExitCode
from makegood.cli.output import Output
from makegood.errors import MakegoodError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

CommandLineError: type[Any] = typer.BadParameter.__mro__[1]  # of click, or of Typer's own copy of it


class Commands(TyperGroup):
    """The commands, with the one place that turns errors into messages and exit codes."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        output = Output(as_json="--json" in words)
        extra["standalone_mode"] = False
        try:
            code = super().main(words, prog_name, **extra)
        except CommandLineError as error:
            if error.ctx is not None:
                output.note(f"{error.ctx.get_usage()}\n{error.ctx.command_path} --help tells more.\n")
            output.error("UsageError", error.format_message())
            code = ExitCode.USAGE
        except Interrupted as stop:
            output.error("Interrupted", str(stop))
            code = 128 + stop.signal_number
        except MakegoodError as error:
            output.error(type(error).__name__, str(error))
            code = ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.TROUBLE
        except Exception as error:  # noqa: BLE001 - whatever else happens is a fault, shown whole
            output.error(type(error).__name__, str(error), traceback.format_exc())
            code = ExitCode.TROUBLE
        sys.exit(code or ExitCode.OK)


app = typer.Typer(
    cls=Commands,
    help="Durable sagas: every step done, or everything that was done made good.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def makegood(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version.",
            is_eager=True,
            callback=lambda asked: _show_version(asked=asked),
        ),
    ] = False,
) -> None:
    """Durable sagas: every step done, or everything that was done made good."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


def _show_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"makegood {version('makegood')}")
        raise typer.Exit


app.command("demo", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(demo.demo)
app.command("run")(start.run)
app.command("worker")(start.worker)
app.command("list")(stuck.or_stuck(missed.or_missed(filtered(inspect.list_runs))))
app.command("show")(inspect.show)
app.command("export")(inspect.export)
app.command("view")(inspect.view)
app.command("history")(inspect.history)
app.command("verify")(inspect.verify)
app.command("check")(check.check)
app.command("signal")(operate.signal)
app.command("update")(update.update)
app.command("pause")(many.or_many("pause", operate.pause))
app.command("resume")(many.or_many("resume", operate.resume))
app.command("retry")(missed.or_missed_again(many.or_many("retry", operate.retry)))
app.command("skip")(many.or_many("skip", operate.skip))
app.command("resolve")(operate.resolve)
app.command("complete")(complete.complete)
app.command("fail")(complete.fail)
app.command("cancel")(many.or_many("cancel", operate.cancel))
app.command("terminate")(many.or_many("terminate", operate.terminate))
app.command("prune")(many.prune)
app.command("pin")(many.pin)
app.command("unpin")(many.unpin)
app.command("fork")(fork.fork)
app.command("rollback")(rollback.rollback)
app.command("schedules")(schedules.schedules)
app.add_typer(schedules.schedule, name="schedule")


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
