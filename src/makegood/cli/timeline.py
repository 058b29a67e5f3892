"""A run's timeline in a terminal: a bar for each step, attempt, compensation and wait, on one scale of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from makegood.cli.output import visible
from makegood.cli.render import STATUS_STYLES
from makegood.times import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from makegood.timeline import Span, Timeline

ROWS_SHOWN = 60
NAME_COLUMNS = 26
TOOK_COLUMNS = 11
LEAST_BAR_COLUMNS = 20
MOST_BAR_COLUMNS = 100
STYLES = {
    "done": "green",
    "failed": "red",
    "unknown": "yellow",
    "skipped": "yellow",
    "left open": "bold red",
    "": "cyan",
}
MARKS = {
    "undo": "↩ ",
    "child": "→ ",
    "timer": "⏲ ",
    "signal": "✉ ",
    "operator": "☝ ",
    "rollback": "✗ ",
    "leg": "↻ ",
}


def timeline_report(story: Timeline, now: float, columns: int) -> list[RenderableType]:
    """The whole story, in so many columns; the less interesting rows are left out if there are too many."""
    end = max(story.ended_at if story.ended_at is not None else now, story.until, story.began_at)
    bar = min(max(columns - NAME_COLUMNS - TOOK_COLUMNS - 2, LEAST_BAR_COLUMNS), MOST_BAR_COLUMNS)
    scale = _Scale(story.began_at, max(end - story.began_at, 1e-9), bar)
    head = Text.assemble(
        (visible(story.id), "bold"),
        f"  {visible(story.workflow)}  ",
        (story.status, STATUS_STYLES.get(story.status, "")),
        f"  {duration(end - story.began_at)}",
        overflow="fold",
    )
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=NAME_COLUMNS, no_wrap=True, overflow="ellipsis")
    table.add_column(width=bar, no_wrap=True, overflow="crop")
    table.add_column(width=TOOK_COLUMNS, no_wrap=True, justify="right")
    shown, rest = _rows(story.spans)
    for span in shown:
        until = span.ended_at if span.ended_at is not None else end
        took = "" if span.last == span.first else duration(until - span.began_at)
        table.add_row(_name(span), scale.bar(span, until), took)
    table.add_row(Text(""), Text(f"0{duration(end - story.began_at).rjust(bar - 1)}", "dim"), "")
    report: list[RenderableType] = [head, table]
    if rest:
        report.append(Text(f"… {rest:,} more of {len(story.spans):,} are not shown", "dim"))
    return [*report, _legend()]


class _Scale:
    """Where moments are on a line of so many columns."""

    def __init__(self, began_at: float, seconds: float, columns: int) -> None:
        self._began_at, self._seconds, self._columns = began_at, seconds, columns

    def _column(self, at: float) -> int:
        place = int((at - self._began_at) / self._seconds * self._columns)
        return min(max(place, 0), self._columns - 1)

    def bar(self, span: Span, until: float) -> Text:
        """Attempts in the colours of how they ended, what is between them dotted."""
        cells = [(" ", "")] * self._columns
        first, last = self._column(span.began_at), self._column(until)
        if span.last == span.first:
            cells[first] = ("◆", "magenta")
        elif not span.attempts:
            kind = "─" if span.kind in ("timer", "parked", "paused") else "█"
            style = "magenta" if span.kind in ("parked", "paused") else STYLES.get(span.outcome, "cyan")
            self._fill(cells, first, last, kind, style)
        else:
            self._fill(cells, first, last, "·", "dim")
            for attempt in span.attempts:
                ended = attempt.ended_at if attempt.ended_at is not None else until
                if attempt.began_at <= until:
                    mark = "▒" if span.kind == "undo" else "█"
                    places = self._column(attempt.began_at), self._column(max(ended, attempt.began_at))
                    self._fill(cells, *places, mark, STYLES.get(attempt.outcome, "cyan"))
        return Text.assemble(*cells)

    @staticmethod
    def _fill(cells: list[tuple[str, str]], first: int, last: int, mark: str, style: str) -> None:
        for column in range(first, last + 1):
            cells[column] = (mark, style)


def _name(span: Span) -> Text:
    number = f"{span.step} " if span.step and span.kind in ("step", "child", "undo") else ""
    named = "parked: " if span.kind == "parked" else ""
    return Text(
        f"{number}{MARKS.get(span.kind, '')}{named}{visible(span.name)}", STYLES.get(span.outcome, "")
    )


def _rows(spans: Sequence[Span]) -> tuple[list[Span], int]:
    """The rows worth showing: what went wrong or still goes on first, then the beginning and the end."""
    if len(spans) <= ROWS_SHOWN:
        return list(spans), 0
    unusual = [span for span in spans if span.outcome != "done" or len(span.attempts) > 1]
    chosen = {id(span) for span in unusual[-ROWS_SHOWN * 2 // 3 :]}
    plain = [span for span in spans if id(span) not in chosen]
    room = ROWS_SHOWN - len(chosen)
    chosen |= {id(span) for span in (*plain[: room // 2], *plain[len(plain) - (room - room // 2) :])}
    shown = [span for span in spans if id(span) in chosen]
    return shown, len(spans) - len(shown)


def _legend() -> Text:
    return Text.assemble(
        ("█ done", "green"),
        "  ",
        ("█ failed", "red"),
        "  ",
        ("█ unknown", "yellow"),
        "  ",
        ("█ under way", "cyan"),
        "  ▒ undo  ─ wait  ",
        ("· before a retry", "dim"),
    )
