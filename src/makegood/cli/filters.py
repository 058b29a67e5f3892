"""Options that say which runs are meant: the same for ``list`` and for every action in many runs."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from makegood import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
TIME_HELP = "A time such as 2027-01-31T12:00, or how long ago, such as 30m, 2h, 7d."


def _only(text: str, metavar: str | None = None) -> Any:
    return Annotated[str | None, typer.Option(help=text, metavar=metavar)]


OPTIONS: dict[str, Any] = {
    "status": _only("Only runs of this status, such as PARKED."),
    "workflow": _only("Only runs of this workflow."),
    "tag": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only runs with this tag; several: with all of them."),
    ],
    "parent": _only("Only runs that the run of this id called.", "ID"),
    "id_prefix": _only("Only runs whose id begins so.", "TEXT"),
    "started_after": _only(f"Only runs started then or later. {TIME_HELP}", "TIME"),
    "started_before": _only("Only runs started earlier.", "TIME"),
    "ended_after": _only("Only runs that ended then or later.", "TIME"),
    "ended_before": _only("Only runs that ended earlier.", "TIME"),
}


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose parameter ``filters`` comes from the options."""

    @wraps(command)
    def with_options(*args: Any, **given: Any) -> None:
        command(*args, filters=_filters({name: given.pop(name) for name in OPTIONS}), **given)

    own = [one for one in parameters_of(command) if one.name != "filters"]
    return declared(with_options, [*own, *(option(name, None, OPTIONS[name]) for name in OPTIONS)])


def parameters_of(command: Callable[..., None]) -> list[inspect.Parameter]:
    """With their annotations, as Typer wants them."""
    return list(inspect.signature(command, eval_str=True).parameters.values())


def option(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def declared(wrapper: Any, parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """The wrapper of a command, with these parameters in the place of that command's."""
    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del wrapper.__wrapped__
    return wrapper  # type: ignore[no-any-return]


def _filters(given: dict[str, Any]) -> dict[str, Any]:
    """The keywords of ``engine.list``.

    Raises:
        UsageError: a tag or a time that cannot be read.
    """
    chosen = {name: value for name, value in given.items() if value}
    if "status" in chosen:
        chosen["status"] = chosen["status"].upper()
    if "tag" in chosen:
        chosen["tags"] = parse_tags(chosen.pop("tag"))
    return {
        name: _time(name, value) if name.endswith(("_after", "_before")) else value
        for name, value in chosen.items()
    }


def parse_tags(given: list[str] | None) -> dict[str, str]:
    """Tags as they are written, NAME=VALUE.

    Raises:
        UsageError: one is written otherwise.
    """
    return dict(_tag(one) for one in given or ())


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--tag {text!r}: write NAME=VALUE, such as merchant=42.")
    return name, value


def _time(name: str, text: str) -> datetime:
    ago = parse_duration(text)
    if ago is not None:
        return datetime.now(UTC) - ago
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        option = name.replace("_", "-")
        raise UsageError(f"--{option} {text!r}: {TIME_HELP}") from None


def parse_duration(text: str) -> timedelta | None:
    """A length of time such as 30m, 2h or 7d; None if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    return timedelta(**{UNITS[match[2]]: float(match[1])}) if match else None
