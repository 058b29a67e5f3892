"""What a crash matrix has found, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from makegood.testing.history import Noted, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.testing.judge import Problem

LIMIT_CHARACTERS = 100
PROBLEMS_LIMIT = 5


class Report:
    """What was tried with a workflow, and what came of it."""

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.outcomes: list[Outcome] = []
        self.problems: dict[str, list[tuple[Outcome, Problem]]] = {}

    def add(self, outcome: Outcome, problems: list[Problem]) -> None:
        """Take in a history and what is wrong with it."""
        self.outcomes.append(outcome)
        for problem in problems:
            self.problems.setdefault(problem.headline, []).append((outcome, problem))

    @property
    def compensations(self) -> dict[str, bool]:
        """The compensations of the steps that were called, by name, and whether each ever ran to its end."""
        ran: dict[str, bool] = {}
        for outcome in self.outcomes:
            for noted in outcome.calls:
                undo = noted.call.definition.undo
                if undo is not None:
                    name = (
                        f"{undo.function.__name__}, of step {noted.place.step} in {undo.function.__module__}"
                    )
                    is_run = noted.place.kind == "undo" and noted.took_effect
                    ran[name] = ran.get(name, False) or is_run
        return ran

    @property
    def never_ran(self) -> list[str]:
        """Compensations that ran in no history."""
        return [name for name, ran in self.compensations.items() if not ran]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        count = len(self.outcomes)
        if not self.problems:
            yield f"crash matrix of {self.workflow}: {count} histories, all end well."
        else:
            yield f"crash matrix of {self.workflow}: {len(self.problems)} problem(s) in {count} histories."
        for headline, shown in list(self.problems.items())[:PROBLEMS_LIMIT]:
            outcome, problem = min(shown, key=lambda one: (len(one[0].faults), len(one[0].log)))
            yield ""
            yield headline
            if problem.detail:
                yield from (f"  {line}" for line in problem.detail.splitlines())
            yield f"  shortest of {len(shown)} histories: {outcome}"
            yield from (f"    {line}" for line in trace(outcome))
        if len(self.problems) > PROBLEMS_LIMIT:
            yield f"\nand {len(self.problems) - PROBLEMS_LIMIT} more, which may be gone with these"
        if self.never_ran:
            yield f"\nnever run by any history: {', '.join(self.never_ran)}"


class CrashMatrixError(AssertionError):
    """Something did not end well; ``report`` tells what, and how it comes about."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def trace(outcome: Outcome) -> Iterator[str]:
    """What happened, in order."""
    for entry in outcome.log:
        if isinstance(entry, Noted):
            yield _line(entry)
        elif isinstance(entry, str):
            yield f"-- {entry}"
    end = (
        f"parked: {outcome.parked.splitlines()[0]}"
        if outcome.parked
        else f"stuck, waiting for {outcome.stuck}"
    )
    if not (outcome.parked or outcome.stuck):
        end = outcome.status
    seen = "" if outcome.ended is None else f"; state {_short(outcome.ended)}"
    yield f"== {end}{seen}"


def _line(noted: Noted) -> str:
    call = noted.call
    arguments = [*map(repr, call.args), *(f"{name}={value!r}" for name, value in call.kwargs.items())]
    if noted.place.kind == "undo":
        arguments.insert(0, repr(call.given))
    attempt = f" (attempt {call.attempt})" if call.attempt > 1 and call.kind != "probe" else ""
    if call.outcome == "returned":
        end = f"-> {_short(call.result)}"
    elif call.error is not None:
        end = f"raises {type(call.error).__name__}: {call.error}"
    else:
        end = "is not called"
    wrong = f"  << {noted.injected} >>" if noted.injected else ""
    change = f"  [{_short(noted.before)} => {_short(noted.after)}]" if noted.changed else ""
    given = ", ".join(arguments)
    given = given if len(given) <= LIMIT_CHARACTERS else given[:LIMIT_CHARACTERS] + "…"
    return f"{noted.place}({given}){attempt} {end}{change}{wrong}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LIMIT_CHARACTERS else text[:LIMIT_CHARACTERS] + "…"
