"""The workflows that an engine was given, by name and version. Each engine has its own; nothing registers itself."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any

from makegood.definition.breaker import Breaker, agreed
from makegood.definition.signal import Signal, by_name
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow, titled
from makegood.errors import DefinitionError, UnknownWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Registry:
    """Workflows by name and version."""

    def __init__(self, definitions: Iterable[ModuleType | Workflow[..., Any]] = ()) -> None:
        self._workflows: dict[tuple[str, int], Workflow[..., Any]] = {}
        self._called: set[Workflow[..., Any]] = set()  # which nobody has given: other workflows call them
        self._signals: dict[str, Signal[Any]] = {}
        self._breakers: dict[str, Breaker] = {}
        for definition in definitions:
            self.add(definition)

    def add(self, definition: ModuleType | Workflow[..., Any]) -> bool:
        """Add a workflow and those that it calls, or every workflow of a module. True if there was anything new.

        Raises:
            DefinitionError: another workflow has the same name and version, or another signal or breaker the same name; an
                annotation cannot be stored; or it is neither a workflow nor a module.
        """
        if isinstance(definition, ModuleType):
            self._signals = by_name(vars(definition).values(), self._signals)
            found = [value for value in vars(definition).values() if isinstance(value, Workflow)]
            return sum(map(self.add, found)) > 0
        if not isinstance(definition, Workflow):
            hint = " Steps need no registration." if isinstance(definition, Step) else ""
            raise DefinitionError(f"{definition!r} is neither a workflow nor a module with workflows.{hint}")
        known = self._workflows.get((definition.name, definition.version))
        if known is definition:
            is_news = definition in self._called
            self._called.discard(definition)
            return is_news
        if known is not None:
            raise DefinitionError(
                f"two workflows are called {definition.title}: one of {known.__module__} and one of "
                f"{definition.__module__}. Give one of them another name: @mg.workflow(name=…); or, if it is the same "
                f"workflow changed, another version: @mg.workflow(version={definition.version + 1})."
            )
        self._signals = by_name(definition.signals.values(), self._signals)
        definition.signature.resolve()
        _check_step_names(definition)
        for step in steps_in_reach(definition).values():
            self._agree_on_breakers(step)
        self._workflows[definition.name, definition.version] = definition
        for called in workflows_called_by(definition.function):
            self.add_called(called)
        return True

    def add_called(self, workflow: Workflow[..., Any]) -> bool:
        """Add a workflow that another one calls: unlike one that was given, it starts by no schedule.

        Raises:
            DefinitionError: as ``add``.
        """
        if self._workflows.get((workflow.name, workflow.version)) is workflow:
            return False
        self.add(workflow)
        self._called.add(workflow)
        return True

    def breaker(self, named: Breaker) -> Breaker:
        """The breaker as it is declared, which a step may only name.

        Raises:
            DefinitionError: it is declared twice, and otherwise.
        """
        known = self._breakers.get(named.name)
        if known is not named:
            self._breakers[named.name] = known = agreed(known, named)
        return known

    def _agree_on_breakers(self, step: Step[..., Any]) -> None:
        for breaker in (step.options_.breaker, None if step.undo is None else step.undo.breaker):
            if breaker is not None:
                self.breaker(breaker)

    def get(self, name: str, version: int) -> Workflow[..., Any]:
        """The workflow of that name and version.

        Raises:
            UnknownWorkflow: this engine was not given it.
        """
        try:
            return self._workflows[name, version]
        except KeyError:
            known = ", ".join(sorted(workflow.title for workflow in self._workflows.values())) or "none"
            raise UnknownWorkflow(
                f"this engine has no workflow {titled(name, version)} (it has: {known}). "
                "Give it to the engine: mg.Engine(url, [module])."
            ) from None

    def knows(self, name: str, version: int) -> bool:
        return (name, version) in self._workflows

    def versions(self, name: str) -> list[int]:
        """The versions of a workflow that are known, in order."""
        return sorted(version for known, version in self._workflows if known == name)

    @property
    def known(self) -> list[tuple[str, int]]:
        """Names and versions."""
        return list(self._workflows)

    @property
    def scheduled(self) -> list[Workflow[..., Any]]:
        """The workflows that start by themselves: of each name the newest version that was given, if it has a schedule."""
        newest: dict[str, Workflow[..., Any]] = {}
        for workflow in self._workflows.values():
            if workflow not in self._called:
                other = newest.setdefault(workflow.name, workflow)
                newest[workflow.name] = max(other, workflow, key=lambda one: one.version)
        return [workflow for workflow in newest.values() if workflow.schedule is not None]


def steps_in_reach(workflow: Workflow[..., Any]) -> dict[str, Step[Any, Any]]:
    """The steps of a workflow's module and closure by name, as far as the names are unambiguous."""
    function = workflow.function
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    found: dict[str, Step[Any, Any]] = {}
    ambiguous = set()
    for value in (*cells, *function.__globals__.values()):
        if isinstance(value, Step):
            other = found.setdefault(value.__name__, value)
            if other.function is not value.function:
                ambiguous.add(value.__name__)
    return {name: step for name, step in found.items() if name not in ambiguous}


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def workflows_called_by(function: Callable[..., Any]) -> list[Workflow[..., Any]]:
    """The workflows that a function names, itself or through other functions of its module."""
    found: dict[Workflow[..., Any], None] = {}
    functions: dict[Any, None] = {function: None}
    todo = [function]
    while todo:
        names = inspect.getclosurevars(todo.pop())
        for value in (*names.globals.values(), *names.nonlocals.values()):
            if isinstance(value, Workflow):
                found[value] = None
            elif (
                inspect.isfunction(value)
                and value.__module__ == function.__module__
                and value not in functions
            ):
                functions[value] = None
                todo.append(value)
    return list(found)


def _check_step_names(workflow: Workflow[..., Any]) -> None:
    """Refuse two different steps of one name in a workflow: its journal could not tell them apart."""
    names = inspect.getclosurevars(workflow.function)
    steps: dict[str, Step[Any, Any]] = {}
    for value in (*names.globals.values(), *names.nonlocals.values()):
        if isinstance(value, Step):
            other = steps.setdefault(value.__name__, value)
            if other.function is not value.function:
                raise DefinitionError(
                    f"workflow {workflow.name} uses two steps called {value.__name__}: one of {other.__module__} and one "
                    f"of {value.__module__}. Give one of them another name: @mg.step(name=…)."
                )
