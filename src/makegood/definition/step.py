"""``@mg.step``: one durable effect, with its compensation, its probe and its options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from makegood.definition.breaker import Breaker, checked_breaker
from makegood.definition.rate import Rate, checked_rate
from makegood.definition.retry import Retry, wait_before
from makegood.definition.scope import current_scope
from makegood.definition.signature import Signature, accepts_none_first
from makegood.definition.validation import (
    checked_choice,
    checked_concurrency,
    checked_exceptions,
    checked_function,
    checked_name,
    checked_retry,
    timeout_seconds,
)
from makegood.errors import DefinitionError, OutsideWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta

    from makegood.definition.completion import Pending

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")

DEFAULT_RETRY = Retry(max_attempts=3, initial=0.5, factor=2)


class NotDone:
    """What a probe returns when it knows that the step did not take effect: ``return mg.NotDone()``."""

    def __repr__(self) -> str:
        return "NotDone()"


class StepOptions(msgspec.Struct, frozen=True):
    """How a step is run. Times in seconds; ``retry=None`` is one attempt."""

    name: str
    retry: Retry | None = DEFAULT_RETRY
    timeout_seconds: float | None = None
    critical: bool = True
    on_exhausted: Literal["fail", "park"] = "fail"
    fatal: tuple[type[BaseException], ...] = ()
    unknown: tuple[type[BaseException], ...] = ()
    heartbeat_timeout_seconds: float | None = None
    breaker: Breaker | None = None
    rate_limit: Rate | None = None
    max_concurrency: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether attempts may have to wait for one another."""
        return self.rate_limit is not None or self.max_concurrency is not None


class Compensation(msgspec.Struct, frozen=True):
    """How a step is undone: a function of its result (None: nobody knows) and its arguments.

    ``transacts``: it is a transaction and takes the store's connection before them. ``limited``: by the step's own limits.
    """

    function: Callable[..., Any]
    is_async: bool
    retry: Retry | None = DEFAULT_RETRY
    timeout_seconds: float | None = None
    transacts: bool = False
    breaker: Breaker | None = None
    limited: bool = False


class Safeguards(msgspec.Struct):
    """What is declared beside a step. The variants that ``options()`` makes share their origin's."""

    undo: Compensation | None = None
    probe: Callable[..., Any] | None = None


class Step(Generic[P, R]):
    """A declared step. Calling it inside a workflow runs it durably; ``function`` is the undecorated function.

    A call schedules the step at once, like ``asyncio.create_task``, and returns an awaitable for its result.
    A call that is never awaited is still waited for before the run ends.
    """

    kind = "step"
    transactional = False  # see definition.transaction
    gated = False  # whether attempts of it, or of its compensation, may be held: see worker.gates

    def __init__(self, function: Callable[..., Any], options: StepOptions) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.options_ = options
        self.first_wait_seconds = wait_before(options.retry, 1, 0.5) or 0.0
        self.signature = Signature(function, self.kind, int(self.transactional))
        self.safeguards = Safeguards()
        if options.breaker is not None or options.is_limited:
            self.gated = True
        self.__name__ = options.name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    @property
    def undo(self) -> Compensation | None:
        """The compensation, once it is declared."""
        return self.safeguards.undo

    @property
    def probe_function(self) -> Callable[..., Any] | None:
        """The probe, once it is declared."""
        return self.safeguards.probe

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        scope = current_scope.get()
        if scope is None:
            raise OutsideWorkflow(
                f"step {self.options_.name} was called outside a workflow. Await it inside an @mg.workflow function "
                f"that an engine runs, or call {self.options_.name}.function(…) to run the plain function, not durably."
            )
        return scope.call_step(self, args, kwargs)

    @overload
    def options(
        self,
        *,
        name: str | None = ...,
        retry: Retry | Literal["same"] | None = ...,
        timeout: float | timedelta | Literal["same"] | None = ...,
        heartbeat_timeout: float | timedelta | Literal["same"] | None = ...,
        critical: Literal[True] | None = ...,
        on_exhausted: Literal["fail", "park"] | None = ...,
    ) -> Step[P, R]: ...
    @overload
    def options(
        self,
        *,
        name: str | None = ...,
        retry: Retry | Literal["same"] | None = ...,
        timeout: float | timedelta | Literal["same"] | None = ...,
        heartbeat_timeout: float | timedelta | Literal["same"] | None = ...,
        critical: Literal[False],
        on_exhausted: Literal["fail", "park"] | None = ...,
    ) -> Step[P, R | None]: ...
    def options(
        self,
        *,
        name: str | None = None,
        retry: Retry | Literal["same"] | None = "same",
        timeout: float | timedelta | Literal["same"] | None = "same",
        heartbeat_timeout: float | timedelta | Literal["same"] | None = "same",
        critical: bool | None = None,
        on_exhausted: Literal["fail", "park"] | None = None,
    ) -> Step[P, Any]:
        """The same step with other options, for one call: ``await charge.options(timeout=5)(order)``."""
        same = self.options_
        exhausted = same.on_exhausted if on_exhausted is None else on_exhausted
        checked_choice(exhausted, ("fail", "park"), "on_exhausted")
        other: Step[P, Any] = type(self)(
            self.function,
            msgspec.structs.replace(
                same,
                name=same.name if name is None else checked_name(name),
                retry=same.retry if retry == "same" else checked_retry(retry),
                timeout_seconds=same.timeout_seconds if timeout == "same" else timeout_seconds(timeout),
                heartbeat_timeout_seconds=(
                    same.heartbeat_timeout_seconds
                    if heartbeat_timeout == "same"
                    else timeout_seconds(heartbeat_timeout, "heartbeat_timeout")
                ),
                critical=same.critical if critical is None else critical,
                on_exhausted=exhausted,
            ),
        )
        other.signature = self.signature
        other.safeguards, other.gated = self.safeguards, self.gated
        return other

    @overload
    def compensation(
        self, function: Callable[Concatenate[R | None, P], U], /
    ) -> Callable[Concatenate[R | None, P], U]: ...
    @overload
    def compensation(
        self,
        /,
        *,
        retry: Retry | None = ...,
        timeout: float | timedelta | None = ...,
        breaker: Breaker | str | None = ...,
    ) -> Callable[[Callable[Concatenate[R | None, P], U]], Callable[Concatenate[R | None, P], U]]: ...
    def compensation(
        self,
        function: Any = None,
        /,
        *,
        retry: Retry | None = DEFAULT_RETRY,
        timeout: float | timedelta | None = None,
        breaker: Breaker | str | None = None,
    ) -> Any:
        """Declare how this step is undone: a function of its result (None: nobody knows it) and its arguments.

        It must be idempotent and must cope with an effect that never happened. The function is returned unchanged.
        """

        def declare(undo: Callable[..., U]) -> Callable[..., U]:
            self._check_undo(undo, given=1)
            if not accepts_none_first(undo):
                raise DefinitionError(
                    f"compensation {undo.__name__} of step {self.options_.name}: the first parameter is the step's result "
                    "and is None when nobody knows it. Annotate it as `… | None` and handle None."
                )
            self._declare_undo(undo, retry, timeout, breaker)
            return undo

        return declare if function is None else declare(function)

    def _check_undo(self, undo: Callable[..., Any], given: int) -> None:
        if self.undo is not None:
            raise DefinitionError(
                f"{self.kind} {self.options_.name} already has a compensation, {self.undo.function.__name__}."
            )
        checked_function(undo, f"compensation of {self.kind} {self.options_.name}")
        self._check_parameters("compensation", undo, given)

    def _declare_undo(
        self,
        undo: Callable[..., Any],
        retry: Retry | None,
        timeout: float | timedelta | None,
        breaker: Breaker | str | None,
        *,
        transacts: bool = False,
    ) -> None:
        self.safeguards.undo = Compensation(
            undo,
            inspect.iscoroutinefunction(undo),
            checked_retry(retry),
            timeout_seconds(timeout),
            transacts,
            checked_breaker(breaker),
        )
        self.gated = self.gated or breaker is not None

    @overload
    def probe(
        self, function: Callable[P, Coroutine[Any, Any, R | NotDone]], /
    ) -> Callable[P, Coroutine[Any, Any, R | NotDone]]: ...
    @overload
    def probe(self, function: Callable[P, R | NotDone], /) -> Callable[P, R | NotDone]: ...
    def probe(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare how to find out whether the step took effect: its result, or ``mg.NotDone()``.

        Takes the step's arguments. Asked after an attempt with an unknown outcome. The function is returned unchanged.
        """
        if self.probe_function is not None:
            raise DefinitionError(
                f"step {self.options_.name} already has a probe, {self.probe_function.__name__}."
            )
        checked_function(function, f"probe of step {self.options_.name}")
        self._check_parameters("probe", function, given=0)
        self.safeguards.probe = function
        return function

    def manner(self, kind: Literal["do", "undo", "probe"]) -> tuple[bool, float | None]:
        """How the function for this kind of attempt is run: whether it is async, and its time limit in seconds."""
        if kind == "do":
            return self.is_async, self.options_.timeout_seconds
        if kind == "undo" and self.undo is not None:
            return self.undo.is_async, self.undo.timeout_seconds
        return inspect.iscoroutinefunction(self.probe_function), self.options_.timeout_seconds

    def breaker(self, kind: Literal["do", "undo", "probe"]) -> Breaker | None:
        """The breaker that this kind of attempt names."""
        undo = self.undo if kind == "undo" else None
        return self.options_.breaker if undo is None else undo.breaker

    def is_limited(self, kind: Literal["do", "undo", "probe"]) -> bool:
        """Whether this kind of attempt keeps to the step's rate and concurrency."""
        return self.options_.is_limited and (kind != "undo" or (self.undo is not None and self.undo.limited))

    def call(
        self, kind: Literal["do", "undo", "probe"], arguments: msgspec.Raw, result: msgspec.Raw | None
    ) -> Any:
        """Call the function for this kind of attempt with stored arguments, a compensation with the result before them."""
        if kind == "do":
            return self.signature.call(arguments)
        if kind == "probe":
            if self.probe_function is None:
                raise DefinitionError(f"step {self.options_.name} no longer has a probe.")
            return self.signature.call_other(self.probe_function, arguments)
        if self.undo is None:
            raise DefinitionError(
                f"step {self.options_.name} no longer has the compensation that its journal records."
            )
        known = None if result is None else self.signature.decode_result(result)
        return self.signature.call_other(self.undo.function, arguments, known)

    def __repr__(self) -> str:
        return f"<step {self.options_.name}>"

    def transacts(self, _kind: Literal["do", "undo", "probe"]) -> bool:
        """Whether the function for this kind of attempt is a transaction of the store: done, or it never happened."""
        return False

    def _check_parameters(self, kind: str, function: Callable[..., Any], given: int) -> None:
        others = list(inspect.signature(function).parameters.values())
        takes_given = len(others) >= given and all(
            one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in others[:given]
        )
        own = self.signature.parameters
        if not takes_given or [(p.name, p.kind) for p in own] != [(p.name, p.kind) for p in others[given:]]:
            first = ("", "the result first, then ", "the connection and the result first, then ")[given]
            expected = ", ".join(p.name for p in own) or "nothing"
            raise DefinitionError(
                f"{kind} {function.__name__} of {self.kind} {self.options_.name} must take {first}the {self.kind}'s "
                f"own parameters: {expected}."
            )


@overload
def step(function: Callable[P, Coroutine[Any, Any, R | Pending]], /) -> Step[P, R]: ...
@overload
def step(function: Callable[P, R | Pending], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = ...,
    retry: Retry | None = ...,
    timeout: float | timedelta | None = ...,
    critical: Literal[True] = ...,
    on_exhausted: Literal["fail", "park"] = ...,
    fatal: tuple[type[BaseException], ...] = ...,
    unknown: tuple[type[BaseException], ...] = ...,
    heartbeat_timeout: float | timedelta | None = ...,
    breaker: Breaker | str | None = ...,
    rate_limit: str | None = ...,
    max_concurrency: int | None = ...,
) -> _StepDecorator: ...
@overload
def step(
    *,
    name: str | None = ...,
    retry: Retry | None = ...,
    timeout: float | timedelta | None = ...,
    critical: Literal[False],
    on_exhausted: Literal["fail", "park"] = ...,
    fatal: tuple[type[BaseException], ...] = ...,
    unknown: tuple[type[BaseException], ...] = ...,
    heartbeat_timeout: float | timedelta | None = ...,
    breaker: Breaker | str | None = ...,
    rate_limit: str | None = ...,
    max_concurrency: int | None = ...,
) -> _BestEffortDecorator: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = DEFAULT_RETRY,
    timeout: float | timedelta | None = None,
    critical: bool = True,
    on_exhausted: Literal["fail", "park"] = "fail",
    fatal: tuple[type[BaseException], ...] = (),
    unknown: tuple[type[BaseException], ...] = (),
    heartbeat_timeout: float | timedelta | None = None,
    breaker: Breaker | str | None = None,
    rate_limit: str | None = None,
    max_concurrency: int | None = None,
) -> Any:
    """Declare a step: an effect that is recorded, retried and, if need be, undone.

    Args:
        name: its name in the journal; the function's own by default. Renaming it breaks running runs.
        retry: when to try again; ``None`` is one attempt. By default three attempts, after 0.5 and 1 seconds.
        timeout: seconds (or a timedelta) for one attempt; then its outcome is unknown.
        critical: False for best effort: a failure is recorded and listed, and the call returns None.
        on_exhausted: ``"fail"`` raises ``StepFailed`` in the workflow; ``"park"`` waits for an operator.
        fatal: exceptions after which trying again is pointless.
        unknown: exceptions after which nobody knows whether the step took effect. ``TimeoutError`` always is one.
        heartbeat_timeout: seconds (or a timedelta) without ``mg.heartbeat()`` after which an attempt is given up on.
        breaker: what it depends on, an ``mg.Breaker`` or its name: while that is open, attempts are held, and not counted.
        rate_limit: at most so many attempts begin in any such time, such as ``"10/s"`` or ``"100/min"``.
        max_concurrency: at most so many attempts are under way at a time. Both hold for all runs of a worker together.
    """

    def declare(declared: Callable[..., Any]) -> Step[Any, Any]:
        checked_function(declared, "step")
        checked_choice(on_exhausted, ("fail", "park"), "on_exhausted")
        options = StepOptions(
            name=checked_name(declared.__name__ if name is None else name),
            retry=checked_retry(retry),
            timeout_seconds=timeout_seconds(timeout),
            critical=critical,
            on_exhausted=on_exhausted,
            fatal=checked_exceptions(fatal, "fatal"),
            unknown=(*checked_exceptions(unknown, "unknown"), TimeoutError),
            heartbeat_timeout_seconds=timeout_seconds(heartbeat_timeout, "heartbeat_timeout"),
            breaker=checked_breaker(breaker),
            rate_limit=checked_rate(rate_limit, "rate_limit"),
            max_concurrency=checked_concurrency(max_concurrency),
        )
        return Step(declared, options)

    return declare if function is None else declare(function)


if TYPE_CHECKING:
    from typing import Protocol

    class _StepDecorator(Protocol):
        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R | Pending]], /) -> Step[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R | Pending], /) -> Step[P, R]: ...

    class _BestEffortDecorator(Protocol):
        @overload
        def __call__(
            self, function: Callable[P, Coroutine[Any, Any, R | Pending]], /
        ) -> Step[P, R | None]: ...
        @overload
        def __call__(self, function: Callable[P, R | Pending], /) -> Step[P, R | None]: ...
