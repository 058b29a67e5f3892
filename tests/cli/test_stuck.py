"""``makegood list --stuck``."""

import sqlite3
from pathlib import Path

SLOW = """
import makegood as mg
from shop import approve

@mg.workflow(usual={usual})
async def slow(who: str) -> str:
    return await approve(who)
"""


def parked_since_an_hour(makegood, fails, place: Path, usual: str) -> None:
    (place / "other.py").write_text(SLOW.format(usual=usual))
    fails("approve")
    makegood("run", "other:slow", "--input", '"ann"', "--id", "s-1")
    with sqlite3.connect("makegood.db") as database:
        database.execute("UPDATE runs SET started_at = started_at - 3600")
    database.close()


def test_runs_that_overstay_are_listed_with_what_they_wait_for(makegood, fails, place) -> None:
    parked_since_an_hour(makegood, fails, place, "60")
    shown = makegood("list", "--stuck", "--with", "other")
    assert shown.code == 0
    assert "s-1" in shown.out
    assert "an operator: parked since" in shown.out
    (stuck,) = makegood("list", "--stuck", "--with", "other", "--json").json
    assert (stuck["id"], stuck["usual_seconds"]) == ("s-1", 60.0)
    assert makegood("list", "--stuck", "--with", "other", "--workflow", "nobody", "--json").json == []


def test_runs_within_what_is_usual_or_of_which_nobody_knows_are_not(makegood, fails, place) -> None:
    parked_since_an_hour(makegood, fails, place, "86400")
    assert makegood("list", "--stuck", "--with", "other", "--json").json == []
    assert makegood("list", "--stuck", "--json").json == []
    assert makegood("list", "--stuck", "--status", "PARKED").code == 2
