"""Workflows with a schedule: what they may require, and what they are given."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import makegood as mg
from makegood.definition.registry import Registry

if TYPE_CHECKING:
    from datetime import datetime as unknown_at_run_time

AT = datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_a_workflow_without_a_schedule_has_none() -> None:
    @mg.workflow
    async def plain() -> None: ...

    assert plain.schedule is None


def test_a_bare_expression_is_a_schedule_in_utc() -> None:
    @mg.workflow(schedule="0 2 * * *")
    async def nightly() -> None: ...

    assert repr(nightly.schedule) == repr(mg.Schedule("0 2 * * *", timezone="UTC"))


def test_a_schedule_is_kept_as_it_is() -> None:
    schedule = mg.Schedule("0 2 * * *", timezone="Europe/Berlin", overlap="allow")

    @mg.workflow(schedule=schedule)
    async def nightly() -> None: ...

    assert nightly.schedule is schedule


def test_a_workflow_that_requires_nothing_is_started_with_its_defaults() -> None:
    @mg.workflow(schedule="0 2 * * *")
    async def nightly(depth: int = 3, since: datetime | None = None) -> None: ...

    assert bytes(nightly.arguments_at(AT)) == b"[3,null]"


def test_the_one_datetime_that_it_requires_is_the_tick() -> None:
    @mg.workflow(schedule="0 2 * * *")
    async def nightly(tick: datetime, depth: int = 3) -> None: ...

    assert bytes(nightly.arguments_at(AT)) == b'["2026-11-23T02:00:00Z",3]'


def test_also_by_keyword_and_by_position_only() -> None:
    @mg.workflow(schedule="0 2 * * *")
    async def by_keyword(depth: int = 3, *, tick: datetime) -> None: ...

    @mg.workflow(schedule="0 2 * * *")
    async def by_position(tick: datetime, /) -> None: ...

    assert bytes(by_keyword.arguments_at(AT)) == b'[3,"2026-11-23T02:00:00Z"]'
    assert bytes(by_position.arguments_at(AT)) == b'["2026-11-23T02:00:00Z"]'


@pytest.mark.parametrize("repeated", [1792888200.0, 1792891800.0], ids=["summer time", "winter time"])
def test_a_tick_in_a_repeated_hour_can_be_stored(repeated: float) -> None:
    berlin = mg.Schedule("*/30 * * * *", timezone="Europe/Berlin")

    @mg.workflow(schedule=berlin)
    async def often(tick: datetime) -> None: ...

    stored = bytes(often.arguments_at(berlin.local(repeated)))
    assert stored in (b'["2026-10-25T02:30:00+02:00"]', b'["2026-10-25T02:30:00+01:00"]')
    assert datetime.fromisoformat(stored[2:-2].decode()).timestamp() == repeated


async def takes_two(tick: datetime, _other: datetime) -> None: ...
async def takes_a_date(tick: date) -> None: ...
async def takes_anything(tick) -> None: ...  # type: ignore[no-untyped-def]
async def takes_a_number(*, number: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "required"),
    [
        (takes_two, "tick: 'datetime', _other: 'datetime'"),
        (takes_a_date, "tick: 'date'"),
        (takes_anything, "tick"),
        (takes_a_number, "number: 'int'"),
    ],
)
def test_what_no_schedule_can_give_is_refused_at_the_declaration(function, required) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(mg.DefinitionError, match="nothing but the tick") as refused:
        mg.workflow(schedule="0 2 * * *")(function)
    assert f"It requires {required}:" in str(refused.value)
    assert mg.workflow(function).schedule is None


def test_a_type_that_is_unknown_at_run_time_is_refused_with_advice() -> None:
    async def nightly(tick: unknown_at_run_time) -> None: ...

    with pytest.raises(mg.DefinitionError, match="Import datetime at module level, at run time"):
        mg.workflow(schedule="0 2 * * *")(nightly)


@pytest.mark.parametrize(
    ("schedule", "place"),
    [
        ("0 25 * * *", "hour '25'"),
        ("0 2 31 2 *", "never fires"),
        ("@daily", "needs 5"),
        (5, "is no schedule"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_the_declaration(schedule, place) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(mg.DefinitionError, match=place):
        mg.workflow(schedule=schedule)


def test_a_registry_knows_which_workflows_start_by_themselves() -> None:
    module = ModuleType("orders")

    @mg.workflow(schedule="0 2 * * *")
    async def nightly() -> None: ...

    @mg.workflow
    async def plain() -> None: ...

    vars(module).update(nightly=nightly, plain=plain)
    assert Registry([module]).scheduled == [nightly]
