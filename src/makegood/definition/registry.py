"""The workflows that an engine was given, by name. Explicit: each engine has its own, nothing registers itself."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any

from makegood.definition.signal import Signal, by_name
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow
from makegood.errors import DefinitionError, UnknownWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Registry:
    """Workflows by name."""

    def __init__(self, definitions: Iterable[ModuleType | Workflow[..., Any]] = ()) -> None:
        self._workflows: dict[str, Workflow[..., Any]] = {}
        self._called: set[str] = set()  # which nobody has given: other workflows call them
        self._signals: dict[str, Signal[Any]] = {}
        for definition in definitions:
            self.add(definition)

    def add(self, definition: ModuleType | Workflow[..., Any]) -> bool:
        """Add a workflow and those that it calls, or every workflow of a module. True if there was anything new.

        Raises:
            DefinitionError: another workflow or signal has the same name, an annotation cannot be stored, or it is neither.
        """
        if isinstance(definition, ModuleType):
            self._signals = by_name(vars(definition).values(), self._signals)
            found = [value for value in vars(definition).values() if isinstance(value, Workflow)]
            return sum(map(self.add, found)) > 0
        if not isinstance(definition, Workflow):
            hint = " Steps need no registration." if isinstance(definition, Step) else ""
            raise DefinitionError(f"{definition!r} is neither a workflow nor a module with workflows.{hint}")
        known = self._workflows.get(definition.name)
        if known is definition:
            is_news = definition.name in self._called
            self._called.discard(definition.name)
            return is_news
        if known is not None:
            raise DefinitionError(
                f"two workflows are called {definition.name}: one of {known.__module__} and one of {definition.__module__}. "
                "Give one of them another name: @mg.workflow(name=…)."
            )
        self._signals = by_name(definition.signals.values(), self._signals)
        definition.signature.resolve()
        _check_step_names(definition)
        self._workflows[definition.name] = definition
        for called in workflows_called_by(definition.function):
            self.add_called(called)
        return True

    def add_called(self, workflow: Workflow[..., Any]) -> bool:
        """Add a workflow that another one calls: unlike one that was given, it starts by no schedule.

        Raises:
            DefinitionError: as ``add``.
        """
        if self._workflows.get(workflow.name) is workflow:
            return False
        self.add(workflow)
        self._called.add(workflow.name)
        return True

    def get(self, name: str) -> Workflow[..., Any]:
        """The workflow of that name.

        Raises:
            UnknownWorkflow: this engine was not given it.
        """
        try:
            return self._workflows[name]
        except KeyError:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise UnknownWorkflow(
                f"this engine has no workflow {name} (it has: {known}). Give it to the engine: mg.Engine(url, [module])."
            ) from None

    @property
    def names(self) -> list[str]:
        return list(self._workflows)

    @property
    def scheduled(self) -> list[Workflow[..., Any]]:
        """The workflows that start by themselves."""
        return [
            workflow
            for name, workflow in self._workflows.items()
            if workflow.schedule is not None and name not in self._called
        ]


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
