"""``makegood show --diagram`` and ``--timeline``, and ``makegood export``."""

import json


def test_a_run_as_a_diagram(makegood, fails) -> None:
    fails("ship")
    makegood("run", "shop:fulfil", "--input", '{"id": "a", "total": "9.50"}', "--id", "o-1")
    shown = makegood("show", "o-1", "--diagram")
    assert shown.code == 0
    assert shown.out.startswith("flowchart TD\n")
    assert makegood("show", "o-1", "--diagram", "--json").json == {"diagram": shown.out}


def test_a_run_as_a_timeline_fits_80_columns(makegood) -> None:
    makegood("run", "shop:fulfil", "--input", '{"id": "a", "total": "9.50"}', "--id", "o-1")
    shown = makegood("show", "o-1", "--timeline")
    assert shown.code == 0
    assert "COMPLETED" in shown.out
    assert "█" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert makegood("show", "o-1", "--timeline", "--json").json["status"] == "COMPLETED"


def test_not_both_at_once(makegood) -> None:
    assert makegood("show", "o-1", "--timeline", "--diagram").code == 2


def test_a_run_is_exported_as_json(makegood) -> None:
    makegood("run", "shop:fulfil", "--input", '{"id": "a", "total": "9.50"}', "--id", "o-1")
    out = makegood("export", "o-1")
    told = json.loads(out.out)
    assert (out.code, told["format"], told["run"]["id"]) == (0, 1, "o-1")
    assert makegood("export", "nobody").code == 2
