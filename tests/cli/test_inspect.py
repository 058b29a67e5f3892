"""The commands that only read."""

from __future__ import annotations

import apsw
import pytest

from tests.cli.shop import ORDER

READING = [
    ["list"],
    ["show", "order-1"],
    ["history", "order-1"],
    ["view", "order-1"],
    ["verify"],
    ["verify", "order-1"],
]
OPERATING = [
    ["retry", "order-1", "--why", "x"],
    ["skip", "order-1", "--why", "x"],
    ["resolve", "order-1", "--why", "x"],
    ["cancel", "order-1", "--why", "x"],
    ["cancel", "order-1", "--why", "x", "--with", "shop"],
]


@pytest.fixture
def edit(place):
    """Change the database behind makegood's back."""

    def run(sql: str) -> None:
        connection = apsw.Connection(str(place / "makegood.db"))
        connection.execute(sql)
        connection.close()

    return run


@pytest.mark.parametrize("words", [*READING, *OPERATING], ids=" ".join)
def test_a_missing_database_is_an_error_and_is_not_created(makegood, place, words):
    refused = makegood(*words)
    assert refused.code == 3
    assert "there is no database makegood.db" in refused.err
    assert not list(place.glob("makegood.db*"))


@pytest.mark.parametrize("words", [*READING[1:4], *READING[5:], *OPERATING], ids=" ".join)
def test_an_unknown_run_is_a_usage_error(makegood, words):
    makegood("run", "shop:total", "--input", "[1]")
    refused = makegood(*words, "--json")
    assert (refused.code, refused.error["type"]) == (2, "RunNotFound")


def test_runs_are_listed_the_newest_first(makegood):
    for name in ("first", "second"):
        makegood("run", "shop:total", "--input", "[1]", "--id", name)
    assert [run["id"] for run in makegood("list", "--json").json] == ["second", "first"]


def test_a_list_can_be_narrowed(makegood, fails):
    fails("approve")
    makegood("run", "shop:total", "--input", "[1]", "--id", "sum")
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask")

    def ids(*words: str) -> list[str]:
        return [run["id"] for run in makegood("list", "--json", *words).json]

    assert ids("--status", "parked") == ["ask"]
    assert ids("--workflow", "total") == ["sum"]
    assert ids("--limit", "1") == ["ask"]
    assert ids("--status", "FAILED") == []


def test_an_unknown_status_is_refused_with_those_that_there_are(makegood):
    makegood("run", "shop:total", "--input", "[1]")
    refused = makegood("list", "--status", "lost")
    assert refused.code == 2
    assert "PARKED" in refused.err


def test_the_view_of_a_run_is_the_json_that_it_publishes(makegood):
    makegood("run", "shop:track", "--input", ORDER, "--id", "order-1")
    assert makegood("view", "order-1", "--json").json == {
        "order": "a",
        "status": "paid",
        "total": "9.50",
        "steps_completed": ["charge", "ship"],
        "steps_pending": [],
    }


def test_the_view_for_people_has_a_line_per_field(makegood):
    makegood("run", "shop:track", "--input", ORDER, "--id", "order-1")
    lines = [line.split(maxsplit=1) for line in makegood("view", "order-1").out.splitlines()]
    assert lines[0] == ["status", "paid"]
    assert ["steps_completed", '["charge", "ship"]'] in lines


def test_a_list_for_people_has_a_line_per_run(makegood):
    makegood("run", "shop:total", "--input", "[1]", "--id", "sum")
    _, line = makegood("list").out.splitlines()
    assert line.split()[:3] == ["sum", "total", "COMPLETED"]


def test_a_list_tells_whose_children_runs_are_if_any_is_one(makegood):
    makegood("run", "shop:total", "--input", "[1]", "--id", "sum")
    assert "parent" not in makegood("list").out
    assert [run["parent"] for run in makegood("list", "--json").json] == [""]
    makegood("run", "shop:basket", "--input", ORDER, "--id", "basket-1")
    parents = {run["id"]: run["parent"] for run in makegood("list", "--json").json}
    assert parents == {"basket-1/1-fulfil": "basket-1", "basket-1": "", "sum": ""}
    heading, *lines = makegood("list").out.splitlines()
    assert heading.split()[-1] == "parent"
    assert {line.split()[0]: line.split()[-1] for line in lines} == {
        run: parent or "-" for run, parent in parents.items()
    }


def test_an_empty_list_says_so(makegood):
    makegood("run", "shop:total", "--input", "[1]")
    assert "No run is like that" in makegood("list", "--status", "parked").err


def test_show_tells_what_was_undone_and_what_failed(makegood, fails):
    fails("ship", message="out of boxes")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    shown = makegood("show", "order-1").out
    lines = [line.split() for line in shown.splitlines()]
    assert ["undone", "charge"] in lines
    assert ["2", "ship", "ConnectionError:", "out", "of", "boxes"] in lines
    assert '"total": "9.50"' in shown


def test_show_tells_what_is_open_and_what_can_be_done(makegood, fails):
    fails("ship", "refund", message="down")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order 1", "--store", "sqlite:///other.db")
    shown = makegood("show", "order 1", "--store", "sqlite:///other.db").out
    assert "the compensation of step charge gave up after 1 attempt(s): ConnectionError: down" in shown
    for action in ("retry", "skip", "resolve"):
        assert f"  makegood {action} --store sqlite:///other.db 'order 1' charge --why '…'\n" in shown
    assert "makegood cancel" not in shown


def test_show_lists_residue_after_a_skipped_compensation(makegood, fails):
    fails("ship", "refund")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    makegood("skip", "order-1", "--why", "written off", "--with", "shop")
    assert ["residue", "charge"] in [line.split() for line in makegood("show", "order-1").out.splitlines()]


def test_show_as_json_is_what_the_client_describes(makegood):
    makegood("run", "shop:total", "--input", "[1, 2]", "--id", "sum")
    run = makegood("show", "sum", "--json").json
    assert (run["status"], run["input"], run["result"], run["steps"]) == ("COMPLETED", [[1, 2]], 3, [])


def test_history_tells_every_event(makegood):
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask")
    events = [item["event"] for item in makegood("history", "ask", "--json").json]
    assert events == ["RunStarted", "StepScheduled", "StepCompleted", "RunCompleted"]
    shown = makegood("history", "ask").out
    assert all(event in shown for event in events)


def test_history_keeps_tracebacks_for_programs(makegood, fails):
    fails("approve")
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask")
    assert "Traceback" not in makegood("history", "ask").out
    assert "traceback" in makegood("history", "ask", "--json").out


def test_verify_counts_what_it_checked(makegood, monkeypatch):
    monkeypatch.setattr("makegood.cli.inspect.PAGE_RUNS", 2)
    for number in range(5):
        makegood("run", "shop:total", "--input", "[1]", "--id", f"sum-{number}")
    checked = makegood("verify", "--json")
    assert checked.code == 0
    assert (checked.json["runs"], checked.json["altered"]) == (5, [])


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "UPDATE journal SET data = CAST(replace(CAST(data AS TEXT), 'Ann', 'Bob') AS BLOB) WHERE run = 1",
            "entry 1 was altered",
        ),
        ("DELETE FROM journal WHERE run = 1 AND number = 1", "entry 1 is missing"),
        ("DELETE FROM journal WHERE run = 1 AND number = 2", "is listed as COMPLETED"),
        ("UPDATE runs SET status = 'FAILED' WHERE key = 1", "is listed as FAILED"),
        (
            "UPDATE journal SET run = run + 10; UPDATE journal SET run = 13 - run",
            "journal of run one: these are not its entries",
        ),
        ("DELETE FROM journal WHERE run = 1", "is empty"),
    ],
)
def test_verify_finds_what_was_altered_and_says_where(makegood, edit, sql, told):
    for name in ("one", "two"):
        makegood("run", "shop:ask", "--input", '["Ann"]', "--id", name)
    edit(sql)
    found = makegood("verify")
    assert found.code == 1
    assert told in found.out
    assert "one" in [one["id"] for one in makegood("verify", "--json").json["altered"]]


def test_verify_of_one_run_ignores_the_others(makegood, edit):
    for name in ("one", "two"):
        makegood("run", "shop:ask", "--input", '["Ann"]', "--id", name)
    edit("DELETE FROM journal WHERE run = 1 AND number = 1")
    assert makegood("verify", "two").code == 0
    assert makegood("verify", "one").code == 1


def test_show_of_an_altered_run_is_an_error_without_traceback(makegood, edit):
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "one")
    edit("DELETE FROM journal WHERE number = 1")
    refused = makegood("show", "one", "--json")
    assert (refused.code, refused.error["type"]) == (3, "JournalCorrupt")
    assert "traceback" not in refused.error


def test_show_tells_of_a_child_that_is_parked_and_the_child_of_its_parent(makegood, fails):
    fails("ship", "refund", message="down")
    makegood("run", "shop:basket", "--input", ORDER, "--id", "basket-1")
    shown = makegood("show", "basket-1").out
    assert "fulfil → basket-1/1-fulfil (PARKED)" in shown
    assert "child run basket-1/1-fulfil (an operator: parked since" in " ".join(shown.split())
    assert ["parent", "basket-1"] in [
        line.split() for line in makegood("show", "basket-1/1-fulfil").out.splitlines()
    ]
    assert "ChildScheduled" in makegood("history", "basket-1").out
