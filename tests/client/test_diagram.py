"""``run.diagram()`` and ``run.timeline()``: what happened in a run, from its journal alone."""

import asyncio
import contextlib
import io
import re

from rich.console import Console

import makegood as mg
from makegood.cli.timeline import timeline_report
from makegood.diagram import diagram, escaped
from makegood.timeline import Timeline, timeline
from tests.engine.kit import START, Run
from tests.engine.test_golden import FOLDER, read
from tests.golden.scenarios import SCENARIOS

Go = mg.Signal("go", str)


@mg.step
async def charge(order: str) -> str: ...


@charge.compensation
async def refund(receipt: str | None, order: str) -> None: ...


@mg.step
async def reserve(order: str) -> str: ...


@reserve.compensation
async def release(hold: str | None, order: str) -> None: ...


@mg.step(retry=None)
async def label(order: str) -> str: ...


@mg.workflow
async def order(order: str) -> str:
    await asyncio.gather(charge(order), reserve(order))
    return await label(order)


@mg.workflow
async def listening() -> None:
    with contextlib.suppress(TimeoutError):
        await Go.receive(timeout=60)
    await Go.receive(timeout=60)


@mg.workflow
async def wide() -> None:
    await asyncio.gather(*(charge(str(n)) for n in range(500)))


NODE = re.compile(
    r'^  (\w+)(\(\["|\[\["|\["|>"|\{\{"|\[/"|\(\(")([^"]*)("\]\)|"\]\]|"\]|"\}\}|"/\]|"\)\)):::(\w+)$'
)
ARROW = re.compile(r"^  (\w+) (-->|-\.->|---|-\.-|~~~) (\w+)$")
SAFE = re.compile(r"(?:[^\W_]|[ …]|#\d+;|<br/>)*")


class Parsed:
    """A Mermaid flowchart, read line by line: anything that is neither box, arrow nor style is an error."""

    def __init__(self, text: str) -> None:
        first, *lines = text.splitlines()
        assert first == "flowchart TD"
        self.boxes: dict[str, str] = {}
        self.arrows: list[tuple[str, str, str]] = []
        classes, styles = set(), set()
        for line in lines:
            node, arrow = NODE.match(line), ARROW.match(line)
            if node:
                assert SAFE.fullmatch(node[3]), line
                self.boxes[node[1]] = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), node[3])
                classes.add(node[5])
            elif arrow:
                self.arrows.append((arrow[1], arrow[2], arrow[3]))
            else:
                assert line.startswith("  classDef "), line
                styles.add(line.split()[1])
        assert classes <= styles
        assert {end for one, _, other in self.arrows for end in (one, other)} <= self.boxes.keys()

    def box(self, beginning: str) -> str:
        (found,) = [name for name, words in self.boxes.items() if words.startswith(beginning)]
        return found

    def after(self, name: str) -> dict[str, str]:
        """The boxes that arrows lead to from here, and how; points in between are passed over."""
        found: dict[str, str] = {}
        for one, line, other in self.arrows:
            if one == name:
                found |= (
                    self.after(other)
                    if other.startswith("p")
                    else {self.boxes[other].split("<br/>")[0]: line}
                )
        return found


def parsed(run: Run) -> Parsed:
    return Parsed(diagram(timeline(run.entries)))


def rolled_back() -> Run:
    run = Run(order, "o-1")
    run.complete("charge", "r")
    run.complete("reserve", "h")
    run.fail("label", 'no "address" <here>')
    run.undo("reserve")
    run.undo("charge")
    return run


def test_parallel_steps_stand_side_by_side_and_compensations_follow_in_reverse_on_dashed_arrows() -> None:
    drawn = parsed(rolled_back())
    assert drawn.after("start") == {"1 charge": "-->", "2 reserve": "-->"}
    assert drawn.after(drawn.box("1 charge")) == drawn.after(drawn.box("2 reserve")) == {"3 label": "-->"}
    assert drawn.after(drawn.box("3 label")) == {"rollback": "-.->"}
    assert drawn.after(drawn.box("rollback")) == {"undo 2 reserve": "-.->"}
    assert drawn.after(drawn.box("undo 2 reserve")) == {"undo 1 charge": "-.->"}
    assert drawn.after(drawn.box("undo 1 charge")) == {"COMPENSATED": "-.->"}


def test_a_box_tells_of_attempts_and_how_they_failed() -> None:
    words = parsed(rolled_back()).boxes
    assert 'attempt 1 failed: Refused: no "address" <here>' in next(
        w for w in words.values() if w.startswith("3 ")
    )


def test_a_run_that_still_waits_ends_in_how_it_stands() -> None:
    run = Run(listening)
    drawn = parsed(run)
    assert drawn.boxes["finish"] == "RUNNING<br/>not ended yet"
    assert drawn.box("timer<br/>waits still")


def test_signals_and_timers_are_shown_but_not_time_limits_that_were_kept() -> None:
    run = Run(listening)
    run.fire()
    run.signal("go", "x")
    drawn = parsed(run)
    assert [words.split("<br/>")[0] for words in drawn.boxes.values()] == [
        "listening  run-1",
        "timer",
        "signal go",
        "COMPLETED",
    ]


def test_hundreds_of_steps_are_shortened() -> None:
    drawn = parsed(Run(wide))
    assert len(drawn.boxes) <= 45
    assert drawn.boxes["rest"] == "460 more of 500 are not shown"


def test_any_character_is_safe_in_a_box() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x3000 + 0xE000)]))
    for start in range(0, len(everything), 80):
        assert SAFE.fullmatch(escaped(everything[start : start + 80]))
    assert escaped('a"]; end') == "a#34;#93;#59; end"


def test_every_golden_journal_can_be_drawn() -> None:
    for name in SCENARIOS:
        told = golden(name)
        drawn = Parsed(diagram(told))
        assert drawn.boxes["finish"].startswith(told.status), name
        assert all(span.ended_at is not None for span in told.spans) or told.ended_at is None, name


def golden(name: str) -> Timeline:
    _, entries = read(FOLDER / f"{name}.json")
    return timeline(entries)


def test_the_bars_of_hundreds_of_steps_are_shortened_to_what_fits_and_fit_80_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    for part in timeline_report(timeline(Run(wide).entries), START + 3600, 80):
        console.print(part)
    lines = console.export_text().splitlines()
    assert len(lines) <= 65
    assert "… 440 more of 500 are not shown" in lines
    assert max(map(len, lines)) <= 80


def test_a_timeline_tells_attempts_and_the_waits_between_them() -> None:
    run = Run(order, "o-1")
    run.now = START + 5
    run.fail("charge")
    (charged, reserved) = timeline(run.entries).spans
    first, second = charged.attempts
    assert (first.began_at, first.ended_at, first.outcome) == (START, START + 5, "failed")
    assert second.began_at > START + 5
    assert (second.ended_at, charged.ended_at, reserved.ended_at) == (None, None, None)
