"""The crash matrix: every history of a workflow in which something goes wrong at one place, or at one while undoing.

without faults ──▶ its places ──▶ lost, error, time-out, time-out but done, cancelled  at each
                     └──▶ of those that roll back: the compensations' places ──▶ lost, error, time-out but done  at each
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Literal

from makegood.errors import UsageError
from makegood.testing.history import Fault, Outcome, Place
from makegood.testing.judge import Judge, Problem
from makegood.testing.memory import Memory
from makegood.testing.process import History, Scene
from makegood.testing.report import CrashMatrixError, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from makegood.client import RunHandle
    from makegood.definition.retry import Retry
    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow
    from makegood.testing.history import FaultKind, Noted

A_FEW = 3  # failures of a step that would be tried for ever


def crash_matrix(
    workflow: Workflow[..., Any],
    *args: Any,
    state: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    drive: Callable[[RunHandle[Any]], Coroutine[Any, Any, Any]] | None = None,
    may_stay: Iterable[Step[..., Any]] = (),
    ends: Literal["COMPLETED", "COMPENSATED", "FAILED"] = "COMPLETED",
    **kwargs: Any,
) -> Report:
    """Run a workflow with something going wrong at every step, compensation and store write, and see that all ends well.

    What goes wrong: the process is lost, an error, a time-out with and without effect, a cancellation. Time is virtual.

    Args:
        workflow: the workflow; its steps should call fakes of yours.
        args, kwargs: its arguments.
        state: what there is to see of your fake world, to be compared with ``==``; for example ``lambda: bank.balances``.
        reset: makes your fake world as it was in the beginning; called before every history.
        drive: what a client does with the run: sends its signals, completes its steps. After a loss of the process it
            is called again, so give signals an ``id``.
        may_stay: steps whose effects may outlive a rollback, as a mail that was sent.
        ends: how the run ends if nothing goes wrong.

    Returns:
        What was tried, and which compensations never ran.

    Raises:
        CrashMatrixError: (an AssertionError) something did not end well; tells the shortest history of each problem.
        UsageError: it cannot be tried like this.
    """
    _check_no_loop()
    memory = Memory(workflow, (state, reset, drive)) if state or reset else None
    scene = Scene(
        workflow=workflow, args=args, kwargs=kwargs, look=state, reset=reset, drive=drive, memory=memory
    )
    stays = frozenset(step.__name__ for step in may_stay)
    matrix = Matrix(scene, stays, sees_state=state is not None)
    return matrix.run(ends)


class Matrix:
    """Lives the histories one after the other, the simple ones first."""

    def __init__(self, scene: Scene, may_stay: frozenset[str], *, sees_state: bool) -> None:
        self._scene = scene
        self._may_stay = may_stay
        self._sees_state = sees_state
        self._tried_places: set[tuple[Place, bool]] = set()
        self._report = Report(scene.workflow.title)
        self._judge: Judge
        self._first: Outcome | None = None

    def run(self, ends: str) -> Report:
        reference = self._reference(ends)
        if not self._report.problems:
            failing = list(self._around_the_way_there(reference))
            for base in failing:
                self._around_undoing(base)
            if not self._report.problems:  # which show better where they show already
                self._at_writes(reference, reference)
                if failing:
                    self._at_writes(max(failing, key=_undone), reference)
        if self._report.problems:
            raise CrashMatrixError(self._report)
        return self._report

    def _reference(self, ends: str) -> Outcome:
        """The history without faults, twice: it has to be the same."""
        first, second = self._live(), self._live()
        self._judge = Judge(first, self._may_stay, sees_state=self._sees_state)
        self._judge.compares_results = first.result == second.result
        problems = self._judge.problems(first)
        if not problems and first.status != ends:
            why = first.description.failure if first.description is not None else None
            problems = [Problem(f"it ends {first.status}, not {ends}", "" if why is None else f"{why}.")]
        if not problems and first.ended != second.ended:
            problems = [
                Problem(
                    "two histories without faults end in different states",
                    f"{first.ended!r} and {second.ended!r}: leave what is random, or a time, out of state().",
                )
            ]
        self._report.add(first, problems)
        self._report.add(second, [])
        return first

    # ---- planning ------------------------------------------------------------------------------------------------

    def _around_the_way_there(self, reference: Outcome) -> Iterator[Outcome]:
        """Faults at each step of the way; the histories that end otherwise for it."""
        todo = [(reference, noted) for noted in self._new_places(reference)]
        while todo:
            base, noted = todo.pop(0)
            for fault, is_harmless in _faults_of(noted):
                outcome = self._try(base, fault, is_harmless=is_harmless)
                if not is_harmless:
                    yield outcome
                todo += [
                    (outcome, other)
                    for other in self._new_places(outcome)
                    if other.place.kind != "undo" and not base.faults
                ]

    def _around_undoing(self, base: Outcome) -> None:
        for noted in self._new_places(base, undoing=True):
            for fault, _ in _faults_of(noted):
                self._try(base, fault, is_harmless=True)

    def _new_places(self, outcome: Outcome, *, undoing: bool = False) -> list[Noted]:
        """First calls at places at which nothing was tried yet; a compensation that knows no result is another place."""
        new = []
        for noted in outcome.calls:
            mark = noted.place, noted.place.kind == "undo" and noted.call.given is None
            if (noted.place.kind == "undo") == undoing and mark not in self._tried_places:
                self._tried_places.add(mark)
                new.append(noted)
        return new

    def _at_writes(self, base: Outcome, reference: Outcome) -> None:
        for number in range(1, base.writes + 1):
            self._try(base, Fault("lost before", number), is_harmless=True)
            self._try(base, Fault("lost after", number), is_harmless=True)
            if base is reference:
                self._try(base, Fault("cancelled after", number), is_harmless=False)

    # ---- trying --------------------------------------------------------------------------------------------------

    def _try(self, base: Outcome, fault: Fault, *, is_harmless: bool) -> Outcome:
        outcome = self._live(*base.faults, fault)
        self._report.add(outcome, self._judge.problems(outcome, base if is_harmless else None))
        return outcome

    def _live(self, *faults: Fault) -> Outcome:
        outcome = History(self._scene, faults).live()
        if outcome.transaction:
            raise UsageError(
                f"crash_matrix keeps its runs in memory, where transaction {outcome.transaction} cannot be run."
            )
        first = self._first = self._first or outcome
        if outcome.began != first.began:
            raise UsageError(
                f"state() was {first.began!r} before the first history, and is {outcome.began!r} before another one: "
                "give crash_matrix a reset= that makes the world as it was."
            )
        return outcome


def _faults_of(noted: Noted) -> Iterator[tuple[Fault, bool]]:
    """What may go wrong at a place, and whether the run has to end as if it had not."""
    place, retry = noted.place, _retry_of(noted)
    yield Fault("lost before", place), True
    yield Fault("lost after", place), True
    if place.kind != "do":
        yield Fault("error", place), True
        if place.kind == "undo":
            yield Fault("timed out, done", place), True
        return
    is_tried_again = retry is not None and retry.max_attempts != 1
    if is_tried_again:
        yield Fault("timed out, done", place), True
    goes_on_for_ever = retry is not None and retry.max_attempts is None
    times: float = A_FEW if goes_on_for_ever else math.inf
    if noted.call.definition.breaker("do") is not None and not goes_on_for_ever:  # or it may be held for ever
        times = 1 if retry is None else retry.max_attempts or A_FEW
    always: tuple[FaultKind, ...] = ("error", "timed out, done", "timed out")
    for kind in always:
        yield Fault(kind, place, times), goes_on_for_ever
    yield Fault("cancelled before", place), False
    yield Fault("cancelled after", place), False


def _undone(outcome: Outcome) -> int:
    return sum(noted.place.kind == "undo" for noted in outcome.calls)


def _retry_of(noted: Noted) -> Retry | None:
    step = noted.call.definition
    if noted.place.kind == "undo":
        return None if step.undo is None else step.undo.retry
    return step.options_.retry


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("crash_matrix has event loops of its own: call it in a plain `def` test.")
