"""Where commands write: results to stdout, everything else to stderr; and nothing that a terminal would obey.

Ids, inputs and messages come from anywhere. They are shown as ``rich`` texts, never as its markup, and
characters that cannot be seen are shown as escapes.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from makegood.cli.options import is_usual_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

UNLIMITED_COLUMNS = 10_000


class Output:
    """One command's way to its user."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = console_on(sys.stdout)
        self.err = console_on(sys.stderr)

    def data(self, value: Any) -> None:
        """Write a value as one line of JSON, in ASCII."""
        self.out.file.write(json.dumps(msgspec.to_builtins(value)) + "\n")
        self.out.file.flush()

    def show(self, *renderables: RenderableType) -> None:
        """Write a result for people."""
        _print(self.out, renderables)

    def aside(self, *renderables: RenderableType) -> None:
        """Write something beside the result for people."""
        _print(self.err, renderables)

    def note(self, message: str, style: str = "") -> None:
        """Tell the user something beside the result; programs do not get it."""
        if not self.as_json:
            self.err.print(Text(readable(message), style))

    def error(self, kind: str, message: str, traceback: str = "") -> None:
        """Say why the command could not do what it was asked to."""
        if self.as_json:
            details = {"type": kind, "message": message} | ({"traceback": traceback} if traceback else {})
            self.err.file.write(json.dumps({"error": details}) + "\n")
            self.err.file.flush()
        elif traceback:
            self.err.print(Text(readable(traceback.rstrip())))
        else:
            self.err.print(Text.assemble(("error: ", "bold red"), readable(message)))


class CurrentStderr:
    """What stderr is at the time of writing: a live table takes it over and puts lines above itself."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class LogFormatter(logging.Formatter):
    """Log lines with their time, safe for a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return readable(super().format(record))


@contextmanager
def others_to_stderr(log_level: int) -> Iterator[None]:
    """Keep stdout for the result: what steps print, and what makegood logs from this level on, goes to stderr."""
    handler = logging.StreamHandler(CurrentStderr())
    handler.setFormatter(LogFormatter())
    logger = logging.getLogger("makegood")
    before = logger.level, logger.propagate
    logger.setLevel(log_level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        with redirect_stdout(CurrentStderr()):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def console_on(stream: TextIO) -> Console:
    """A console: colours and the window's width in a terminal, plain unwrapped text elsewhere."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNLIMITED_COLUMNS
    return console


def _print(console: Console, renderables: Sequence[RenderableType]) -> None:
    if console.is_terminal:
        _print_each(console, renderables)
        return
    with console.capture() as printed:
        _print_each(console, renderables)
    console.file.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))


def _print_each(console: Console, renderables: Sequence[RenderableType]) -> None:
    for renderable in renderables:
        no_wrap = renderable.no_wrap if isinstance(renderable, Text) else None  # printing would forget it
        console.print(renderable, no_wrap=no_wrap, overflow="ignore" if no_wrap else None, crop=False)


def visible(text: str) -> str:
    """The text on one line, with every character that cannot be seen as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable(text: str) -> str:
    """As ``visible``, keeping the lines."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.split("\n"))


def compact_json(value: Any) -> str:
    """A plain value on one line, for people."""
    return visible(json.dumps(value, ensure_ascii=False))


def command_line(command: str, *arguments: str, store: str, options: str = "") -> str:
    """A command that the user can copy into a shell, whatever the arguments hold."""
    words = ["makegood", command]
    if not is_usual_store(store):
        words += ["--store", _quoted(store)]
    quoted = [_quoted(argument) for argument in arguments]
    words += (
        [options, "--", *quoted] if any(word.startswith("-") for word in arguments) else [*quoted, options]
    )
    return " ".join(word for word in words if word)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(escaped)}'"
