"""A store as one process sees it: every write goes through ``around``, in which the process may die."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from makegood.store.protocol import Store, Write


class DyingStore:
    """Everything else is the inner store's. ``around`` is given what to write, and what makes the write."""

    def __init__(
        self,
        inner: Store,
        around: Callable[[Sequence[Write], Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]],
    ) -> None:
        self._inner = inner
        self._around = around

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def take_over(self, worker: str) -> int | None:
        return await self._around((), partial(self._inner.take_over, worker))  # type: ignore[no-any-return]

    async def adopt(self, *args: Any) -> Any:
        return await self._around((), partial(self._inner.adopt, *args))

    async def set_wake(self, *args: Any) -> None:
        await self._around((), partial(self._inner.set_wake, *args))

    async def commit(self, epoch: int, writes: Sequence[Write]) -> Any:
        return await self._around(writes, partial(self._inner.commit, epoch, writes))
