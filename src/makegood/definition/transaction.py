"""``@mg.transaction``: a step whose SQL, result and journal entry are one transaction of the store.

It is done, or it never happened: no crash leaves its outcome unknown, and none makes it happen twice.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from makegood.definition.breaker import Breaker, checked_breaker
from makegood.definition.rate import checked_rate
from makegood.definition.step import DEFAULT_RETRY, Step, StepOptions
from makegood.definition.validation import (
    checked_choice,
    checked_exceptions,
    checked_function,
    checked_name,
    checked_retry,
    timeout_seconds,
)
from makegood.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    import msgspec

    from makegood.definition.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")

DEFAULT_TIMEOUT_SECONDS = 5.0


class Connection(Protocol):
    """The store's own connection, as a transaction sees it; it works until the function returns."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL and return all its rows."""

    def executemany(self, sql: str, many: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run one statement for each set of parameters."""

    @property
    def last_insert_rowid(self) -> int:
        """The row id of the latest insert."""

    @property
    def changes(self) -> int:
        """How many rows the latest statement changed."""


class Transaction(Step[P, R], Generic[P, R]):
    """A declared transaction. Called like a step, without the connection."""

    kind = "transaction"
    transactional = True

    def transacts(self, kind: Literal["do", "undo", "probe"]) -> bool:
        return kind == "do" or (kind == "undo" and self.undo is not None and self.undo.transacts)

    def call_on(
        self,
        connection: Connection,
        kind: Literal["do", "undo", "probe"],
        arguments: msgspec.Raw,
        result: msgspec.Raw | None,
    ) -> Any:
        """Call the function for an attempt that ``transacts``."""
        if kind == "do":
            return self.signature.call_other(self.function, arguments, connection)
        assert self.undo is not None
        known = None if result is None else self.signature.decode_result(result)
        return self.signature.call_other(self.undo.function, arguments, connection, known)

    @overload  # type: ignore[override] # its result is always known: the compensation need not take None
    def compensation(self, function: Callable[Concatenate[R, P], U], /) -> Callable[Concatenate[R, P], U]: ...
    @overload
    def compensation(
        self,
        /,
        *,
        retry: Retry | None = ...,
        timeout: float | timedelta | None = ...,
        breaker: Breaker | str | None = ...,
    ) -> Callable[[Callable[Concatenate[R, P], U]], Callable[Concatenate[R, P], U]]: ...
    def compensation(
        self,
        function: Any = None,
        /,
        *,
        retry: Retry | None = DEFAULT_RETRY,
        timeout: float | timedelta | None = None,
        breaker: Breaker | str | None = None,
    ) -> Any:
        """Declare how this transaction is undone by an ordinary function: of its result and its arguments.

        It must be idempotent. Where it is SQL on the same database, ``compensating_transaction`` is the better way.
        """

        def declare(undo: Callable[..., U]) -> Callable[..., U]:
            self._check_undo(undo, given=1)
            self._declare_undo(undo, retry, timeout, breaker)
            return undo

        return declare if function is None else declare(function)

    @overload
    def compensating_transaction(
        self, function: Callable[Concatenate[Connection, R, P], U], /
    ) -> Callable[Concatenate[Connection, R, P], U]: ...
    @overload
    def compensating_transaction(
        self,
        /,
        *,
        retry: Retry | None = ...,
        timeout: float | timedelta | None = ...,
        breaker: Breaker | str | None = ...,
    ) -> Callable[
        [Callable[Concatenate[Connection, R, P], U]], Callable[Concatenate[Connection, R, P], U]
    ]: ...
    def compensating_transaction(
        self,
        function: Any = None,
        /,
        *,
        retry: Retry | None = DEFAULT_RETRY,
        timeout: float | timedelta | None = DEFAULT_TIMEOUT_SECONDS,
        breaker: Breaker | str | None = None,
    ) -> Any:
        """Declare how this transaction is undone by another one: a function of the connection, the result and the arguments.

        It happens exactly once, as the transaction itself does.
        """

        def declare(undo: Callable[..., U]) -> Callable[..., U]:
            self._check_undo(undo, given=2)
            _checked_plain(undo, f"compensating transaction {undo.__name__}")
            self._declare_undo(undo, retry, timeout, breaker, transacts=True)
            return undo

        return declare if function is None else declare(function)

    def probe(self, function: Callable[..., Any], /) -> Any:
        """Refused: a transaction's outcome is never unknown."""
        raise DefinitionError(
            f"probe {getattr(function, '__name__', function)!s} of transaction {self.options_.name}: a transaction's "
            "outcome is never unknown, so there is nothing to find out. Leave the probe out."
        )

    def __repr__(self) -> str:
        return f"<transaction {self.options_.name}>"


def _checked_plain(function: Callable[..., Any], where: str) -> None:
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{where}: declare it with `def`. An SQLite file has one writer at a time, and whatever the function would "
            "await, every other run would wait for as well. What is to be awaited belongs in an @mg.step."
        )


@overload
def transaction(function: Callable[Concatenate[Connection, P], R], /) -> Transaction[P, R]: ...
@overload
def transaction(
    *,
    name: str | None = ...,
    retry: Retry | None = ...,
    timeout: float | timedelta | None = ...,
    critical: Literal[True] = ...,
    on_exhausted: Literal["fail", "park"] = ...,
    fatal: tuple[type[BaseException], ...] = ...,
    breaker: Breaker | str | None = ...,
    rate_limit: str | None = ...,
) -> _TransactionDecorator: ...
@overload
def transaction(
    *,
    name: str | None = ...,
    retry: Retry | None = ...,
    timeout: float | timedelta | None = ...,
    critical: Literal[False],
    on_exhausted: Literal["fail", "park"] = ...,
    fatal: tuple[type[BaseException], ...] = ...,
    breaker: Breaker | str | None = ...,
    rate_limit: str | None = ...,
) -> _BestEffortDecorator: ...
def transaction(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = DEFAULT_RETRY,
    timeout: float | timedelta | None = DEFAULT_TIMEOUT_SECONDS,
    critical: bool = True,
    on_exhausted: Literal["fail", "park"] = "fail",
    fatal: tuple[type[BaseException], ...] = (),
    breaker: Breaker | str | None = None,
    rate_limit: str | None = None,
) -> Any:
    """Declare a step that runs SQL on the store's own database: exactly once, together with its record in the journal.

    A plain ``def`` whose first parameter is the connection (``mg.Connection``), which callers do not pass. An
    exception rolls its SQL back. While it runs, no other run's progress can be written: keep it short.

    Args:
        name: its name in the journal; the function's own by default. Renaming it breaks running runs.
        retry: when to try again; ``None`` is one attempt. By default three attempts, after 0.5 and 1 seconds.
        timeout: seconds (or a timedelta) for one attempt; then it is rolled back. None for no limit.
        critical: False for best effort: a failure is recorded and listed, and the call returns None.
        on_exhausted: ``"fail"`` raises ``StepFailed`` in the workflow; ``"park"`` waits for an operator.
        fatal: exceptions after which trying again is pointless.
        breaker: what it depends on, an ``mg.Breaker`` or its name: while that is open, attempts are held, and not counted.
        rate_limit: at most so many attempts begin in any such time, such as ``"10/s"``, all runs of a worker together.
    """

    def declare(declared: Callable[..., Any]) -> Transaction[Any, Any]:
        checked_function(declared, "transaction")
        _checked_plain(declared, f"transaction {declared.__name__}")
        first = next(iter(inspect.signature(declared).parameters.values()), None)
        if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
            raise DefinitionError(
                f"transaction {declared.__name__}: the first parameter is the connection: "
                f"def {declared.__name__}(connection: mg.Connection, …)."
            )
        checked_choice(on_exhausted, ("fail", "park"), "on_exhausted")
        options = StepOptions(
            name=checked_name(declared.__name__ if name is None else name),
            retry=checked_retry(retry),
            timeout_seconds=timeout_seconds(timeout),
            critical=critical,
            on_exhausted=on_exhausted,
            fatal=checked_exceptions(fatal, "fatal"),
            breaker=checked_breaker(breaker),
            rate_limit=checked_rate(rate_limit, "rate_limit"),
        )
        return Transaction(declared, options)

    return declare if function is None else declare(function)


if TYPE_CHECKING:

    class _TransactionDecorator(Protocol):
        def __call__(self, function: Callable[Concatenate[Connection, P], R], /) -> Transaction[P, R]: ...

    class _BestEffortDecorator(Protocol):
        def __call__(
            self, function: Callable[Concatenate[Connection, P], R], /
        ) -> Transaction[P, R | None]: ...
