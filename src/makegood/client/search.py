"""What runs are searched by: the keywords of ``engine.list``, ``engine.count`` and ``engine.batch``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from makegood.definition.keys import checked_tags
from makegood.engine.run import Status
from makegood.errors import UsageError
from makegood.store.protocol import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMES = ("started_after", "started_before", "ended_after", "ended_before")


class Filters(TypedDict, total=False):
    """Runs that meet all that is given.

    ``status`` and ``workflow`` by name; times are aware datetimes (from ``…_after`` on, earlier than ``…_before``);
    ``tags``: all of them; ``parent``: the id of the run that called it, "" for those that none did; ``id_prefix``: how the
    id begins.
    """

    status: str | None
    workflow: str | None
    started_after: datetime | None
    started_before: datetime | None
    ended_after: datetime | None
    ended_before: datetime | None
    tags: Mapping[str, str] | None
    parent: str | None
    id_prefix: str


def where(filters: Filters) -> Where:
    """The filters, checked.

    Raises:
        UsageError: an unknown filter or status, a time without a zone, an unusable tag.
    """
    chosen: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    for name in chosen:
        if name not in Where.__struct_fields__:
            known = ", ".join(Where.__struct_fields__)
            raise UsageError(f"there is no filter {name!r}: it is one of {known}.")
    if chosen.get("status", Status.RUNNING) not in set(Status):
        raise UsageError(f"there is no status {chosen['status']!r}: it is one of {', '.join(Status)}.")
    for name in TIMES:
        if name in chosen:
            chosen[name] = _timestamp(name, chosen[name])
    chosen["tags"] = checked_tags(chosen.get("tags"))
    return Where(**chosen)


def _timestamp(name: str, when: object) -> float:
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise UsageError(
            f"{name}={when!r}: give an aware datetime, such as datetime(2027, 1, 1, tzinfo=UTC)."
        )
    return when.timestamp()
