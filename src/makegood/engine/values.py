"""Randomness that is the same in every replay of a run."""

from __future__ import annotations

from hashlib import blake2b


class Chance:
    """Bytes drawn one after the other from a seed. Even, and unlike those of any other seed; no secrets."""

    __slots__ = ("_drawn", "_key")

    def __init__(self, seed: str) -> None:
        self._key = blake2b(seed.encode()).digest()
        self._drawn = 0

    def draw(self, count: int) -> bytes:
        """So many bytes, 64 at most."""
        self._drawn += 1
        return blake2b(self._drawn.to_bytes(8), key=self._key, digest_size=count).digest()
