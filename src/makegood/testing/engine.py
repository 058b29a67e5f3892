"""``VirtualEngine``: an engine for tests, on a clock that jumps and a store in memory, whose steps can be stubbed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from makegood.client import Engine
from makegood.definition.retry import seconds
from makegood.definition.step import Step
from makegood.errors import UsageError
from makegood.testing.calls import WatchedStep, function_of
from makegood.testing.stub import NOTHING, Stub
from makegood.testing.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta
    from types import ModuleType

    from makegood.definition.workflow import Workflow
    from makegood.store.protocol import Store
    from makegood.testing.calls import Call, Kind


class VirtualEngine(Engine):
    """``async with testing.VirtualEngine(workflow) as engine:`` in a test under ``@testing.in_virtual_time``.

    Attributes:
        calls: every call of a step, a compensation or a probe so far, in order, stubbed or not.

    Args:
        definitions: modules and workflows to run, as for ``mg.Engine``.
        store: where the runs are kept. Another engine's ``store``, once that is closed: this one goes on with its runs.
        seed: of the dice for the jitter of retries.

    Raises:
        UsageError: it is not made on a ``VirtualTimeLoop``.
    """

    def __init__(
        self,
        *definitions: ModuleType | Workflow[..., Any],
        store: str | Store = "memory://",
        seed: int = 0,
    ) -> None:
        dice = random.Random(seed).random  # noqa: S311 - no secrets: the same jitter in every run of a test
        super().__init__(store, definitions, now=virtual_loop().now, dice=dice)
        self._stand_in = self._watched
        self._stubs: dict[Callable[..., Any], Stub] = {}
        self.calls: list[Call] = []

    @property
    def store(self) -> Store:
        """Where the runs are kept, for another engine to go on with."""
        return self._store

    async def advance(self, duration: float | timedelta) -> None:
        """Let so much time pass, in seconds or as a timedelta. Waiting for anything else lets it pass as well."""
        await asyncio.sleep(seconds(duration, "advance()"))

    def stub(
        self,
        target: Step[..., Any] | Callable[..., Any],
        /,
        *,
        returns: Any = NOTHING,
        raises: BaseException | type[BaseException] | None = None,
        does: Callable[..., Any] | None = None,
        in_turn: Sequence[Any] | None = None,
    ) -> Stub:
        """Replace a step, or a compensation or probe function, on this engine.

        Along with a step its compensation is replaced by one that does nothing, and its probe by one that cannot tell,
        unless they have stubs of their own. Retries, time limits and the check of the result stay the step's.

        Args:
            target: the step, or the function of a compensation or a probe.
            returns: what it returns; None, if nothing else is said.
            raises: what it raises.
            does: a function, plain or async, that is called with the step's arguments.
            in_turn: its answers, one for each call, exceptions to be raised; the last one is given again.

        Returns:
            The stub; its ``calls`` tell how it was called.
        """
        function = target.function if isinstance(target, Step) else target
        if not callable(function):
            raise UsageError(f"stub() takes a step, or a compensation or probe function, not {target!r}.")
        stub = self._stubs[function] = Stub(returns, raises, does, in_turn)
        return stub

    def _watched(self, step: Step[..., Any], kind: Kind) -> Step[..., Any]:
        if step.transacts(kind) and self._stub_for(step, kind) is None:
            return step
        return WatchedStep(step, self._around)

    async def _around(self, call: Call, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        self.calls.append(call)
        stub = self._stub_for(call.definition, call.kind)
        return await call.make(function if stub is None else lambda: stub.answer(call))

    def _stub_for(self, step: Step[..., Any], kind: Kind) -> Stub | None:
        function = function_of(step, kind)
        if function in self._stubs:
            return self._stubs[function]
        if step.function not in self._stubs:
            return None
        return Stub() if kind == "undo" else Stub(raises=UsageError(f"step {step.__name__} is a stub."))


def virtual_loop() -> VirtualTimeLoop:
    """The running loop.

    Raises:
        UsageError: it is none whose clock jumps.
    """
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if not isinstance(loop, VirtualTimeLoop):
        raise UsageError(
            "VirtualEngine needs a clock that jumps: decorate the `async def` test with @testing.in_virtual_time."
        )
    return loop
