"""Steps seen from outside: each call of a step, its compensation or its probe, with its key and how it ended.

An engine of ``testing`` is given a ``WatchedStep`` for each attempt, in the step's place; the step itself stays as it is.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from makegood.definition.attempt import current_attempt
from makegood.definition.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import msgspec

Kind: TypeAlias = Literal["do", "undo", "probe"]


@dataclass(slots=True, eq=False)
class Call:
    """One call. ``kind``: of the step's function, its compensation (``undo``) or its probe.

    ``args`` and ``kwargs`` are the step's own, ``number`` is its place in the run, ``attempt`` counts from 1.
    ``given`` is the step's result as a compensation got it, None if nobody knew it.
    ``outcome`` is "" while it is under way, or if it was cut off.
    """

    step: str
    kind: Kind
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str
    attempt: int
    run_id: str
    number: int
    given: Any = None
    outcome: Literal["", "returned", "raised"] = ""
    result: Any = None
    error: BaseException | None = None
    definition: Step[..., Any] = field(repr=False, kw_only=True)

    async def make(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Call a function, and note how that ends."""
        try:
            self.result = await function()
        except BaseException as error:
            self.outcome, self.error = "raised", error
            raise
        self.outcome = "returned"
        return self.result


Around: TypeAlias = "Callable[[Call, Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]"
"""Makes a call: is given what to call, the user's function, and gives the attempt's result."""


class WatchedStep(Step[..., Any]):
    """A step whose calls go through ``around``."""

    def __init__(self, step: Step[..., Any], around: Around) -> None:
        vars(self).update(vars(step))
        self.is_async = True
        self.signature = copy.copy(step.signature)
        vars(self.signature)["call"] = partial(self.call, "do")
        self._step = step
        self._around = around

    def manner(self, kind: Kind) -> tuple[bool, float | None]:
        return True, self._step.manner(kind)[1]

    def call(self, kind: Kind, arguments: msgspec.Raw, result: msgspec.Raw | None = None) -> Any:
        step, attempt = self._step, current_attempt.get()
        assert attempt is not None
        args, kwargs = step.signature.call_other(_as_given, arguments)
        call = Call(
            attempt.step_name,
            kind,
            args,
            kwargs,
            attempt.idempotency_key,
            attempt.number,
            attempt.run_id,
            attempt.step_number,
            None if result is None else step.signature.decode_result(result),
            definition=step,
        )
        return self._around(call, partial(_call, step, kind, arguments, result))


def function_of(step: Step[..., Any], kind: Kind) -> Callable[..., Any] | None:
    """The user's function that an attempt of this kind calls."""
    if kind == "do":
        return step.function
    if kind == "probe":
        return step.probe_function
    return None if step.undo is None else step.undo.function


async def _call(step: Step[..., Any], kind: Kind, arguments: msgspec.Raw, result: msgspec.Raw | None) -> Any:
    call = (
        partial(step.signature.call, arguments)
        if kind == "do"
        else partial(step.call, kind, arguments, result)
    )
    return await (call() if step.manner(kind)[0] else asyncio.to_thread(call))


def _as_given(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs
