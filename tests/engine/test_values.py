"""Time, chance and ids inside a workflow: another in every run, the same in every replay of one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

import makegood as mg
from tests.engine.kit import START, Run, fresh_execution
from tests.engine.shop import charge, note


@mg.workflow
async def draw() -> None:
    await note(f"{mg.random()} {mg.uuid4()} {mg.now().isoformat()}")
    await charge()
    await note(f"{mg.random()} {mg.uuid4()} {mg.now().isoformat()}")


def noted(run: Run) -> list[str]:
    return [bytes(step.arguments).decode() for step in run.state.steps.values() if step.name == "note"]


def test_they_are_the_same_after_a_crash() -> None:
    run = Run(draw)
    run.complete("note", "")
    run.now += 7.25
    run.crash()
    run.complete("charge", "c")
    first, second = noted(run)
    assert first.split()[0] != second.split()[0]
    assert first.split()[1] != second.split()[1]
    run.check_replay()


def test_they_are_others_in_every_run() -> None:
    drawn = set()
    for run_id in ("order-1", "order-2"):
        execution = fresh_execution(draw)
        execution.start(run_id, draw.signature.encode_arguments((), {}), START)
        drawn.add(tuple(bytes(execution.state.steps[1].arguments).split()[:2]))
        execution.program.close()
    assert len(drawn) == 2


def test_random_numbers_are_spread_evenly_below_one() -> None:
    found: list[float] = []

    @mg.workflow
    async def many() -> None:
        found.extend(mg.random() for _ in range(10_000))

    Run(many)
    assert 0 <= min(found) < 0.01
    assert 0.99 < max(found) < 1
    assert all(850 < sum(low / 10 <= number < (low + 1) / 10 for number in found) < 1150 for low in range(10))


def test_uuids_are_of_version_4_and_unlike_each_other() -> None:
    found: list[UUID] = []

    @mg.workflow
    async def many() -> None:
        found.extend(mg.uuid4() for _ in range(1_000))

    Run(many)
    assert {(uuid.version, uuid.variant) for uuid in found} == {(4, "specified in RFC 4122")}
    assert len(set(found)) == 1_000


def test_now_is_the_time_of_what_the_run_reacts_to() -> None:
    seen: list[datetime] = []

    @mg.workflow
    async def watch() -> None:
        seen.append(mg.now())
        await charge()
        seen.append(mg.now())
        await asyncio.sleep(60)
        seen.append(mg.now())

    run = Run(watch)
    run.now += 1.5
    run.complete("charge", "c")
    run.fire()
    assert seen == [datetime.fromtimestamp(START + after, UTC) for after in (0, 1.5, 61.5)]


@pytest.mark.parametrize("draw_one", [mg.now, mg.random, mg.uuid4], ids=lambda function: function.__name__)
def test_outside_a_workflow_they_are_refused(draw_one) -> None:
    with pytest.raises(
        mg.OutsideWorkflow, match=rf"mg\.{draw_one.__name__}\(\) was called outside a workflow"
    ):
        draw_one()
