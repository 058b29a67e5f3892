"""Checks of what users write in declarations: names, functions, options. Each says what, where and what to do."""

from __future__ import annotations

import inspect
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from makegood.definition.retry import Retry, seconds
from makegood.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

VERSION_LIMIT = 1_000_000_000


def checked_function(thing: Any, kind: str) -> Callable[..., Any]:
    """The thing, if it is a function that can be called and answers once."""
    if not inspect.isroutine(thing):
        hint = " The name is given as name=…." if isinstance(thing, str) else ""
        raise DefinitionError(f"{kind}: {thing!r} is no function. Decorate a `def` or `async def`.{hint}")
    if inspect.isgeneratorfunction(thing) or inspect.isasyncgenfunction(thing):
        raise DefinitionError(
            f"{kind}: {thing.__name__} is a generator, and nobody would iterate it. Return a list instead of yielding."
        )
    return thing


def checked_name(name: str) -> str:
    """The name, if it can stand in journals, idempotency keys and headers."""
    plain = name.replace("-", "_").replace(".", "_") if isinstance(name, str) else ""
    if not plain.isidentifier() or len(name) > 100:
        raise DefinitionError(
            f"{name!r} is no usable name: letters, digits, '_', '-' and '.', at most 100, no digit first."
        )
    return name


def checked_retry(retry: Retry | None) -> Retry | None:
    """The policy, if it is one."""
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(
            f"retry={retry!r} is no retry policy: use mg.Retry(delays=[0, 1, 5]), mg.Retry(max_attempts=5), "
            "or None for a single attempt."
        )
    return retry


def checked_exceptions(
    types: tuple[type[BaseException], ...], option: str
) -> tuple[type[BaseException], ...]:
    """The exception classes, if they are a tuple of such."""
    if not isinstance(types, tuple) or not all(
        isinstance(one, type) and issubclass(one, BaseException) for one in types
    ):
        raise DefinitionError(
            f"{option}={types!r}: give a tuple of exception classes, such as {option}=(ValueError,)."
        )
    return types


def checked_choice(value: str, choices: tuple[str, ...], option: str) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise DefinitionError(f"{option}={value!r}: it is one of {', '.join(map(repr, choices))}.")


def checked_version(version: int, workflow: str) -> int:
    """The version, if it can be one."""
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= VERSION_LIMIT:
        raise DefinitionError(
            f"workflow {workflow}: version={version!r}: give a whole number from 1 to {VERSION_LIMIT:,}."
        )
    return version


def checked_concurrency(limit: int | None) -> int | None:
    """The number of attempts at a time, if it can be one; None for no limit."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise DefinitionError(f"max_concurrency={limit!r}: give a whole number from 1, or None for no limit.")
    return limit


def timeout_seconds(timeout: float | timedelta | None, option: str = "timeout") -> float | None:
    """A time limit in seconds; None for no limit."""
    if timeout is None:
        return None
    value = seconds(timeout, option)
    if value == 0:
        raise DefinitionError(
            f"{option}=0 leaves no time at all: give seconds above 0, or None for no limit."
        )
    return value


def checked_tick_parameter(function: Callable[..., Any], name: str) -> inspect.Parameter | None:
    """The parameter of a scheduled workflow that gets the tick: the one that it requires, if any."""
    required = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    if not required:
        return None
    if len(required) > 1 or _annotation(function, required[0], name) is not datetime:
        raise DefinitionError(
            f"workflow {name} has a schedule, which can give it nothing but the tick: it may require one parameter, "
            f"annotated with datetime, or none. It requires {', '.join(map(str, required))}: give them defaults."
        )
    return required[0]


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter, name: str) -> Any:
    lone = SimpleNamespace(__annotations__={"tick": parameter.annotation})
    try:
        return get_type_hints(lone, getattr(function, "__globals__", {}))["tick"]
    except Exception as error:
        raise DefinitionError(
            f"workflow {name} has a schedule, and the annotation of {parameter} cannot be resolved: {error}. "
            "Import datetime at module level, at run time, not only under TYPE_CHECKING."
        ) from error
