"""The steps that the engine's tests run. Their bodies never do: the tests say how each attempt ended."""

from __future__ import annotations

import makegood as mg


@mg.step
async def charge(order: str = "o") -> str: ...


@charge.compensation
async def refund(receipt: str | None, order: str = "o") -> None: ...


@mg.step
async def reserve(order: str = "o") -> str: ...


@reserve.compensation
async def release(hold: str | None, order: str = "o") -> None: ...


@mg.step
async def ship(order: str = "o") -> str: ...


@ship.compensation
async def recall(label: str | None, order: str = "o") -> None: ...


@mg.step
async def note(text: str = "") -> str:
    """A step without a compensation."""


@mg.step(critical=False)
async def email(order: str = "o") -> str: ...


@mg.step
async def book(order: str = "o") -> str:
    """A step with a probe."""


@book.compensation(retry=mg.Retry(delays=[0, 3]))
async def unbook(booking: str | None, order: str = "o") -> None: ...


@book.probe
async def find_booking(order: str = "o") -> str | mg.NotDone: ...


@mg.step(on_exhausted="park", retry=None)
async def approve(order: str = "o") -> str: ...


@approve.compensation
async def withdraw(approval: str | None, order: str = "o") -> None: ...
