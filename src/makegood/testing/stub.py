"""Stubs: what is called in the place of a step, a compensation or a probe, on one engine."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from makegood.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from makegood.testing.calls import Call


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Any = _Nothing()


class Stub:
    """Made by ``VirtualEngine.stub``. ``calls`` are those made so far."""

    def __init__(
        self,
        returns: Any = NOTHING,
        raises: BaseException | type[BaseException] | None = None,
        does: Callable[..., Any] | None = None,
        in_turn: Sequence[Any] | None = None,
    ) -> None:
        given = (returns is not NOTHING, raises is not None, does is not None, in_turn is not None)
        if sum(given) > 1:
            raise UsageError("a stub is given one of returns=, raises=, does= and in_turn=, and no more.")
        if in_turn is not None and not in_turn:
            raise UsageError("a stub with in_turn= needs at least one answer; the last one is given again.")
        self.calls: list[Call] = []
        self._does = does
        self._answers = in_turn or [raises if raises is not None else None if returns is NOTHING else returns]

    async def answer(self, call: Call) -> Any:
        """Give the next answer; an exception is raised."""
        self.calls.append(call)
        if self._does is not None:
            value = self._does(*call.args, **call.kwargs)
            return await value if inspect.isawaitable(value) else value
        value = self._answers[min(len(self.calls), len(self._answers)) - 1]
        if isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException)):
            raise value
        return value
