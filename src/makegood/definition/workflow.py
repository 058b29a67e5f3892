"""``@mg.workflow``: an ordinary ``async def`` that the engine makes durable."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from makegood.definition.child import ChildStep
from makegood.definition.schedule import checked_schedule
from makegood.definition.scope import current_scope
from makegood.definition.signal import Signal, signals_of
from makegood.definition.signature import Signature
from makegood.definition.validation import (
    checked_function,
    checked_name,
    checked_tick_parameter,
    checked_version,
    timeout_seconds,
)
from makegood.errors import DefinitionError, OutsideWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime, timedelta

    import msgspec

    from makegood.definition.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Generic[P, R]):
    """A declared workflow: give it to ``engine.start``. ``function`` is the undecorated coroutine function.

    Called inside another workflow, it starts a child run at once and returns an awaitable for its result.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        name: str,
        schedule: Schedule | None = None,
        version: int = 1,
        timeout_seconds: float | None = None,
        *,
        usual_seconds: float | None = None,
    ) -> None:
        checked_name(name)
        if not inspect.iscoroutinefunction(function):
            raise DefinitionError(f"workflow {name} must be declared with `async def`.")
        self.function = function
        self.name = name
        self.version = checked_version(version, name)
        self.signature = Signature(function, "workflow")
        self.schedule = schedule
        self.timeout_seconds = timeout_seconds
        self.usual_seconds = usual_seconds
        self._tick = checked_tick_parameter(function, name) if schedule is not None else None
        self.__name__ = name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    @property
    def title(self) -> str:
        """The name, and the version where that is not the first."""
        return titled(self.name, self.version)

    def deadline(self, started_at: float) -> float:
        """When the time of a run is over that starts now (seconds since 1970); 0: never."""
        return 0.0 if self.timeout_seconds is None else started_at + self.timeout_seconds

    def arguments_at(self, tick: datetime) -> msgspec.Raw:
        """The arguments of the run that a schedule starts for this tick."""
        if self._tick is None:
            return self.signature.encode_arguments((), {})
        if self._tick.kind is self._tick.KEYWORD_ONLY:
            return self.signature.encode_arguments((), {self._tick.name: tick})
        return self.signature.encode_arguments((tick,), {})

    @cached_property
    def signals(self) -> dict[str, Signal[Any]]:
        """The signals by name that its module declares, or the functions around it."""
        return signals_of(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        scope = current_scope.get()
        if scope is None:
            raise OutsideWorkflow(
                f"workflow {self.name} was called outside a workflow. Start it with "
                f"`await engine.start({self.name}, …)`, or call {self.name}.function(…) for the plain coroutine, "
                "not durably."
            )
        return scope.call_child(self, args, kwargs, None)  # type: ignore[return-value] # it can be awaited just so

    @cached_property
    def as_step(self) -> ChildStep:
        """What it is to a run that calls it."""
        return ChildStep(self)

    def __repr__(self) -> str:
        return f"<workflow {self.title}>"


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = ...,
    version: int = ...,
    schedule: str | Schedule | None = ...,
    timeout: float | timedelta | None = ...,
    usual: float | timedelta | None = ...,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Workflow[P, R]]: ...
def workflow(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    schedule: str | Schedule | None = None,
    timeout: float | timedelta | None = None,
    usual: float | timedelta | None = None,
) -> Any:
    """Declare a workflow: steps in an ``async def`` that survives crashes and is undone when it fails.

    Args:
        name: its name in the journal; the function's own by default. Renaming it strands running runs.
        version: of this code, from 1. Runs go on with the version that they began with, for as long as the engine is
            given a function of this name and that version; new runs begin with the function that is started.
        schedule: when it starts by itself: a cron expression (in UTC), or an ``mg.Schedule``. It may then require no
            parameter but one ``datetime``, which gets the tick.
        timeout: seconds (or a timedelta) from the run's start, for all of it. Then the workflow is cancelled and what
            was done is undone, however long that takes; the cause is a ``TimeoutError``. Behind ``mg.pivot()`` it is void.
        usual: seconds (or a timedelta) after which a run that has not ended is told of to the engine's ``on_stuck`` hooks.
            Without it that is learned from the workflow's own runs.
    """
    when, limit_seconds = checked_schedule(schedule), timeout_seconds(timeout)
    usual_seconds = timeout_seconds(usual, "usual")

    def declare(declared: Callable[P, Coroutine[Any, Any, R]]) -> Workflow[P, R]:
        checked_function(declared, "workflow")
        return Workflow(
            declared,
            declared.__name__ if name is None else name,
            when,
            version,
            limit_seconds,
            usual_seconds=usual_seconds,
        )

    return declare if function is None else declare(function)


def titled(name: str, version: int) -> str:
    """A workflow in words: its name, and its version where that is not the first."""
    return name if version == 1 else f"{name} (version {version})"
