"""The world outside, as the planted and the clean modules call it. Nothing of it is ever called."""

from __future__ import annotations

from typing import Any


class Service:
    """A client of some service."""

    def __getattr__(self, call: str) -> Any:
        raise NotImplementedError(call)


bank = Service()
shop = Service()
mail = Service()
