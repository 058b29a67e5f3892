"""The saga rules, told of what happens on a path in its order: MG101 to MG108, MG301, MG302. ``walk`` tells it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NamedTuple

from makegood.check.effects import is_forever
from makegood.check.flow import Block, Effect, Failure, Place, State, reached_by
from makegood.check.timing import in_words, needed_seconds
from makegood.errors import ChildFailed, StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.check.effects import Effects
    from makegood.definition.step import Step
    from makegood.definition.workflow import Workflow

    Report = Callable[[str, Place, str, str], None]


class Summary(NamedTuple):
    """What a workflow is to one that calls it."""

    open: frozenset[Step[..., Any]] = frozenset()
    can_fail: bool = False


class Saga:
    """What may have happened in one workflow up to the place where the walk is, and what is wrong with it."""

    def __init__(self, workflow: Workflow[..., Any], effects: Effects, report: Report) -> None:
        self.workflow = workflow
        self.effects = effects
        self.report = report
        self.blocks: tuple[Block, ...] = ()
        self.trail: tuple[ast.AST, ...] = ()  # the calls through which the walk came
        self.repeats = 0  # how many loops it is in
        self.state: State | None = State()  # None: no path leads here
        self.met: list[State | None] = []  # for every `try` around: what may have happened in it
        self.ever_open: set[Step[..., Any]] = set()
        self.can_fail = False

    @property
    def summary(self) -> Summary:
        return Summary(frozenset(self.ever_open), self.can_fail)

    def becomes(self, **changed: Any) -> None:
        if self.state is not None:
            self.state = self.state._replace(**changed)
            self.met = [self.state.joined(met) for met in self.met]

    # ---- what a workflow calls -------------------------------------------------------------------------------------

    def calls_step(self, place: Place, step: Step[..., Any]) -> None:
        """A step is scheduled here."""
        if self.state is None:
            return
        self._fits(place, step)
        if not self._is_open(step):
            self.settle_registered()
        if self.effects.can_give_up(step):
            self.fails(Failure(f"step {step.__name__} (line {_line(place)})", place, StepFailed))
            if self.state.may_be_behind_pivot:
                self._report_behind_pivot(place, step)
        self.does(place, step)

    def does(self, place: Place, step: Step[..., Any]) -> None:
        """A step has been done, and if it has an effect that cannot be undone, that is open now."""
        state = self.state
        if state is None or state.is_behind_pivot:
            return
        is_open = self._is_open(step)
        if is_open and state.registered is not None:
            self.becomes(registered=None, latest=None)
            return
        self.settle_registered()
        effect = Effect(step, (*self.trail, place.node), self.blocks) if is_open else None
        self.becomes(latest=effect, undoable=self.state.undoable or step.undo is not None)  # type: ignore[union-attr]
        if effect is not None:
            self.ever_open.add(step)
            self.becomes(open=self.state.open | {effect})  # type: ignore[union-attr] # becomes keeps it

    def _is_open(self, step: Step[..., Any]) -> bool:
        """Whether the step leaves something behind that no compensation undoes."""
        return step.undo is None and self.effects.of_step(step).acts

    def calls_child(self, place: Place, name: str, child: Summary) -> None:
        """A child run is started here."""
        if not child.open:
            self.settle_registered()
        if child.can_fail:
            self.fails(Failure(f"workflow {name} (line {_line(place)})", place, ChildFailed))
        if self.state is not None and self.state.registered is not None:
            self.becomes(registered=None, latest=None)  # it is registered for the child as a whole
        else:
            for step in sorted(child.open, key=lambda one: one.__name__):
                self.does(place, step)
        self.becomes(undoable=True)

    def pivots(self) -> None:
        self.settle_registered()
        self.becomes(may_be_behind_pivot=True, is_behind_pivot=True, undoable=False)

    def registers(self, place: Place) -> None:
        """``mg.on_rollback``."""
        if self.state is None:
            return
        if self.state.is_behind_pivot:
            self.report(
                "MG105",
                place,
                "mg.on_rollback() comes after mg.pivot(): nothing is rolled back any more, so it never runs.",
                "Register it before mg.pivot(), or remove it.",
            )
            return
        self.settle_registered()
        self.becomes(registered=place, undoable=True)

    def settle_registered(self) -> None:
        """An ``mg.on_rollback`` that no effect followed belongs to the one before it: it came too late."""
        state = self.state
        if state is None or state.registered is None:
            return
        if state.latest is not None:
            name = state.latest.step.__name__
            self.report(
                "MG104",
                state.registered,
                f"mg.on_rollback() comes after {name}, whose effect it is to undo: if {name} fails or times out when its "
                "effect has already happened, nothing undoes it.",
                f"Register it before calling {name}, with a step that copes with an effect that never happened.",
            )
            self.becomes(open=state.open - {state.latest})
        self.becomes(registered=None, latest=None)

    def continues_as_new(self, place: Place) -> None:
        if self.state is None:
            return
        around = [block for block in self.blocks if block.kind in ("saga", "timeout", "group")]
        if around:
            said = {"saga": "mg.saga()", "timeout": "a timeout", "group": "a TaskGroup"}[around[-1].kind]
            self.report(
                "MG107",
                place,
                f"mg.continue_as_new() is called inside {said} (line {_line(around[-1])}): it is refused there.",
                "Leave the block first: remember the arguments in it, and continue after it.",
            )
        elif self.state.undoable:
            self.report(
                "MG108",
                place,
                "mg.continue_as_new() is refused here: steps were done that a failure of this leg would have to undo.",
                "Call mg.pivot() before it, or do these steps in a child workflow.",
            )
        self.state = None

    # ---- what can go wrong -----------------------------------------------------------------------------------------

    def fails(self, failure: Failure) -> None:
        """Something may fail here: what has been done so far has to be undone."""
        state = self.state
        if state is None or state.is_behind_pivot:
            return
        if self.escapes(failure.raises):
            self.can_fail = True
        for effect in state.open:
            itself = effect.trail == (*self.trail, failure.place.node) and not self.repeats
            if not itself and reached_by(failure.raises, effect, self.blocks):
                self._report_open(effect, failure)

    def escapes(self, raised: type[BaseException]) -> bool:
        """Whether nothing around would catch it."""
        caught = (one for block in self.blocks if block.kind == "try" for one in block.catches)
        return not any(issubclass(raised, one) for one in caught)

    def _report_open(self, effect: Effect, failure: Failure) -> None:
        step = effect.step
        code = self.effects.library.code(step.function)
        place = failure.place if code is None else Place(code, code.node)
        self.report(
            "MG101",
            place,
            f"{step.kind} {step.__name__} has an effect and no compensation, and in workflow {self.workflow.name} "
            f"{failure.words} can still fail after it: the effect would be left as it is.",
            f"Declare @{step.function.__name__}.compensation, or call it after all that can fail; if it leaves nothing "
            "behind, say so: `# makegood: no effect`.",
        )

    def _report_behind_pivot(self, place: Place, step: Step[..., Any]) -> None:
        options = step.options_
        how = (
            f"{step.__name__} is retried for ever, but not after {_listed(options.fatal)}"
            if is_forever(options.retry)
            else f"{step.__name__} can give up"
        )
        self.report(
            "MG102",
            place,
            f"{how}, and is called after mg.pivot(): nothing is rolled back any more, so the run would stop halfway.",
            'Give it retry=mg.Retry.forever(), or critical=False, or on_exhausted="park": an operator decides.',
        )

    def raises(self, place: Place, raised: type[BaseException], *, again: bool) -> None:
        """A ``raise`` statement; ``again`` without an exception of its own."""
        state = self.state
        words = f"the exception that line {_line(place)} raises"
        self.fails(Failure(words, place, raised))
        if state is not None and state.may_be_behind_pivot and not again and self.escapes(raised):
            self.report(
                "MG103",
                place,
                "An exception is raised after mg.pivot(): nothing is rolled back any more, so it only parks the run until "
                "its code is corrected.",
                "Decide before mg.pivot() whether the run can go on, or return a result that says how it ended.",
            )
        self.state = None

    # ---- time ------------------------------------------------------------------------------------------------------

    def _fits(self, place: Place, step: Step[..., Any]) -> None:
        limit = self._limit()
        needed = needed_seconds(step.options_)
        if limit is None or limit.seconds is None or needed <= limit.seconds:
            return
        self.report(
            "MG301",
            place,
            f"{step.__name__} may take {in_words(needed)} with all its attempts and waits, and {_said(limit)} ends it after "
            f"{in_words(limit.seconds)}: its last attempts cannot happen.",
            "Lengthen the timeout around it, or give the step fewer or shorter attempts.",
        )

    def waits(self, place: Place, what: str, seconds: float | None, kinds: tuple[str, ...]) -> None:
        """A wait of so many seconds, in vain if one of these kinds of blocks ends it before."""
        limit = self._limit(kinds)
        if seconds is None or limit is None or limit.seconds is None or seconds < limit.seconds:
            return
        self.report(
            "MG302",
            place,
            f"{what} of {in_words(seconds)} never comes to its end: {_said(limit)} ends it after {in_words(limit.seconds)}.",
            "Lengthen the timeout around it, or shorten this one.",
        )

    def _limit(self, kinds: tuple[str, ...] = ("timeout", "workflow")) -> Block | None:
        """The shortest timeout around."""
        limits = [block for block in self.blocks if block.kind in kinds and block.seconds is not None]
        return min(limits, key=lambda block: block.seconds or 0.0) if limits else None


def _said(limit: Block) -> str:
    if limit.kind == "workflow":
        return "the workflow's timeout"
    return f"the timeout around it (line {_line(limit)})"


def _line(place: Place | Block) -> int:
    return getattr(place.node, "lineno", 0)


def _listed(exceptions: tuple[type[BaseException], ...]) -> str:
    return ", ".join(one.__name__ for one in exceptions)
