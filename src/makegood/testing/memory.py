"""What the death of a process forgets: plain data that the modules and closures of steps and workflows hold.

Objects of classes are left alone, as fakes of the world outside are such; and so is what the test itself names.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from makegood.definition.registry import steps_in_reach, workflows_called_by
from makegood.testing.calls import function_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CellType

    from makegood.definition.workflow import Workflow

    Mark: TypeAlias = tuple[int, str]

ATOMS = (int, float, complex, str, bytes, bool, type(None))
COLLECTIONS = (dict, list, set, tuple, frozenset, bytearray)


class Memory:
    """The plain data of a workflow's code, as it is now. ``kept`` are functions of the test: what they name survives."""

    def __init__(self, workflow: Workflow[..., Any], kept: Iterable[Callable[..., Any] | None]) -> None:
        outside = {mark for function in kept if function for mark in _named(function)}
        self._variables = [
            _Variable(holder, name, value)
            for holder, name, value in _variables(workflow)
            if not (name.startswith(("__", "@")) or outside & _marks(holder, name, value))
        ]

    def forget(self) -> tuple[str, ...]:
        """Set everything to what it was; the names of what has changed since."""
        return tuple(sorted(variable.name for variable in self._variables if variable.restore()))


class _Variable:
    def __init__(self, holder: dict[str, Any] | CellType, name: str, value: Any) -> None:
        self._holder = holder
        self.name = name
        self._object = value
        self._value = copy.deepcopy(value)

    def restore(self) -> bool:
        """Whether it had changed."""
        if isinstance(self._holder, dict):
            now = self._holder.get(self.name)
            self._holder[self.name] = self._object
        else:
            now = self._holder.cell_contents
            self._holder.cell_contents = self._object
        is_changed = now is not self._object or now != self._value
        if not is_changed:
            return False
        if isinstance(self._object, (dict, set)):
            self._object.clear()
            self._object.update(copy.deepcopy(self._value))
        elif isinstance(self._object, (list, bytearray)):
            self._object[:] = copy.deepcopy(self._value)
        return True


def _variables(workflow: Workflow[..., Any]) -> Iterator[tuple[dict[str, Any] | CellType, str, Any]]:
    functions = _functions(workflow)
    modules = {id(function.__globals__): function.__globals__ for function in functions}
    for names in modules.values():
        yield from ((names, name, value) for name, value in list(names.items()) if _is_plain(value))
    cells: dict[int, tuple[CellType, str, Any]] = {}
    for function in functions:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = _content(cell)
            if _is_plain(value):
                cells[id(cell)] = cell, name, value
    yield from cells.values()


def _functions(workflow: Workflow[..., Any]) -> list[Any]:
    workflows = [workflow, *workflows_called_by(workflow.function)]
    found: list[Any] = [one.function for one in workflows]
    for one in workflows:
        for step in steps_in_reach(one).values():
            found += [function_of(step, kind) for kind in ("do", "undo", "probe")]
    return [function for function in found if inspect.isfunction(function)]


def _named(function: Callable[..., Any]) -> Iterator[Mark]:
    """Marks of the variables that a function names, itself or through other functions of its module."""
    todo, seen = [inspect.unwrap(getattr(function, "__func__", function))], set()
    while todo:
        one = todo.pop()
        if not inspect.isfunction(one) or one in seen:
            continue
        seen.add(one)
        names = inspect.getclosurevars(one)
        cells = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
        holders: dict[str, Any] = dict.fromkeys(names.globals, one.__globals__) | dict(cells)
        for name, value in (*names.globals.items(), *names.nonlocals.items()):
            yield from _marks(holders[name], name, value)
            if getattr(value, "__module__", None) == one.__module__:
                todo.append(value)


def _marks(holder: dict[str, Any] | CellType, name: str, value: Any) -> set[Mark]:
    """By which a variable is known: where it is; and what it holds, which may go by several names."""
    place = (id(holder), name if isinstance(holder, dict) else "")
    return {place} if isinstance(value, ATOMS) else {place, (id(value), "")}


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _content


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(part) for item in value.items() for part in item)
    if isinstance(value, COLLECTIONS):
        return all(map(_is_plain, value))
    return isinstance(value, ATOMS)
