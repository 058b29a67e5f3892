"""What people see of runs: tables and reports as ``rich`` objects, from descriptions alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from makegood.cli.output import command_line, compact_json, readable, visible
from makegood.definition.workflow import titled
from makegood.times import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from makegood.backend.schedules import ScheduleSummary
    from makegood.client import StuckRun
    from makegood.description import Description, HistoryItem, MissedStep, RunSummary, StepDescription

STATUS_STYLES = {
    "RUNNING": "cyan",
    "COMPENSATING": "yellow",
    "PARKED": "bold magenta",
    "PAUSED": "magenta",
    "COMPLETED": "green",
    "COMPENSATED": "yellow",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "TERMINATED": "bold red",
}
STATE_STYLES = {
    "running": "cyan",
    "probing": "cyan",
    "pending": "cyan",
    "done": "green",
    "failed": "red",
    "skipped": "yellow",
    "exhausted": "bold magenta",
    "undoing": "yellow",
    "undone": "yellow",
    "undo exhausted": "bold magenta",
    "residue": "bold red",
}
ACTIVE_STATES = frozenset({"open", "pending", "probing", "undoing"})
TIMES = frozenset({"retry_at", "due"})  # of the journal's fields; 0 for none
PAUSED = "PAUSED"
PARKED_STATES = frozenset({"exhausted", "undo exhausted"})


def moment(at: float) -> str:
    """A time in the user's own zone."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def runs_table(runs: Iterable[RunSummary], now: float) -> Table:
    """The lines of a list; whose children they are, if any is one."""
    runs = list(runs)
    with_parents = any(run.parent for run in runs)
    table = _table("id", "workflow", "status", "started", "took", *(["parent"] if with_parents else []))
    for run in runs:
        took = (run.ended_at if run.ended_at is not None else now) - run.started_at
        table.add_row(
            visible(run.id),
            visible(titled(run.workflow, run.version)),
            _status(run.status),
            moment(run.started_at),
            duration(took),
            *([visible(run.parent) or "-"] if with_parents else []),
        )
    return table


def schedules_table(schedules: Iterable[ScheduleSummary], now: float) -> Table:
    """Which workflows start by themselves, and when."""
    table = _table("schedule", "cron", "time zone", "overlap", "next tick", "last run", "status")
    for one in schedules:
        if one.next_tick is None:
            coming = "none: a problem" if one.problem else "none: paused"
        else:
            coming = moment(one.next_tick) + (" (due)" if one.next_tick <= now else "")
        table.add_row(
            visible(one.workflow),
            one.cron,
            one.timezone,
            one.overlap,
            coming,
            visible(one.last_run) or "-",
            _status(one.last_status) if one.last_status else "-",
        )
    return table


def stuck_table(runs: Iterable[StuckRun]) -> Table:
    """Runs that overstay."""
    table = _table("id", "workflow", "status", "age", "usual", "waits for")
    for run in runs:
        table.add_row(
            visible(run.id),
            visible(run.workflow),
            _status(run.status),
            duration(run.age_seconds),
            duration(run.usual_seconds),
            readable(run.waiting_for),
        )
    return table


def missed_table(steps: Iterable[MissedStep]) -> Table:
    """Missed steps over all runs."""
    table = _table("run", "workflow", "step", "attempts", "failed", "error")
    for step in steps:
        table.add_row(
            visible(step.run),
            visible(step.workflow),
            f"{step.step} {visible(step.name)}",
            str(step.attempts),
            moment(step.failed_at) if step.failed_at is not None else "",
            visible(str(step.failure or "")),
        )
    return table


def history_table(items: Iterable[HistoryItem]) -> Table:
    """A journal, event by event."""
    table = _table("entry", "time", "event", "details")
    entry = 0
    for item in items:
        first, entry = item.entry != entry, item.entry
        table.add_row(
            str(item.entry) if first else "",
            _clock(item.at) if first else "",
            item.event,
            ", ".join(
                f"{name}={_detail(name, value)}"
                for name, value in item.fields.items()
                if value != 0 or name not in TIMES
            ),
        )
    return table


def _detail(name: str, value: Any) -> str:
    if name == "failure":
        return visible(f"{value['type']}: {value['message']}")
    if name == "reason":
        return readable(value)
    if name in TIMES:
        return _clock(value)
    return compact_json(value)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def headline(run: Description, now: float) -> Text:
    """One line that says which run, and how it stands."""
    took = (run.ended_at if run.ended_at is not None else now) - run.started_at
    return Text.assemble(
        (visible(run.id), "bold"),
        "  ",
        visible(titled(run.workflow, run.version)),
        "  ",
        _status(run.status),
        f"  {duration(took)}",
    )


def steps_table(
    steps: Iterable[StepDescription], now: float, children: Mapping[str, str] | None = None
) -> Table:
    """The steps of a run, with where each of them stands. ``children``: the statuses of child runs, by id."""
    table = _table("#", "step", "state", "outcome", "attempts", "time")
    for step in steps:
        state, attempts = _state(step, now)
        until = step.settled_at if step.settled_at is not None else now
        table.add_row(
            str(step.number),
            Text.assemble(visible(step.name), (_aside(step, children or {}), "dim")),
            Text(state, STATE_STYLES.get(state, "")),
            "" if step.outcome == step.state else step.outcome,
            str(attempts),
            duration(until - step.began_at),
        )
    return table


def _aside(step: StepDescription, children: Mapping[str, str]) -> str:
    if step.child:
        status = children.get(step.child, "")
        return f" → {visible(step.child)}{f' ({status})' if status else ''}"
    return "" if step.critical else " (best effort)"


def errors_of(steps: Iterable[StepDescription]) -> list[Text]:
    """A line for each step that has an error to tell."""
    return [
        Text.assemble((f"{step.number} {visible(step.name)}  ", "red"), readable(str(step.failure)))
        for step in steps
        if step.failure is not None
    ]


def run_report(run: Description, store: str, now: float) -> list[RenderableType]:
    """Everything about a run, with what can be done about it if it is parked."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(run).items():
        facts.add_row(Text(name, "bold"), Text(value, overflow="fold"))
    report: list[RenderableType] = [headline(run, now), Padding(facts, (0, 0, 0, 2))]
    if run.steps:
        report += [Text(), Padding(steps_table(run.steps, now, run.children), (0, 0, 0, 2))]
    errors = errors_of(run.steps)
    if errors:
        report += [Text("\nerrors", "bold"), *(Padding(error, (0, 0, 0, 2)) for error in errors)]
    if run.late:
        report += [Text("\nlate", "bold"), *(Padding(line, (0, 0, 0, 2)) for line in late_lines(run))]
    if run.parked or run.status == PAUSED:
        report += parked_report(run, store)
    return report


def late_lines(run: Description) -> list[Text]:
    """A line for each attempt that was given up on and went on."""
    lines = []
    for one in run.late:
        what = f"{one.step} {visible(one.name)}  {'undo, ' if one.undo else ''}attempt {one.attempt} "
        if one.outcome == "running":
            lines.append(Text(f"{what}was given up on at {_clock(one.at)} and goes on"))
            continue
        told = compact_json(one.result) if one.failure is None else readable(str(one.failure))
        lines.append(Text(f"{what}ended late at {_clock(one.at)}, {one.outcome}: {told}"))
    return lines


def parked_report(run: Description, store: str) -> list[RenderableType]:
    """Why a run is parked or paused, and the commands that get it going again."""
    paused = run.status == PAUSED
    reasons = [readable(run.waiting_for)] if paused else [readable(reason) for reason in run.parked.values()]
    since = f" since {moment(run.waiting_since)}" if run.waiting_since else ""
    report: list[RenderableType] = [Text(f"\n{'paused' if paused else 'parked'}{since}", "bold magenta")]
    report += [Padding(Text(reason), (0, 0, 0, 2)) for reason in reasons]
    report.append(Text("\nwhat you can do", "bold"))
    for meaning, command in remedies(run, store):
        report.append(Padding(Text(f"# {meaning}", "dim"), (0, 0, 0, 2)))
        report.append(Text(f"  {command}", no_wrap=True))
    return report


def remedies(run: Description, store: str) -> list[tuple[str, str]]:
    """What an operator may do about a parked or paused run, each with its exact command line."""
    if run.status == PAUSED:
        return [
            (meaning, command_line(action, run.id, store=store, options="--why '…'"))
            for action, meaning in (
                ("resume", "have it go on"),
                ("cancel", "stop it: what was done is undone"),
                ("terminate", "end it at once: what was done stays"),
            )
        ]
    if "code" in run.parked and not any(s.name == "code" and s.state in PARKED_STATES for s in run.steps):
        resume = command_line("resume", run.id, store=store, options="--why '…' --with MODULE")
        return [("correct the code, then have its module go on", resume)]
    found = []
    names = [step.name for step in run.steps]
    for step in run.steps:
        if step.state not in PARKED_STATES:
            continue
        name = visible(step.name)
        target = run.id, step.name if names.count(step.name) == 1 else str(step.number)
        if step.state == "exhausted":
            meanings = {
                "retry": f"give step {name} a new round of attempts",
                "skip": f"go on without step {name}: its call returns None",
                "resolve": f"say that step {name} is done, and with which result",
            }
        else:
            meanings = {
                "retry": f"give the compensation of {name} a new round of attempts",
                "skip": f"leave the effect of {name} open: it is listed as residue",
                "resolve": f"say that {name} was undone by hand",
            }
        for action, meaning in meanings.items():
            result = " --result JSON" if (action, step.state) == ("resolve", "exhausted") else ""
            options = f"--why '…'{result}"
            found.append((meaning, command_line(action, *target, store=store, options=options)))
    if all(step.state != "undo exhausted" for step in run.steps) and run.failed_step == "":
        cancel = command_line("cancel", run.id, store=store, options="--why '…'")
        found.append(("stop the run: what was done is undone", cancel))
    return found


def ending(run: Description) -> str:
    """How a run ended, or stands, in a sentence."""
    parts = [f"run {run.id} is {run.status}" if run.ended_at is None else f"run {run.id} ended {run.status}"]
    if run.failure is not None:
        cause = f"step {run.failed_step}: " if run.failed_step else ""
        parts[0] += f": {cause}{run.failure}"
    lists = {
        "undone": run.undone,
        "left as is": run.left_as_is,
        "missed": run.missed,
        "still open (residue)": run.residue,
    }
    parts += [f"{name}: {', '.join(steps)}" for name, steps in lists.items() if steps]
    return "\n  ".join(parts)


def rows_that_fit(steps: Sequence[StepDescription], room: int) -> tuple[list[StepDescription], str]:
    """The steps worth a line if there are too many (what goes on, then the newest); a line on the rest."""
    if len(steps) <= room:
        return list(steps), ""
    active = [step for step in steps if step.state in ACTIVE_STATES | PARKED_STATES]
    settled = [step for step in steps if step.state not in ACTIVE_STATES | PARKED_STATES]
    chosen = active[:room] + settled[len(settled) - max(room - len(active), 0) :]
    chosen.sort(key=lambda step: step.number)
    done = sum(step.state == "done" for step in steps)
    return chosen, f"… {len(steps)} steps in all, {done} done, {len(active)} under way"


def _facts(run: Description) -> dict[str, str]:
    facts = {"parent": visible(run.parent)} if run.parent else {}
    facts["started"] = moment(run.started_at)
    if run.leg > 1:
        facts["leg"] = f"{run.leg:,} (it has gone on as new)"
    if run.ended_at is not None:
        facts["ended"] = moment(run.ended_at)
    facts["input"] = compact_json(run.input)
    if run.status == "COMPLETED":
        facts["result"] = compact_json(run.result)
    if run.failure is not None:
        step = f"step {visible(run.failed_step)}: " if run.failed_step else ""
        facts["cause"] = step + readable(str(run.failure))
    lists = {
        "undone": run.undone,
        "left as is": run.left_as_is,
        "missed": run.missed,
        "residue": run.residue,
    }
    facts |= {name: visible(", ".join(steps)) for name, steps in lists.items() if steps}
    if run.signals_left:
        left = (f"{signal.name} {compact_json(signal.value)}" for signal in run.signals_left)
        facts["signals left"] = ", ".join(left)
    if run.waiting_for and not run.parked and run.status != PAUSED:
        facts["waits for"] = readable(run.waiting_for)
    return facts


def _state(step: StepDescription, now: float) -> tuple[str, int]:
    """A step's state in words, and its attempts, the one under way included."""
    if step.state not in ACTIVE_STATES:
        return step.state, step.attempts
    if step.next_attempt_at is not None and step.next_attempt_at > now:
        again = "undo again" if step.state == "undoing" else "again"
        return f"{again} in {duration(step.next_attempt_at - now)}", step.attempts
    state = "running" if step.state == "open" else step.state
    return state, step.attempts + (step.state != "probing")


def _status(status: str) -> Text:
    return Text(status, STATUS_STYLES.get(status, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        right = column in {"#", "attempts", "took", "time", "entry"}
        fixed = column in {"#", "status", "attempts", "took", "entry", "outcome"}
        table.add_column(column, justify="right" if right else "left", no_wrap=fixed, overflow="fold")
    return table


def view_table(fields: dict[str, Any]) -> Table:
    """A run's view for people: a line for each field."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in fields.items():
        shown = visible(value) if isinstance(value, str) else compact_json(value)
        table.add_row(Text(visible(name), "bold"), Text(shown))
    return table


def plain_result(value: Any) -> Text:
    """A run's result as JSON."""
    return Text(compact_json(value), no_wrap=True)
