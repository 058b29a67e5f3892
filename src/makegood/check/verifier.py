"""One module as a whole: which functions are workflows, steps, compensations, and what the rules say about each."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from makegood.check import awaiting, cancellation, declarations, determinism, granted
from makegood.check.code import Code, Library
from makegood.check.effects import Effects
from makegood.check.finding import Finding, refusal
from makegood.check.flow import Block, Place
from makegood.check.saga import Saga, Summary
from makegood.check.source import FunctionNode, Sources
from makegood.check.walk import Walk
from makegood.definition.registry import Registry
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow
from makegood.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from makegood.check.determinism import Found


class Verifier:
    """The findings about one module's workflows and steps, and the functions that they reach."""

    def __init__(self, module: ModuleType, sources: Sources) -> None:
        self.module = module
        self.sources = sources
        self.library = Library(module.__name__, sources)
        self.effects = Effects(self.library)
        self._registry = Registry()
        self._found: dict[tuple[str, int, str], Finding] = {}
        self._summaries: dict[Workflow[..., Any], Summary] = {}

    def findings(self) -> list[Finding]:
        """Everything that is wrong, in the order of files and lines."""
        for workflow in _of_kind(self.module, Workflow):
            self._workflow(workflow)
        for step in self._steps():
            self._step(step)
        source = self.sources.of(self.module.__file__ or "")
        for finding in source.misunderstood() if source is not None else ():
            self._found[finding.file, finding.line, finding.code] = finding
        return sorted(self._found.values())

    def _steps(self) -> Iterable[Step[..., Any]]:
        """The module's steps, and those that its workflows call. Each function once."""
        steps = {step.function: step for step in _of_kind(self.module, Step)}
        for workflow in _of_kind(self.module, Workflow):
            for code in self._reached(workflow):
                named = (node for node in ast.walk(code.node) if isinstance(node, (ast.Name, ast.Attribute)))
                values = (code.value(node) for node in named)
                steps |= {
                    value.function: value
                    for value in values
                    if isinstance(value, Step) and value.function not in steps
                }
        return steps.values()

    # ---- workflows -------------------------------------------------------------------------------------------------

    def _workflow(self, workflow: Workflow[..., Any]) -> None:
        self._declaration(workflow)
        self._summary(workflow)
        patches: dict[str, Place] = {}
        for code in self._reached(workflow):
            where = (
                "" if code.function is workflow.function else f" It is reached from workflow {workflow.name}."
            )
            self._add(code, determinism.nondeterminism(code), where)
            self._add(code, cancellation.swallowed(code), where)
            self._add(code, awaiting.lost(code), where)
            self._add(code, granted.best_effort_results(code), where)
            self._patches(code, patches)

    def _declaration(self, workflow: Workflow[..., Any]) -> None:
        """What an engine would refuse when it is given the workflow."""
        try:
            self._registry.add(workflow)
        except DefinitionError as error:
            code = self.library.code(workflow.function)
            if code is not None:
                finding = refusal(error, code.file, code.node.lineno)
                self._found[finding.file, finding.line, finding.code] = finding

    def _reached(self, workflow: Workflow[..., Any]) -> list[Code]:
        code = self.library.code(workflow.function)
        return [] if code is None else self.library.reached(code)

    def _summary(self, workflow: Workflow[..., Any]) -> Summary:
        """The saga rules along a workflow's paths, once; and what it is to a workflow that calls it."""
        if workflow in self._summaries:
            return self._summaries[workflow]
        self._summaries[workflow] = Summary()  # while it is looked at: it may call itself
        code = self.library.code(workflow.function)
        if code is not None:
            saga = Saga(workflow, self.effects, self._report)
            seconds = getattr(workflow, "timeout_seconds", None)
            saga.blocks = (Block("workflow", code.node, seconds=seconds),)
            Walk(saga, self._summary).through(code, code.node.body)
            saga.settle_registered()
            self._summaries[workflow] = saga.summary
        return self._summaries[workflow]

    def _patches(self, code: Code, known: dict[str, Place]) -> None:
        for call in code.calls():
            if code.dotted(call.func) != "makegood.patched" or not call.args:
                continue
            change = code.constant(call.args[0])
            if not isinstance(change, str):
                continue
            first = known.setdefault(change, Place(code, call))
            if first.node is not call:
                line = getattr(first.node, "lineno", 0)
                what = f"mg.patched({change!r}) is asked here and in line {line}: the second place raises UsageError."
                advice = "Ask once and keep the answer, or give each change an id of its own."
                self._report("MG109", Place(code, call), what, advice)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def _step(self, step: Step[..., Any]) -> None:
        code = self.library.code(step.function)
        if code is not None:
            self._add(code, declarations.step_findings(step, code, self.effects))
            self._add(code, declarations.misplaced(code))
            self._add(code, cancellation.swallowed(code))
        undo = None if step.undo is None else self.library.code(step.undo.function)
        if undo is not None:
            self._add(undo, declarations.compensation_findings(step, undo, self.effects))
            self._add(undo, declarations.misplaced(undo))
            self._add(undo, cancellation.swallowed(undo))
        probe = None if step.probe_function is None else self.library.code(step.probe_function)
        if probe is not None:
            self._add(probe, declarations.misplaced(probe))
            self._add(probe, cancellation.swallowed(probe))

    # ---- findings --------------------------------------------------------------------------------------------------

    def _add(self, code: Code, found: Iterable[Found], where: str = "") -> None:
        for rule, node, what, advice in found:
            self._report(rule, Place(code, node), what + where, advice)

    def _report(self, rule: str, place: Place, what: str, advice: str) -> None:
        code, node = place
        line: int = getattr(node, "lineno", code.node.lineno)
        is_whole = isinstance(node, FunctionNode)
        lines = code.declaration if is_whole else range(line, (getattr(node, "end_lineno", None) or line) + 1)
        if not code.source.ignores(rule, lines):
            self._found.setdefault((code.file, line, rule), Finding(code.file, line, rule, what, advice))


def _of_kind(module: ModuleType, kind: type[Any]) -> Iterator[Any]:
    """A module's objects of one kind, each once."""
    seen = set()
    for value in vars(module).values():
        if isinstance(value, kind) and value not in seen:
            seen.add(value)
            yield value
