"""Times in words: moments and durations as people write them."""

from __future__ import annotations

from datetime import datetime


def moment(at: float) -> str:
    """A time (seconds since 1970) in the local zone, such as ``2026-11-23 14:05:09+01:00``: ISO 8601."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
