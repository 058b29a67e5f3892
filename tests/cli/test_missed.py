"""``makegood list --missed`` and ``makegood retry --failed-best-effort``."""

ORDER = '{"id": "a", "total": "9.50"}'


def missing(makegood, fails, *ids: str) -> None:
    fails("thank")
    for one in ids:
        makegood("run", "shop:fulfil", "--input", ORDER, "--id", one)


def test_missed_steps_are_listed_over_all_runs(makegood, fails) -> None:
    missing(makegood, fails, "o-1", "o-2")
    shown = makegood("list", "--missed")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()] == ["run", "o-2", "o-1"]
    assert [step["name"] for step in makegood("list", "--missed", "--json").json] == ["thank", "thank"]
    assert makegood("list", "--missed", "--workflow", "other", "--json").json == []
    assert makegood("list", "--missed", "--status", "PARKED").code == 2


def test_those_of_one_run_are_tried_again(makegood, fails, works) -> None:
    missing(makegood, fails, "o-1", "o-2")
    again = ("retry", "--failed-best-effort", "--why", "the mail server is back", "--with", "shop")
    failed = makegood(*again, "o-1")
    assert failed.code == 1
    assert "failed again, and is still missed" in failed.out
    works("thank")
    assert makegood(*again, "o-1").code == 0
    assert [step["run"] for step in makegood("list", "--missed", "--json").json] == ["o-2"]


def test_those_of_all_runs_are_tried_again(makegood, fails, works) -> None:
    missing(makegood, fails, "o-1", "o-2")
    works("thank")
    again = makegood("retry", "--failed-best-effort", "--why", "it is back", "--with", "shop", "--json")
    assert again.json == {"made_good": 2, "still_missed": {}}
    assert makegood("list", "--missed", "--json").json == []
    assert makegood("retry", "o-1", "thank", "--failed-best-effort", "--why", "x").code == 2
