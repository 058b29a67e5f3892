"""``mg.Signal``: a typed message that a run can be sent, at any time, and that its workflow receives when it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

import msgspec

from makegood.definition.keys import ID_LIMIT_CHARACTERS
from makegood.definition.payload import LIMIT_BYTES, Payload
from makegood.definition.scope import current_scope
from makegood.definition.sleep import checked_seconds
from makegood.definition.validation import checked_name
from makegood.errors import DefinitionError, OutsideWorkflow, PayloadError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import timedelta

T = TypeVar("T")


class Signal(Generic[T]):
    """A kind of message to a run, named in its journal, with a payload of one type (None: it says enough by coming).

    Signals of one name are received in the order in which they were accepted, each once. ``async for value in signal:``
    receives for ever.

    Args:
        name: letters, digits, ``_``, ``-`` and ``.``.
        carries: its payload's type, which can be stored as JSON.
    """

    @overload
    def __init__(self: Signal[None], name: str) -> None: ...
    @overload
    def __init__(self, name: str, carries: type[T]) -> None: ...
    @overload
    def __init__(self: Signal[Any], name: str, carries: Any) -> None: ...
    def __init__(self, name: str, carries: Any = None) -> None:
        self.name = checked_name(name)
        if isinstance(carries, str):
            raise DefinitionError(f"signal {name}: give the type {carries} itself, not its name as a string.")
        self.payload = Payload(carries, f"signal {name}")

    def receive(self, timeout: float | timedelta | None = None) -> Coroutine[Any, Any, T]:
        """The next of these signals, inside a workflow; waits for it if there is none yet.

        A receive that is cancelled or times out takes nothing away: the signal is there for the next one.

        Args:
            timeout: how long to wait, durably: seconds or a timedelta; None for ever.

        Raises:
            TimeoutError: none came in time.
            UsageError: the timeout is no time from 0 seconds to 1000 years.
            OutsideWorkflow: no workflow runs here.
        """
        limit_seconds = None if timeout is None else checked_seconds(timeout, f"signal {self.name}: receive")
        scope = current_scope.get()
        if scope is None:
            raise OutsideWorkflow(
                f"signal {self.name}: receive() was called where no workflow runs. Receive inside an @mg.workflow "
                f"function; to send one, use `await run.signal({self.name}, …)`."
            )
        return scope.receive(self, limit_seconds)

    def __aiter__(self) -> Signal[T]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self.receive()

    def __iter__(self) -> NoReturn:
        raise UsageError(f"signal {self.name}: iterate with `async for`.")

    def __repr__(self) -> str:
        return f"<signal {self.name}>"


def checked_signal_id(signal_id: str) -> str:
    """The id, if it can tell a signal from others; "" for none.

    Raises:
        UsageError: it is no string, too long, or not printable.
    """
    if not isinstance(signal_id, str) or len(signal_id) > ID_LIMIT_CHARACTERS or not signal_id.isprintable():
        raise UsageError(
            f"signal id {signal_id!r} is not usable: a string of at most {ID_LIMIT_CHARACTERS} printable characters."
        )
    return signal_id


def check_signal(name: str, data: msgspec.Raw, declared: Signal[Any] | None) -> None:
    """Refuse a signal that no workflow could read.

    Raises:
        UsageError: there can be no signal of that name.
        PayloadError: the payload is too large, or does not fit the type that was declared.
    """
    try:
        checked_name(name)
    except DefinitionError as error:
        raise UsageError(f"there can be no signal of this name: {error}") from None
    size_bytes = len(bytes(data))
    if size_bytes > LIMIT_BYTES:
        raise PayloadError(
            f"signal {name}: {size_bytes:,} bytes of JSON, and the limit is {LIMIT_BYTES:,}. "
            "Keep large data elsewhere and send a reference to it."
        )
    if declared is not None:
        declared.payload.decode(data)


def same_signal(one: Signal[Any], other: Signal[Any]) -> bool:
    return one is other or one.payload.annotation == other.payload.annotation


def signals_of(function: Callable[..., Any]) -> dict[str, Signal[Any]]:
    """The signals by name that a workflow function can name: those of its module and of the functions around it.

    Raises:
        DefinitionError: two of one name carry different types.
    """
    cells = [cell for cell in function.__closure__ or () if not _is_empty(cell)]
    return by_name((*function.__globals__.values(), *(cell.cell_contents for cell in cells)), {})


def by_name(things: Iterable[Any], known: dict[str, Signal[Any]]) -> dict[str, Signal[Any]]:
    """The signals among the things, beside those that are known.

    Raises:
        DefinitionError: two of one name carry different types.
    """
    found = dict(known)
    for thing in things:
        if not isinstance(thing, Signal):
            continue
        before = found.setdefault(thing.name, thing)
        if not same_signal(before, thing):
            raise DefinitionError(
                f"two signals are called {thing.name}: one carries {before.payload.annotation!r}, the other "
                f"{thing.payload.annotation!r}. Declare it once, or give one of them another name."
            )
    return found


def _is_empty(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False
