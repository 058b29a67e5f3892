"""What the user sees: nothing that a terminal would obey, nothing cut off, colours only in a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from makegood.cli.output import command_line, readable, visible
from makegood.cli.render import duration, rows_that_fit, steps_table
from makegood.description import StepDescription
from tests.cli.shop import ORDER

HOSTILE_MESSAGE = "[red]no[/red] \x1b[2Jgone \u202e\x07\x9b31m :boom: [/]"


def step(number: int, state: str = "done", **details) -> StepDescription:
    values = {
        "name": "charge",
        "outcome": "",
        "attempts": 1,
        "critical": True,
        "undoable": True,
        "arguments": [],
        "began_at": 100.0,
        "settled_at": 101.5,
    }
    return StepDescription(number=number, state=state, **(values | details))


def drawn(renderable, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("run_id", ["[red]order[/red]", "[/]", "a\\[b]", ":boom:", "-x", "日本語", "'; rm x"])
def test_ids_are_shown_as_they_are(makegood, fails, run_id):
    fails("approve")
    parked = makegood("run", "shop:ask", "--input", '["Ann"]', f"--id={run_id}")
    assert run_id in parked.err
    for words in (["list"], ["show", "--", run_id]):
        assert run_id in makegood(*words).out


def test_messages_are_shown_and_never_interpreted(makegood, fails):
    fails("approve", message=HOSTILE_MESSAGE)
    parked = makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "a")
    for text in (parked.err, makegood("show", "a").out, makegood("history", "a").out):
        assert "[red]no[/red]" in text
        assert ":boom: [/]" in text
        assert "x1b[2Jgone" in text or "u001b[2Jgone" in text
        assert not {"\x1b", "\u202e", "\x07", "\x9b"} & set(text)


def test_json_is_ascii_and_keeps_every_character(makegood, fails):
    fails("approve", message=HOSTILE_MESSAGE)
    out = makegood("run", "shop:ask", "--input", '["Ann"]', "--json").out
    assert out.isascii()
    assert json.loads(out)["steps"][0]["failure"]["message"] == HOSTILE_MESSAGE


def test_errors_about_hostile_arguments_are_harmless(makegood):
    makegood("run", "shop:total", "--input", "[1]")
    refused = makegood("show", "\x1b[2J[red]x")
    assert refused.code == 2
    assert "\\x1b[2J[red]x" in refused.err
    assert "\x1b" not in refused.err


@pytest.mark.parametrize("words", [["list"], ["show", "x" * 200], ["history", "x" * 200]])
def test_at_80_columns_long_ids_are_folded_and_nothing_is_lost(makegood, words):
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "x" * 200)
    shown = makegood(*words, COLUMNS="80").out
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert shown.count("x") - shown.count("ex") >= 200


def test_in_a_pipe_lines_are_not_folded(makegood):
    makegood("run", "shop:total", "--input", "[1]", "--id", "x" * 200)
    assert "x" * 200 in makegood("list").out


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80"}])
def test_command_lines_are_never_folded(makegood, fails, environment):
    fails("approve")
    makegood("run", "shop:ask", "--input", '["Ann"]', "--id", "x" * 100)
    assert f"makegood retry {'x' * 100} approve --why '…'\n" in makegood("show", "x" * 100, **environment).out


def in_terminal(*words: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    master, slave = pty.openpty()
    base = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    child = subprocess.Popen(
        [sys.executable, "-c", "from makegood.cli import main; main()", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=base | {"TERM": "xterm-256color"} | environment,
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:  # Linux tells the end of a terminal so
            break
        if not more:
            break
        seen += more
    child.wait()
    os.close(master)
    return seen.decode()


def test_a_terminal_gets_colours_and_a_live_table(makegood):
    seen = in_terminal("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    assert "\x1b[32mCOMPLETED\x1b[0m" in seen
    assert "attempts" in seen
    assert '"a shipped for 10.50"' in seen


def test_no_color_is_respected(makegood):
    makegood("run", "shop:total", "--input", "[1]")
    assert "\x1b[32m" in in_terminal("list")
    assert "\x1b[32m" not in in_terminal("list", NO_COLOR="1")


def test_a_pipe_gets_no_escapes(makegood, fails):
    fails("ship", "refund")
    makegood("run", "shop:fulfil", "--input", ORDER, "--id", "order-1")
    for words in (
        ["list"],
        ["show", "order-1"],
        ["history", "order-1"],
        ["verify"],
        ["list", "--status", "x"],
    ):
        shown = makegood(*words)
        assert "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize(
    "word", ["order-1", "a b", "it's", "-x", "$HOME", "`id`", "\x1b[2J'\\", "\u202e!", "é"]
)
def test_a_command_line_can_be_copied_into_a_shell(word):
    line = command_line("show", word, store="sqlite:///makegood.db", options="--json")
    told = subprocess.run(
        ["/bin/bash", "-c", f'makegood() {{ printf "%s\\n" "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert word in told.stdout.split("\n")
    assert line.isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0124, "12 ms"),
        (1.25, "1.2 s"),
        (59.97, "60.0 s"),
        (61, "1 min 1 s"),
        (3720, "1 h 2 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_are_told_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_text_keeps_its_lines_or_is_one_line():
    assert readable("a\n\tb\r") == "a\n    b\\r"
    assert visible("a\nb") == "a\\nb"


def test_a_step_that_waits_for_its_next_attempt_says_for_how_long():
    waiting = step(1, "open", attempts=2, settled_at=None, next_attempt_at=105.0)
    line = drawn(steps_table([waiting], now=102.0)).splitlines()[1]
    assert line.split() == ["1", "charge", "again", "in", "3.0", "s", "2", "2.0", "s"]


def test_the_attempt_under_way_is_counted():
    line = drawn(steps_table([step(1, "open", attempts=2, settled_at=None)], now=102.0)).splitlines()[1]
    assert line.split() == ["1", "charge", "running", "3", "2.0", "s"]


def test_of_many_steps_those_under_way_and_the_newest_are_shown():
    steps = [step(number, "open" if number in {3, 400} else "done") for number in range(1, 501)]
    shown, rest = rows_that_fit(steps, 5)
    assert [one.number for one in shown] == [3, 400, 498, 499, 500]
    assert rest == "… 500 steps in all, 498 done, 2 under way"
