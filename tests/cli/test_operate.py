"""The operator's commands, with and without a worker to carry them out."""

from __future__ import annotations

import pytest

from tests.cli.shop import ORDER


@pytest.fixture
def parked(makegood, fails, works):
    """Run ask-1 is parked at its step approve, which would work now."""
    fails("approve")
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask-1")
    works("approve")


def status(makegood, run_id: str = "ask-1") -> str:
    return makegood("show", run_id, "--json").json["status"]


def test_retry_with_the_module_sees_the_run_through(makegood, parked):
    done = makegood("retry", "ask-1", "approve", "--why", "open again", "--with", "shop")
    assert (done.code, done.out) == (0, '"approved by Ann"\n')
    assert status(makegood) == "COMPLETED"


def test_who_did_it_and_why_is_in_the_journal(makegood, parked):
    makegood("retry", "ask-1", "--why", "open again", "--by", "Eve", "--with", "shop")
    acted = [item for item in makegood("history", "ask-1", "--json").json if item["event"] == "OperatorActed"]
    assert [(a["fields"]["by"], a["fields"]["why"]) for a in acted] == [("Eve", "open again")]


def test_skip_goes_on_without_the_step(makegood, parked, effects):
    ended = makegood("skip", "ask-1", "--why", "not needed", "--with", "shop", "--json")
    assert (ended.code, ended.json["run"]["steps"][0]["state"]) == (0, "skipped")
    assert effects() == []


def test_resolve_gives_the_step_its_result(makegood, parked):
    done = makegood("resolve", "ask-1", "--result", '"signed"', "--why", "on paper", "--with", "shop")
    assert (done.code, done.out) == (0, '"signed"\n')


def test_resolve_says_that_an_undo_was_done_by_hand(makegood, fails):
    fails("ship", "refund")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    makegood("resolve", "order-1", "charge", "--why", "paid back in cash", "--with", "shop")
    assert status(makegood, "order-1") == "COMPENSATED"


def test_cancel_undoes_what_was_done(makegood, parked):
    ended = makegood("cancel", "ask-1", "--why", "too late", "--with", "shop", "--json")
    assert (ended.code, ended.json["run"]["status"]) == (0, "CANCELLED")


def test_a_run_that_parks_again_exits_with_1(makegood, parked, fails):
    fails("approve", message="closed again")
    again = makegood("retry", "ask-1", "--why", "perhaps", "--with", "shop")
    assert again.code == 1
    assert "closed again" in again.err


def test_without_a_worker_the_request_is_stored_and_the_user_told_how_to_start_one(makegood, parked):
    stored = makegood("retry", "ask-1", "--why", "open again")
    assert stored.code == 0
    assert "stored, not carried out yet" in stored.out
    assert "\n  makegood worker MODULE\n" in stored.out
    assert status(makegood) == "PARKED"


def test_a_stored_request_is_carried_out_by_the_next_worker(makegood, parked):
    assert makegood("retry", "ask-1", "--why", "open again", "--json").json["carried_out"] is False
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "ask-1")
    acted = [item for item in makegood("history", "ask-1", "--json").json if item["event"] == "OperatorActed"]
    assert [a["fields"]["why"] for a in acted] == ["open again"]


@pytest.mark.parametrize("action", ["retry", "skip", "resolve", "cancel"])
def test_a_run_that_has_ended_is_left_alone(makegood, action):
    makegood("run", "shop:total", "--input", "[1]", "--id", "sum")
    refused = makegood(action, "sum", "--why", "x", "--json")
    assert (refused.code, refused.error["type"]) == (2, "NotPossible")


def test_another_step_than_the_parked_one_is_refused(makegood, parked):
    refused = makegood("retry", "ask-1", "charge", "--why", "x", "--with", "shop")
    assert refused.code == 2
    assert "1 (approve)" in refused.err
    assert status(makegood) == "PARKED"


def test_a_result_of_another_type_is_refused(makegood, parked):
    refused = makegood("resolve", "ask-1", "--result", "5", "--why", "x", "--with", "shop")
    assert refused.code == 2
    assert status(makegood) == "PARKED"


def test_a_result_that_is_no_json_is_refused_with_a_hint(makegood, parked):
    refused = makegood("resolve", "ask-1", "--result", "paid", "--why", "x")
    assert refused.code == 2
    assert "A text needs its quotes" in refused.err


@pytest.mark.parametrize("action", ["retry", "skip", "resolve", "cancel"])
def test_a_reason_is_required(makegood, parked, action):
    refused = makegood(action, "ask-1")
    assert refused.code == 2
    assert "--why" in refused.err


def test_a_module_without_workflows_cannot_carry_anything_out(makegood, parked, place):
    (place / "other.py").write_text("")
    refused = makegood("retry", "ask-1", "--why", "x", "--with", "other")
    assert refused.code == 2
    assert "holds no function decorated with @mg.workflow" in refused.err


def test_corrected_code_is_tried_again(makegood, parked, place):
    source = (place / "shop.py").read_text()
    (place / "shop.py").write_text(source.replace("await approve(who)", "await charge(who)"))
    refused = makegood("retry", "ask-1", "--why", "hope", "--with", "shop")
    assert (refused.code, "still cannot go on" in refused.err) == (2, True)
    shown = makegood("show", "ask-1").out
    assert "makegood resume ask-1 --why '…' --with MODULE" in shown
    (place / "shop.py").write_text(source)
    makegood("retry", "ask-1", "--why", "code corrected", "--with", "shop")
    assert makegood("retry", "ask-1", "--why", "open again", "--with", "shop").code == 0


def test_terminate_ends_a_run_at_once_without_any_worker_or_code(makegood, parked):
    ended = makegood("terminate", "ask-1", "--why", "forget it", "--by", "Eve", "--json")
    assert (ended.code, ended.json["carried_out"], ended.json["run"]["status"]) == (0, True, "TERMINATED")


def test_terminate_lists_what_it_leaves_behind(makegood, fails):
    fails("ship", "refund")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    makegood("terminate", "order-1", "--why", "forget it")
    assert makegood("show", "order-1", "--json").json["residue"] == ["charge"]


def test_terminate_with_compensate_undoes_what_was_done_first(makegood, parked, effects):
    ended = makegood("terminate", "ask-1", "--why", "too late", "--compensate", "--with", "shop", "--json")
    assert (ended.json["run"]["status"], ended.json["run"]["residue"]) == ("TERMINATED", [])


def test_terminate_with_compensate_needs_a_worker(makegood, parked):
    stored = makegood("terminate", "ask-1", "--why", "too late", "--compensate")
    assert "stored, not carried out yet" in stored.out
    assert status(makegood) == "PARKED"


def test_pause_and_resume(makegood, parked):
    paused = makegood("pause", "ask-1", "--why", "stock-taking", "--with", "shop", "--json")
    assert (paused.code, paused.json["run"]["status"]) == (1, "PAUSED")
    shown = makegood("show", "ask-1").out
    assert "stock-taking" in shown
    assert "paused since" in shown
    assert "makegood resume ask-1" in shown
    refused = makegood("retry", "ask-1", "--why", "now", "--with", "shop")
    assert "Resume it first" in refused.err
    resumed = makegood("resume", "ask-1", "--why", "done", "--with", "shop", "--json")
    assert resumed.json["run"]["status"] == "PARKED"


def test_retry_with_other_arguments(makegood, parked):
    done = makegood("retry", "ask-1", "--input", '["Bob"]', "--why", "a wrong name", "--with", "shop")
    assert (done.code, done.out) == (0, '"approved by Bob"\n')


def test_retry_with_arguments_that_do_not_fit_changes_nothing(makegood, parked):
    refused = makegood(
        "retry", "ask-1", "--input", '{"whom": "Bob"}', "--why", "a wrong name", "--with", "shop"
    )
    assert refused.code == 2
    assert "does not fit" in refused.err
    assert status(makegood) == "PARKED"


def test_rollback_shows_first_what_it_undoes(makegood, parked):
    asked = makegood("rollback", "ask-1", "--why", "enough")
    assert asked.code == 2
    assert "stopped, and undone if it was done: approve" in asked.err
    assert "--yes" in asked.err
    assert status(makegood) == "PARKED"


def test_fork_takes_over_what_an_ended_run_did(makegood, fails, works, effects):
    fails("ship")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    refused = makegood("fork", "order-1", "ship", "--why", "again")
    assert "was undone since" in refused.err
    works("ship")
    forked = makegood("fork", "order-1", "charge", "--id", "order-2", "--why", "again", "--json")
    assert forked.json == {"id": "order-2", "forked_from": "order-1", "from_step": "charge"}


def test_rollback_ends_the_run(makegood, parked):
    ended = makegood("rollback", "ask-1", "--why", "enough", "--yes", "--with", "shop", "--json")
    assert ended.json["run"]["status"] == "TERMINATED"
    unknown = makegood("rollback", "ask-1", "--to", "aprove", "--why", "enough", "--yes", "--with", "shop")
    assert "already ended" in unknown.err
