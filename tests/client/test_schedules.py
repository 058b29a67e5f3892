"""Schedules through the public API: what is told about them, and what operators may do from any process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from tests.until import eventually

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)


@mg.workflow(schedule=mg.Schedule("0 * * * *", timezone="Europe/Berlin", overlap="allow", catch_up=3600))
async def hourly(tick: datetime) -> str:
    return tick.isoformat()


@asynccontextmanager
async def worker_and_client(folder: Path) -> AsyncIterator[tuple[mg.Engine, mg.Engine]]:
    url = f"sqlite:///{folder}/shared.db"
    async with (
        mg.Engine(url, [hourly], now=NOW.timestamp) as worker,
        mg.Engine(url, work=False, now=NOW.timestamp) as client,
    ):
        await worker.schedules()
        yield worker, client


async def test_a_client_without_the_code_sees_what_the_worker_sees(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (worker, client):
        [seen] = await client.schedules()
        assert [seen] == await worker.schedules()
        assert (seen.workflow, seen.cron, seen.timezone) == ("hourly", "0 * * * *", "Europe/Berlin")
        assert (seen.overlap, seen.catch_up_seconds) == ("allow", 3600)
        assert seen.next_tick == (NOW + timedelta(minutes=30)).timestamp()
        assert (seen.last_tick, seen.last_run, seen.last_status, seen.problem) == (None, "", "", "")


async def test_a_client_pauses_and_resumes_and_it_is_kept_who_and_why(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (worker, client):
        await client.pause_schedule("hourly", "maintenance", by="ann")
        [seen] = await worker.schedules()
        assert seen.paused is not None
        assert (seen.paused.by, seen.paused.why, seen.paused.at) == ("ann", "maintenance", NOW.timestamp())
        assert seen.next_tick is None
        await client.resume_schedule("hourly", "done", by="bob")
        [seen] = await worker.schedules()
        assert seen.paused is None
        assert [(act.action, act.by, act.why) for act in seen.acts] == [
            ("pause", "ann", "maintenance"),
            ("resume", "bob", "done"),
        ]


async def test_a_backfill_asked_for_by_a_client_is_run_by_the_worker(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (_, client):
        ids = await client.backfill("hourly", NOW - timedelta(hours=2))
        assert ids == ["hourly@2026-11-23T00:00:00+01:00", "hourly@2026-11-23T01:00:00+01:00"]

        async def has_run() -> bool:
            return {run.id for run in await client.list(status="COMPLETED")} == set(ids)

        await eventually(has_run)
        [seen] = await client.schedules()
        assert (seen.last_run, seen.last_status, seen.waiting) == (ids[-1], "COMPLETED", ())
        assert await (await client.get(ids[0])).result() == "2026-11-23T00:00:00+01:00"


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (datetime(2026, 11, 22, 23), datetime(2026, 11, 23, 1)),  # noqa: DTZ001 - on the schedule's clock
        (datetime(2026, 11, 22, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        (datetime(2026, 11, 23, 3, tzinfo=timezone(timedelta(hours=5))), NOW),
    ],
    ids=["the schedule's clock", "UTC", "elsewhere"],
)
async def test_a_span_includes_its_ends_and_is_on_the_schedules_clock_unless_it_says_otherwise(
    tmp_path: Path, since: datetime, until: datetime
) -> None:
    async with worker_and_client(tmp_path) as (_, client):
        ids = await client.backfill("hourly", since, until)
        assert [run_id[-14:-9] for run_id in ids] == ["23:00", "00:00", "01:00"]


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (NOW, NOW - timedelta(seconds=1), "give a span of the past"),
        (NOW, NOW + timedelta(seconds=1), "give a span of the past"),
        (NOW - timedelta(days=365), None, "over 1,000 ticks at once. Take smaller spans, the first until 20"),
        ("yesterday", None, "'yesterday' is no moment"),
    ],
)
async def test_a_span_that_cannot_be_backfilled_changes_nothing(
    tmp_path: Path, since: Any, until: datetime | None, message: str
) -> None:
    async with worker_and_client(tmp_path) as (_, client):
        before = await client.schedules()
        with pytest.raises(mg.UsageError, match=message):
            await client.backfill("hourly", since, until)
        assert await client.schedules() == before


async def test_the_span_that_is_proposed_instead_of_one_too_long_can_be_backfilled(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (_, client):
        since = NOW - timedelta(days=365)
        with pytest.raises(mg.UsageError) as refused:
            await client.backfill("hourly", since)
        proposed = datetime.fromisoformat(str(refused.value).rpartition("until ")[2].removesuffix("."))
        assert len(await client.backfill("hourly", since, proposed)) == 1000


async def test_an_unknown_schedule_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (_, client):
        for act in (
            client.pause_schedule("nightly"),
            client.resume_schedule("nightly"),
            client.backfill("nightly", NOW),
        ):
            with pytest.raises(mg.ScheduleNotFound, match=r"no schedule nightly .*\(there are: hourly\)"):
                await act


async def test_a_schedule_that_a_worker_has_is_not_removed_by_anybody(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as engines:
        for engine in engines:
            with pytest.raises(mg.NotPossible, match="schedule hourly is in the code of the worker"):
                await engine.remove_schedule("hourly")
        assert [one.workflow for one in await engines[0].schedules()] == ["hourly"]


async def test_what_does_not_fit_its_state_is_refused(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (worker, client):
        with pytest.raises(mg.NotPossible, match="schedule hourly is not paused"):
            await client.resume_schedule("hourly")
        await client.pause_schedule("hourly", "maintenance", by="ann")
        with pytest.raises(mg.NotPossible, match="paused already, by ann: maintenance"):
            await worker.pause_schedule("hourly")


async def test_a_schedule_of_a_time_zone_that_this_machine_does_not_know_is_listed_with_that_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker_and_client(tmp_path) as (_, client):

        def unknown(_: str) -> Any:
            raise mg.DefinitionError("there is no such time zone")

        monkeypatch.setattr("makegood.definition.schedule._zone", unknown)
        [seen] = await client.schedules()
        assert (seen.next_tick, seen.problem) == (None, "there is no such time zone")


async def test_an_engine_that_has_stopped_says_so_instead_of_waiting(tmp_path: Path) -> None:
    async with worker_and_client(tmp_path) as (worker, _):
        backend: Any = worker.backend
        await backend.store._writer.__aenter__()
        backend.store._writer.connection.execute("INSERT INTO incarnations (worker) VALUES ('another')")
        await backend.store._writer.__aexit__(None, None, None)
        with pytest.raises(mg.StoreError, match="this engine has stopped"):
            await worker.backfill("hourly", NOW - timedelta(hours=2))
