"""What is kept of an exception: text only, safe to store whatever the exception was.

Used by the journal (``engine``) and by the errors that carry a recorded cause (``errors``).
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from types import TracebackType

MESSAGE_LIMIT_CHARACTERS = 2_000
TRACEBACK_LIMIT_CHARACTERS = 8_000
FRAMES_LIMIT = 20


ExceptionType: TypeAlias = type[BaseException]


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as recorded: ``type`` is ``module.QualifiedName``, ``traceback`` may be empty."""

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        name = self.type.rpartition(".")[2]
        return f"{name}: {self.message}" if self.message else name

    def is_a(self, exception_type: ExceptionType) -> bool:
        """Whether it was this type (compared by name; subclasses do not count)."""
        return self.type == type_name(exception_type)

    @classmethod
    def of(cls, exception: BaseException, *, with_traceback: bool = True) -> Failure:
        """Describe any exception, even one whose own ``__str__`` raises or returns text that UTF-8 cannot hold."""
        try:
            message = str(exception)
            if isinstance(exception, BaseExceptionGroup):
                message += ": " + "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(exception))
        except BaseException as unprintable:  # noqa: BLE001 - an exception may raise anything while printing itself
            message = f"<unprintable: {type(unprintable).__name__}>"
        trace = _frames(exception.__traceback__) if with_traceback else ""
        return cls(
            _storable(type_name(type(exception)), MESSAGE_LIMIT_CHARACTERS),
            _storable(message, MESSAGE_LIMIT_CHARACTERS),
            _storable(trace, TRACEBACK_LIMIT_CHARACTERS),
        )


def leaves(exception: BaseException) -> list[BaseException]:
    """The exceptions that a group holds, groups in it taken apart; of any other exception itself."""
    if not isinstance(exception, BaseExceptionGroup):
        return [exception]
    return [leaf for inner in exception.exceptions for leaf in leaves(inner)]


def type_name(exception_type: ExceptionType) -> str:
    """``module.QualifiedName``; without the module for built-in exceptions."""
    module = exception_type.__module__
    return exception_type.__qualname__ if module == "builtins" else f"{module}.{exception_type.__qualname__}"


def _frames(trace: TracebackType | None) -> str:
    """Where it was raised, outermost first, without our own frames and without reading any source file."""
    lines = [
        f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_qualname}\n'
        for frame, line in traceback.walk_tb(trace)
        if not str(frame.f_globals.get("__name__", "")).startswith("makegood.")
    ]
    return "".join(lines[-FRAMES_LIMIT:])


def _storable(text: str, limit_characters: int) -> str:
    if len(text) > limit_characters:
        text = text[:limit_characters] + " … (cut)"
    return text.encode("utf-8", "replace").decode()
