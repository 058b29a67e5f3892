"""``makegood run``: what it takes, what it shows, how it ends."""

from __future__ import annotations

import pytest

from tests.cli.shop import ORDER


def test_the_result_is_printed_alone_on_stdout_as_json(makegood):
    done = makegood("run", "shop:fulfil", "--input", ORDER)
    assert (done.code, done.out) == (0, '"a shipped for 10.50"\n')


def test_each_step_is_told_on_stderr(makegood):
    done = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    for line in ("order-1  1 charge: done", "order-1  2 ship: done", "order-1  3 thank: done"):
        assert line in done.err


@pytest.mark.parametrize(
    ("target", "given", "result"),
    [
        ("shop:fulfil", ORDER, "a shipped for 10.50"),
        ("shop:fulfil", f"[{ORDER}]", "a shipped for 10.50"),
        ("shop:fulfil", f'{{"order": {ORDER}}}', "a shipped for 10.50"),
        ("shop:total", "[1, 2]", 3),
        ("shop:total", "[[1, 2]]", 3),
        ("shop:total", '{"numbers": [1, 2]}', 3),
        ("shop:spread", "2", ["approved by 0", "approved by 1"]),
        ("shop:spread", '{"width": 1}', ["approved by 0"]),
        ("shop:ask", '["Ann", 2]', "approved by Ann and approved by Ann"),
        ("shop:ask", '{"times": 1, "who": "Bo"}', "approved by Bo"),
        ("shop:approval", '["Ann"]', "approved by Ann"),
    ],
)
def test_arguments_are_an_array_an_object_or_the_only_argument(makegood, target, given, result):
    assert makegood("run", target, "--input", given, "--json").json["result"] == result


def test_the_input_may_come_from_a_file(makegood, place):
    (place / "order.json").write_text(ORDER)
    assert makegood("run", "shop:fulfil", "--input", "@order.json").code == 0


def test_the_input_may_come_from_stdin(makegood):
    assert makegood("run", "shop:fulfil", "--input", "-", stdin=ORDER).code == 0


@pytest.mark.parametrize(
    ("target", "given", "told"),
    [
        ("shop:fulfil", "{order}", "the arguments are no JSON"),
        ("shop:fulfil", '"\udc80"', "the arguments are no JSON"),
        ("shop:fulfil", '{"id": "a"}', "missing required field `total`"),
        ("shop:fulfil", '{"id": "a", "total": "much"}', "argument 'order' of workflow fulfil"),
        ("shop:fulfil", f"[{ORDER}, 1]", "argument 'order' of workflow fulfil"),
        ("shop:ask", '"Ann"', "give the arguments as a JSON array, or as an object by name"),
        ("shop:ask", '["Ann", 1, 2]', "too many positional arguments"),
        ("shop:ask", '{"whom": "Ann"}', "missing a required argument: 'who'"),
        ("shop:ask", '["Ann", "twice"]', "argument 'times' of workflow ask"),
        ("shop:ask", "@nowhere.json", "No such file"),
        ("shop:ask", None, "missing a required argument: 'who'"),
        ("shop:nothing", "1", "shop:fulfil, "),
        ("shop:charge", "1", "no workflow charge"),
        ("shop", "1", "shop:fulfil, "),
        ("shop.py:ask", "1", "name the module as an import would, shop"),
        ("nowhere:ask", "1", "there is no module nowhere"),
        (":ask", "1", "MODULE:WORKFLOW"),
        ("shop:", "1", "MODULE:WORKFLOW"),
        ("..:ask", "1", "no module name"),
    ],
)
def test_a_run_that_cannot_start_is_a_usage_error(makegood, target, given, told):
    refused = makegood("run", target, *(() if given is None else ("--input", given)))
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err


def test_a_workflow_without_arguments_left_to_give_needs_no_input(makegood, place):
    (place / "other.py").write_text(
        "import makegood as mg\n\n@mg.workflow\nasync def still(n: int = 7) -> int:\n    return n\n"
    )
    assert makegood("run", "other:still").out == "7\n"


def test_what_modules_and_steps_print_does_not_mix_with_the_result(makegood, place):
    (place / "other.py").write_text(
        "import makegood as mg\n\nprint('imported')\n\n@mg.step\ndef tell() -> str:\n    print('told')\n    return 'x'\n\n"
        "@mg.workflow\nasync def talk() -> str:\n    return await tell()\n"
    )
    done = makegood("run", "other:talk", "--json")
    assert done.json["result"] == "x"
    assert done.err.split() == ["imported", "told"]


def test_the_same_id_again_is_the_same_run(makegood, effects):
    first = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    second = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    assert first.out == second.out
    assert effects() == ["charge", "ship", "thank"]


def test_the_same_id_with_another_input_is_refused(makegood):
    makegood("run", "shop:total", "--input", "[1]", "--id", "sum")
    refused = makegood("run", "shop:total", "--input", "[2]", "--id", "sum", "--json")
    assert (refused.code, refused.error["type"]) == (2, "RunConflict")


def test_a_compensated_run_exits_with_1_and_says_why(makegood, fails, effects):
    fails("ship", message="out of boxes")
    ended = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    assert (ended.code, ended.out) == (1, "")
    assert "order-1 ended COMPENSATED: step ship: ConnectionError: out of boxes" in ended.err
    assert "undone: charge" in ended.err
    assert effects() == ["charge", "refund"]


def test_a_missed_best_effort_step_is_told(makegood, fails):
    fails("thank")
    done = makegood("run", "shop:fulfil", "--input", ORDER)
    assert done.code == 0
    assert "missed: thank" in done.err


def test_a_parked_run_exits_with_1_and_shows_the_commands_that_help(makegood, fails):
    fails("approve", message="closed")
    parked = makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask-1")
    assert parked.code == 1
    assert "step approve gave up after 1 attempt(s): ConnectionError: closed" in parked.err
    assert "makegood retry ask-1 approve --why '…'" in parked.err
    assert "makegood resolve ask-1 approve --why '…' --result JSON" in parked.err


def test_json_holds_the_whole_run(makegood, fails):
    fails("ship", "refund", message="down")
    run = makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1", "--json").json
    assert (run["id"], run["status"], run["failed_step"]) == ("order-1", "PARKED", "ship")
    assert [(step["name"], step["state"], step["outcome"]) for step in run["steps"]] == [
        ("charge", "undo exhausted", "done"),
        ("ship", "failed", "not done"),
    ]


def test_a_run_that_stands_parked_already_is_shown_and_not_waited_for(makegood, fails):
    fails("approve")
    for _ in range(2):
        assert makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask-1").code == 1


def test_a_fault_in_the_users_module_is_shown_with_its_traceback(makegood, place):
    (place / "broken.py").write_text("import makegood\n\nquantity = 1 / 0\n")
    broken = makegood("run", "broken:anything")
    assert broken.code == 3
    assert "Traceback" in broken.err
    assert "quantity = 1 / 0" in broken.err


def test_a_module_that_imports_a_missing_one_is_told_apart_from_a_missing_module(makegood, place):
    (place / "broken.py").write_text("import absent_dependency\n")
    broken = makegood("run", "broken:anything", "--json")
    assert (broken.code, broken.error["type"]) == (3, "ModuleNotFoundError")


def test_the_store_may_be_given_by_the_environment(makegood, place):
    makegood("run", "shop:total", "--input", "[1]", MAKEGOOD_STORE="sqlite:///mine.db")
    assert (place / "mine.db").exists()
    assert not (place / "makegood.db").exists()


def test_an_unknown_store_is_a_usage_error(makegood):
    refused = makegood("run", "shop:total", "--input", "[1]", "--store", "paper://drawer")
    assert refused.code == 2
    assert "sqlite:///" in refused.err
