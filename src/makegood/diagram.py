"""A run as a Mermaid flowchart: what happened, from top to bottom, side by side what went on at the same time.

An arrow means: began after that was over. Compensations hang on dashed arrows. Any text is safe to show: everything but
letters, digits and spaces travels as a character code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from makegood.times import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.timeline import Attempt, Span, Timeline

NODES_SHOWN = 40
ATTEMPTS_SHOWN = 3
TEXT_LIMIT_CHARACTERS = 90
SHAPES = {
    "signal": ('>"', '"]'),
    "timer": ('(["', '"])'),
    "child": ('[["', '"]]'),
    "rollback": ('{{"', '"}}'),
    "operator": ('[/"', '"/]'),
    "leg": ('(["', '"])'),
}
BOX = ('["', '"]')
ENDS = ('(["', '"])')
STYLES = {
    "done": "fill:#e6f4ea,stroke:#2e7d32,color:#10310f",
    "failed": "fill:#fdecea,stroke:#c62828,color:#5a1010",
    "unknown": "fill:#fff4e0,stroke:#ef6c00,color:#5a3000",
    "undone": "fill:#fff9db,stroke:#b08900,color:#4a3a00,stroke-dasharray:5 3",
    "waiting": "fill:#f3e8fd,stroke:#7b1fa2,color:#3a0f50",
    "running": "fill:#e3f2fd,stroke:#1565c0,color:#0b2f5c",
    "plain": "fill:#f5f5f5,stroke:#757575,color:#212121",
}
ENDING_STYLES = {
    "COMPLETED": "done",
    "COMPENSATED": "undone",
    "CANCELLED": "undone",
    "FAILED": "failed",
    "TERMINATED": "failed",
    "PARKED": "waiting",
    "PAUSED": "waiting",
}


def diagram(story: Timeline, limit: int = NODES_SHOWN) -> str:
    """The story as the text of a Mermaid flowchart.

    Args:
        limit: how many boxes there may be; if there were more, the less interesting ones are told as one.
    """
    spans, asides = _apart(story.spans)
    spans, left_out = _chosen(spans, limit)
    names = {id(span): f"n{number}" for number, span in enumerate(spans, start=1)}
    lines = ["flowchart TD", f"  start{_box(ENDS, [f'{story.workflow}  {story.id}', 'started'])}:::plain"]
    lines += [f"  {names[id(span)]}{_node(span, asides.get(id(span), []))}" for span in spans]
    ended = _lines_of_ending(story)
    lines.append(f"  finish{_box(ENDS, ended)}:::{ENDING_STYLES.get(story.status, 'running')}")
    if left_out:
        lines.append(f"  rest{_box(BOX, [left_out])}:::plain")
    lines += _arrows(spans, names)
    if left_out:
        lines.append("  start ~~~ rest")
    lines += [f"  classDef {name} {style}" for name, style in STYLES.items()]
    return "\n".join(lines) + "\n"


# ---- boxes -----------------------------------------------------------------------------------------------------------


def _apart(spans: Sequence[Span]) -> tuple[list[Span], dict[int, list[str]]]:
    """The spans that get a box, and what happened to steps: that they were parked, what operators did about it."""
    boxes: list[Span] = []
    asides: dict[int, list[str]] = {}
    steps: dict[int, Span] = {}
    for span in spans:
        about = steps.get(span.step)
        if about is None or not span.step or span.kind not in ("parked", "operator"):
            boxes.append(span)
            steps[span.step] = span
        elif span.kind == "operator":
            asides.setdefault(id(about), []).append(f"{span.name} {span.note}")
        else:
            parked = f"parked for {_took(span)}" if span.last is not None else "parked: waits for an operator"
            asides.setdefault(id(about), []).append(parked)
    return boxes, asides


def _node(span: Span, asides: list[str]) -> str:
    return f"{_box(SHAPES.get(span.kind, BOX), _words(span, asides))}:::{_style(span)}"


def _box(shape: tuple[str, str], lines: Sequence[str]) -> str:
    return f"{shape[0]}{'<br/>'.join(map(escaped, lines))}{shape[1]}"


def escaped(text: str) -> str:
    """A text of any characters as a Mermaid label means it."""
    if len(text) > TEXT_LIMIT_CHARACTERS:
        text = text[: TEXT_LIMIT_CHARACTERS - 1] + "…"
    return "".join(
        one if one.isalnum() or one in " …" else f"#{ord(one) if one.isprintable() else 0xFFFD};"
        for one in text
    )


def _words(span: Span, asides: list[str]) -> list[str]:
    match span.kind:
        case "step" | "child":
            title = f"{span.step} {span.name}" + ("" if span.critical else " (best effort)")
            lines = [title, *([f"run {span.child}"] if span.child else [])]
        case "undo":
            lines = [f"undo {span.step} {span.name}", *([f"run {span.child}"] if span.child else [])]
        case "timer":
            lines = ["timer", "waits still" if span.last is None else f"fired after {_took(span)}"]
        case "signal":
            lines = [f"signal {span.name}"]
        case "parked":
            lines = [f"parked: {span.name}"]
        case _:
            lines = [span.name]
    lines += _attempts(span.attempts) + asides
    if span.kind == "child" and span.failure is not None:
        lines.append(f"{span.note} {span.failure}".strip())
    elif span.note:
        lines.append(span.note)
    if span.kind in ("step", "child", "undo"):
        lines.append(_result(span))
    return lines


def _attempts(attempts: Sequence[Attempt]) -> list[str]:
    """A line for each attempt that failed, the last ones if there are many."""
    failed = [one for one in attempts if one.failure is not None]
    lines = [f"attempt {one.number} {one.outcome}: {one.failure}" for one in failed[-ATTEMPTS_SHOWN:]]
    if len(failed) > ATTEMPTS_SHOWN:
        lines.insert(0, f"{len(failed) - ATTEMPTS_SHOWN:,} more attempts failed before")
    return lines


def _result(span: Span) -> str:
    if span.last is None:
        return "under way"
    done = "undone" if span.kind == "undo" else "done"
    words = {"done": done, "failed": "gave up", "unknown": "gave up, outcome unknown"}
    return f"{words.get(span.outcome, span.outcome)} after {_took(span)}"


def _took(span: Span) -> str:
    return duration((span.ended_at or span.began_at) - span.began_at)


def _style(span: Span) -> str:
    if span.kind in ("parked", "paused"):
        return "waiting"
    if span.last is None:
        return "running"
    if span.kind == "undo" and span.outcome == "done":
        return "undone"
    if span.kind == "rollback":
        return "failed"
    if span.kind in ("operator", "leg", "signal", "timer"):
        return "plain"
    return {"done": "done", "unknown": "unknown", "skipped": "unknown"}.get(span.outcome, "failed")


def _lines_of_ending(story: Timeline) -> list[str]:
    if story.ended_at is None:
        return [story.status, "not ended yet"]
    lines = [story.status, f"after {duration(story.ended_at - story.began_at)}"]
    return [*lines, str(story.failure)] if story.failure is not None else lines


# ---- arrows ----------------------------------------------------------------------------------------------------------


def _arrows(spans: Sequence[Span], names: dict[int, str]) -> list[str]:
    """From whatever was over last to what began after it; several lead through a point in between."""
    lines: list[str] = []
    points: dict[tuple[str, ...], str] = {}
    for span, target in [*((span, names[id(span)]) for span in spans), (None, "finish")]:
        before = [one for one in spans if span is None or _precedes(one, span)]
        last = [one for one in before if not any(_precedes(one, other) for other in before)]
        undoing = span is not None and span.kind in ("undo", "rollback")
        line = "-.-" if undoing or any(one.kind == "undo" for one in last) else "---"
        sources = tuple(names[id(one)] for one in last) or ("start",)
        if len(sources) > 1:
            if sources not in points:
                points[sources] = f"p{len(points) + 1}"
                lines.append(f'  {points[sources]}((" ")):::plain')
                lines += [f"  {source} {line} {points[sources]}" for source in sources]
            sources = (points[sources],)
        lines.append(f"  {sources[0]} {'-.->' if line == '-.-' else '-->'} {target}")
    return lines


def _precedes(one: Span, other: Span) -> bool:
    return one.last is not None and one.last < other.first


# ---- too many --------------------------------------------------------------------------------------------------------


def _chosen(spans: Sequence[Span], limit: int) -> tuple[list[Span], str]:
    """What is shown if there is too much: what did not go smoothly, then the beginning and the end; and on the rest."""
    if len(spans) <= limit:
        return list(spans), ""
    smooth = [span for span in spans if span.outcome == "done" and len(span.attempts) < 2 and not span.note]
    unusual = len(spans) - len(smooth)
    kept = max(limit - unusual, 2)
    shown = {id(span) for span in (*smooth[: kept // 2], *smooth[len(smooth) - (kept - kept // 2) :])}
    smooth_ids = {id(span) for span in smooth}
    chosen = [span for span in spans if id(span) in shown or id(span) not in smooth_ids]
    if len(chosen) > limit:
        chosen = [*chosen[: limit // 2], *chosen[len(chosen) - (limit - limit // 2) :]]
    return chosen, f"{len(spans) - len(chosen):,} more of {len(spans):,} are not shown"
