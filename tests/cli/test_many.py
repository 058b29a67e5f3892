"""Actions in many runs, and retention, from the command line: counted, confirmed, refused where nobody can be asked."""

from __future__ import annotations

import asyncio

import pytest

import makegood as mg


@pytest.fixture
def parked(makegood, fails, works):
    """Runs ask-1 to ask-3 are parked at approve, which would work now; the third has another tag."""
    fails("approve")
    for number in (1, 2, 3):
        tag = f"merchant={42 if number < 3 else 7}"
        makegood("run", "shop:ask", "--input", '["Ann"]', "--id", f"ask-{number}", "--tag", tag)
    works("approve")


def statuses(makegood, *filters: str) -> dict[str, str]:
    return {run["id"]: run["status"] for run in makegood("list", "--json", *filters).json}


RETRY = (
    "retry",
    "--status",
    "parked",
    "--workflow",
    "approval",
    "--tag",
    "merchant=42",
    "--why",
    "open again",
)


def test_a_confirmed_action_is_carried_out_in_all_runs_that_are_meant(makegood, parked):
    done = makegood(*RETRY, "--by", "Eve", "--yes", "--with", "shop", "--json")
    assert (done.code, done.json) == (
        0,
        {"action": "retry", "found": 2, "carried_out": 2, "refused": []},
    )
    assert statuses(makegood) == {"ask-1": "COMPLETED", "ask-2": "COMPLETED", "ask-3": "PARKED"}
    acted = [item for item in makegood("history", "ask-1", "--json").json if item["event"] == "OperatorActed"]
    assert [(a["fields"]["by"], a["fields"]["why"]) for a in acted] == [("Eve", "open again")]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_without_a_terminal_nothing_is_done_unconfirmed(makegood, parked, more):
    refused = makegood(*RETRY, *more, "--with", "shop")
    assert refused.code == 2
    assert "retry 2 run(s): this has to be confirmed" in refused.err
    assert set(statuses(makegood).values()) == {"PARKED"}


@pytest.mark.parametrize(("answer", "status"), [("y\n", "COMPLETED"), ("n\n", "PARKED")])
def test_at_a_terminal_the_number_is_asked_for(makegood, parked, monkeypatch, answer, status):
    monkeypatch.setattr("makegood.cli.many.at_a_terminal", lambda: True)
    asked = makegood(*RETRY, "--with", "shop", stdin=answer)
    assert "retry 2 run(s)?" in asked.err
    assert statuses(makegood, "--tag", "merchant=42") == {"ask-1": status, "ask-2": status}


def test_a_filter_that_matches_nothing_says_so(makegood, parked):
    nothing = makegood("cancel", "--workflow", "nobody", "--why", "x", "--yes")
    assert (nothing.code, nothing.out) == (0, "")
    assert "No run is like that. Nothing was changed." in nothing.err


def test_runs_in_which_it_is_not_possible_are_told(makegood, parked):
    told = makegood("resume", "--all", "--why", "x", "--yes", "--with", "shop")
    assert told.code == 1
    assert "carried out in 0 of 3 run(s), refused in 3" in told.out
    assert "ask-1: run ask-1 cannot resume" in told.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cancel", "--why", "x"), "which runs? Give an id"),
        (("cancel", "ask-1", "--status", "PARKED", "--why", "x"), "not both"),
        (("cancel", "--status", "ODD", "--why", "x", "--yes"), "there is no status"),
        (("retry", "--tag", "merchant", "--why", "x", "--yes"), "write NAME=VALUE"),
        (("retry", "--ended-before", "soon", "--why", "x", "--yes"), "or how long ago"),
        (("retry", "--all", "--input", "[1]", "--why", "x", "--yes"), "is one run's"),
        (("prune", "--older-than", "long", "--yes"), "give a length of time"),
        (("prune", "--older-than", "1d"), "has to be confirmed"),
    ],
)
def test_what_cannot_be_meant_is_refused(makegood, parked, words, said):
    refused = makegood(*words)
    assert refused.code == 2
    assert said in refused.err
    assert set(statuses(makegood).values()) == {"PARKED"}


def test_without_a_worker_what_was_asked_is_stored(makegood, parked):
    stored = makegood(*RETRY, "--yes", "--json")
    assert (stored.code, stored.error["type"]) == (3, "NoWorker")
    makegood("skip", "ask-3", "--why", "x", "--with", "shop")  # a worker, for a moment
    assert "PARKED" not in statuses(makegood).values()


def test_list_takes_the_same_filters_and_counts(makegood, parked):
    assert list(statuses(makegood, "--tag", "merchant=42", "--started-after", "1h")) == ["ask-2", "ask-1"]
    assert list(statuses(makegood, "--id-prefix", "ask-3", "--started-before", "2999-01-01")) == ["ask-3"]
    assert makegood("list", "--count", "--status", "PARKED").out == "3\n"
    assert makegood("list", "--count", "--ended-after", "1h", "--json").json == {"count": 0}


def test_history_is_read_in_pages(makegood, parked):
    whole = makegood("history", "ask-1", "--json").json
    first = makegood("history", "ask-1", "--limit", "1", "--json").json
    rest = makegood("history", "ask-1", "--after", "1", "--json").json
    assert first
    assert first + rest == whole


def test_pruned_runs_are_gone_and_pinned_ones_are_kept(makegood, parked):
    makegood("terminate", "--all", "--why", "x", "--yes")
    assert makegood("pin", "ask-1", "--why", "audit", "--by", "Eve").code == 0
    assert makegood("prune", "--older-than", "0s", "--yes", "--json").json == {"removed": 2}
    assert statuses(makegood) == {"ask-1": "TERMINATED"}
    gone = makegood("show", "ask-2", "--json")
    assert (gone.code, gone.error["type"]) == (2, "RunPruned")
    assert makegood("unpin", "ask-1").code == 0
    assert makegood("prune", "--older-than", "0s", "--yes").out == "1 removed.\n"
    assert makegood("prune", "--older-than", "0s", "--tombstones", "--yes").out == "3 removed.\n"


def test_an_interrupted_action_is_gone_on_with(makegood, parked, monkeypatch):
    """SIGINT after the first run: what was done is said, and the same command does the others."""
    import os
    import signal

    monkeypatch.setattr("makegood.client.batch.AT_ONCE", 1)
    batch = mg.Engine.batch

    async def interrupted(*args, **options):
        async for outcome in batch(*args, **options):
            yield outcome
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(3600)

    with monkeypatch.context() as patch:
        patch.setattr(mg.Engine, "batch", interrupted)
        stopped = makegood(*RETRY, "--yes", "--with", "shop")
    assert stopped.code == 130
    assert "retry was carried out in 1 of 2 run(s). The same command again goes on" in stopped.err
    assert makegood(*RETRY, "--yes", "--with", "shop", "--json").json["found"] == 1
    assert set(statuses(makegood, "--tag", "merchant=42").values()) == {"COMPLETED"}
