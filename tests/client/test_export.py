"""``run.export()``: a whole run as plain data, which whoever has it can check."""

import json

import msgspec
import pytest

import makegood as mg
from makegood.export import Export, check

pytestmark = pytest.mark.anyio


@mg.step
async def weigh(box: str) -> float:
    return 1.0


@mg.workflow
async def pack(box: str) -> float:
    return await weigh(box)


@mg.workflow
async def ship(rounds: int) -> float:
    if rounds:
        mg.continue_as_new(rounds - 1)
    return await pack('ø\u2028 "box"')


async def exported(*, children: bool) -> Export:
    async with mg.Engine("memory://") as engine:
        run = await engine.start(ship, 2, id="s-1")
        assert await run.result() == 1.0
        return await run.export(children=children)


async def test_it_holds_the_description_every_event_of_all_legs_and_the_hashes() -> None:
    out = await exported(children=False)
    assert (out.format, out.run.id, out.run.status, out.run.leg) == (1, "s-1", "COMPLETED", 3)
    events = [item.event for item in out.events]
    assert events.count("RunContinued") == 2
    assert events[-1] == "RunCompleted"
    assert len(out.journal) == out.events[-1].entry
    assert out.children == []


async def test_children_come_along_on_demand() -> None:
    out = await exported(children=True)
    assert [child.run.workflow for child in out.children] == ["pack"]
    assert check(out) == len(out.journal) + len(out.children[0].journal)


async def test_it_survives_json_and_can_still_be_checked() -> None:
    text = msgspec.json.encode(await exported(children=True))
    again = msgspec.json.decode(json.dumps(json.loads(text), indent=2), type=Export)
    assert check(again) > 0


@pytest.mark.parametrize("what", ["a payload", "an event", "a hash", "a missing entry"])
async def test_an_alteration_is_found(what: str) -> None:
    out = msgspec.to_builtins(await exported(children=True))
    if what == "a payload":
        out["journal"][0]["data"] = out["journal"][0]["data"].replace("2", "3")
    elif what == "an event":
        out["events"][0]["fields"]["workflow"] = "other"
    elif what == "a hash":
        out["journal"][-1]["hash"] = "00" * 32
    else:
        del out["children"][0]["journal"][1]
    with pytest.raises(mg.JournalCorrupt):
        check(msgspec.convert(out, Export))
