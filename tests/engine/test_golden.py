"""Journals of every release so far: they stay readable and can be replayed, byte for byte as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from makegood.description import describe, flatten
from makegood.engine import journal
from makegood.engine.folds import folded
from makegood.engine.legs import last_leg
from makegood.store.codec import unseal
from makegood.store.protocol import SealedEntry
from tests.engine.kit import replayed
from tests.golden.scenarios import SCENARIOS, WORKFLOWS

FOLDER = Path(__file__).parents[1] / "golden"
FILES = sorted(FOLDER.glob("*.json"))
EVENT_TYPES = sorted(
    {kind.__name__ for union in (journal.Fact, journal.Decision) for kind in get_args(union)}
)


def read(file: Path) -> tuple[dict[str, Any], list[journal.Entry]]:
    golden = json.loads(file.read_text())
    sealed = [
        SealedEntry(number, one["data"].encode(), bytes.fromhex(one["hash"]))
        for number, one in enumerate(golden["entries"], start=1)
    ]
    return golden, unseal(golden["told"]["id"], sealed)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request) -> Path:
    return request.param


def test_no_field_of_an_entry_is_lost(file):
    golden, entries = read(file)
    for one, entry in zip(golden["entries"], entries, strict=True):
        assert json.loads(msgspec.json.encode(entry)) == json.loads(one["data"])


def test_it_tells_what_it_told_when_it_was_recorded(file):
    golden, entries = read(file)
    told = json.loads(msgspec.json.encode(describe(entries)))
    recorded = {name: value for name, value in golden["told"].items() if name != "waiting_for"}
    assert {name: told[name] for name in recorded} == recorded
    assert len(flatten(entries)) == sum(len(entry.events) for entry in entries)


def test_a_replay_decides_the_same_and_nothing_more(file):
    golden, entries = read(file)
    execution = replayed(WORKFLOWS[golden["workflow"]], entries)
    assert not execution.events
    assert execution.state == folded(last_leg(entries))
    execution.program.close()


def test_every_scenario_was_recorded_and_no_journal_is_missing():
    assert [file.stem for file in FILES] == sorted(SCENARIOS)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_kind_of_event_is_in_a_golden_journal(kind):
    known = {type(event).__name__ for file in FILES for entry in read(file)[1] for event in entry.events}
    assert kind in known, (
        f"add a scenario with {kind} to tests/golden/scenarios.py, then: python -m tests.golden.record"
    )
