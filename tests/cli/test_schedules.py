"""Schedules on the command line: seen and steered from any process."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

import makegood as mg
from tests.until import eventually

SCHEDULE = ["schedule", "pause", "nightly", "--why", "x"]


@mg.workflow(schedule=mg.Schedule("0 2 * * *", timezone="Europe/Berlin"))
async def nightly() -> None: ...


@mg.workflow(schedule="*/30 * * * *")
async def often(tick: datetime) -> None: ...


def work(*workflows: mg.Workflow[..., object], runs: int = 0, set_by: timedelta = timedelta(0)) -> None:
    """Be the worker until so many runs have completed; ``set_by``: how far its clock is from ours."""

    def now() -> float:
        return (datetime.now(UTC) + set_by).timestamp()

    async def main() -> None:
        async with mg.Engine("sqlite:///makegood.db", workflows, now=now) as engine:
            await engine.schedules()

            async def enough() -> bool:
                return len(await engine.list(status="COMPLETED")) >= runs

            await eventually(enough)

    asyncio.run(main())


@pytest.mark.parametrize(
    "words",
    [["schedules"], SCHEDULE, ["schedule", "backfill", "nightly", "--since", "2020-01-01", "--why", "x"]],
    ids=" ".join,
)
def test_a_missing_database_is_an_error_and_is_not_created(makegood, place, words):
    refused = makegood(*words)
    assert refused.code == 3
    assert "there is no database makegood.db" in refused.err
    assert not list(place.glob("makegood.db*"))


def test_a_store_without_schedules_says_so(makegood):
    makegood("run", "shop:total", "--input", "[1]")
    assert "There are no schedules yet" in makegood("schedules").err
    assert makegood("schedules", "--json").json == []


def test_schedules_are_listed_with_what_comes_next(makegood):
    begun = datetime.now(UTC).timestamp()
    work(nightly, often)
    shown = makegood("schedules")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["schedule", "nightly", "often"]
    assert "Europe/Berlin" in shown.out
    first = makegood("schedules", "--json").json[0]
    assert (first["workflow"], first["cron"], first["timezone"]) == ("nightly", "0 2 * * *", "Europe/Berlin")
    assert begun < first["next_tick"] <= nightly.schedule.next_after(datetime.now(UTC).timestamp())


def test_a_tick_that_is_due_while_no_worker_is_there_is_marked(makegood):
    work(often, set_by=timedelta(hours=-1))
    assert "(due)" in makegood("schedules").out


def test_skipped_ticks_are_listed(makegood):
    work(often, set_by=timedelta(days=-3))
    work(often)
    assert "too late" in makegood("schedules").out


def test_a_schedule_without_code_is_listed_with_that_problem(makegood):
    work(nightly)
    work(often)
    shown = makegood("schedules").out
    assert "none: a problem" in shown
    assert "no schedule of workflow nightly is in the worker's code any more" in shown


def test_a_schedule_without_code_is_removed_and_its_runs_stay(makegood):
    work(often, set_by=timedelta(hours=-1))
    work(often, runs=1)
    runs = makegood("list", "--json").json
    work(nightly)
    removed = makegood("schedule", "remove", "often")
    assert (removed.code, removed.out) == (0, "schedule often is removed.\n")
    assert [one["workflow"] for one in makegood("schedules", "--json").json] == ["nightly"]
    assert makegood("list", "--json").json == runs
    again = makegood("schedule", "remove", "often", "--json")
    assert (again.code, again.error["type"]) == (2, "ScheduleNotFound")


def test_pause_and_resume(makegood):
    work(nightly)
    paused = makegood("schedule", "pause", "nightly", "--why", "moving house", "--by", "ann")
    assert (paused.code, paused.out) == (0, "schedule nightly is paused.\n")
    shown = makegood("schedules").out
    assert "none: paused" in shown
    assert "by ann: moving house" in shown
    assert makegood("schedule", "resume", "nightly").out == "schedule nightly goes on.\n"
    assert "paused" not in makegood("schedules").out


def test_programs_are_told_what_was_done(makegood):
    work(nightly)
    assert makegood(*SCHEDULE, "--json").json == {"schedule": "nightly", "action": "pause"}
    refused = makegood(*SCHEDULE, "--json")
    assert (refused.code, refused.error["type"]) == (2, "NotPossible")


def test_a_backfill_names_the_runs_to_come_which_the_next_worker_starts(makegood):
    work(often)
    day = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"
    span = ["--since", f"{day}T10:00", "--until", f"{day}T11:00"]
    done = makegood("schedule", "backfill", "often", *span, "--why", "lost", "--json")
    runs = [f"often@{day}T{time}:00+00:00" for time in ("10:00", "10:30", "11:00")]
    assert done.json == {"schedule": "often", "action": "backfill", "runs": runs}
    assert "3 tick(s) wait" in makegood("schedules").out
    work(often, runs=3)
    assert {run["id"] for run in makegood("list", "--json").json} >= set(runs)
    again = makegood("schedule", "backfill", "often", *span, "--why", "lost")
    assert again.out == "schedule often: no tick without a run.\n"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["pause", "hourly", "--why", "x"], "ScheduleNotFound", "there is no schedule hourly in this store"),
        (["resume", "nightly"], "NotPossible", "schedule nightly is not paused"),
        (["remove", "nightly"], "NotPossible", "is in the code of the worker that looked last"),
        (["backfill", "nightly", "--since", "soon", "--why", "x"], "UsageError", "'soon' is no time"),
        (["backfill", "nightly", "--since", "2100-01-01", "--why", "x"], "UsageError", "a span of the past"),
        (["backfill", "nightly", "--since", "1900-01-01", "--why", "x"], "UsageError", "over 1,000 ticks"),
        (["pause", "nightly"], "UsageError", "--why"),
    ],
)
def test_what_cannot_be_is_refused(makegood, words, error, message):
    work(nightly)
    before = makegood("schedules", "--json").out
    refused = makegood("schedule", *words, "--json")
    assert refused.code == 2
    assert (json.loads(refused.err.splitlines()[-1])["error"]["type"]) == error
    assert message in refused.err
    assert makegood("schedules", "--json").out == before
