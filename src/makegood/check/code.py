"""A function of the user's: its object and its syntax tree side by side, so that names can be followed to what they mean.

Nothing of the user's is called here: attributes are looked up statically; of calls only retries and durations are computed.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sysconfig
import types
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_type_hints

from makegood.check.source import FunctionNode, Source, Sources, declaration, imported
from makegood.definition.retry import Retry
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNKNOWN: Any = object()
"""What a name means that cannot be followed."""

INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
COMPUTED = (Retry, Retry.forever.__func__, timedelta)  # type: ignore[attr-defined] # a class method's function
PLAIN = (int, float, str, bool, type(None), Retry, timedelta)


class Code:
    """One function: what it is, and how it is written."""

    def __init__(self, function: types.FunctionType, node: FunctionNode, source: Source) -> None:
        self.function = function
        self.node = node
        self.source = source

    @property
    def file(self) -> str:
        return self.source.file

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def declaration(self) -> range:
        """The lines of its decorators and signature."""
        return declaration(self.node)

    @cached_property
    def imports(self) -> dict[str, str]:
        """What its own imports stand for."""
        inner = [node for node in ast.walk(self.node) if isinstance(node, FunctionNode)]
        return {name: whole for node in inner for name, whole in imported(node.body).items()}

    @cached_property
    def nested(self) -> dict[str, FunctionNode]:
        """The functions defined inside it, by name."""
        inner = (
            node for node in ast.walk(self.node) if isinstance(node, FunctionNode) and node is not self.node
        )
        return {node.name: node for node in inner}

    @cached_property
    def locals(self) -> frozenset[str]:
        """The names that it, or a function inside it, binds itself."""
        shared = {n for node in ast.walk(self.node) if isinstance(node, ast.Global) for n in node.names}
        bound = {
            node.id
            for node in ast.walk(self.node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        bound |= {node.arg for node in ast.walk(self.node) if isinstance(node, ast.arg)}
        bound |= {
            node.name for node in ast.walk(self.node) if isinstance(node, ast.ExceptHandler) and node.name
        }
        return frozenset((bound | set(self.nested)) - shared)

    @cached_property
    def _class(self) -> Any:
        """The class that it is a method of."""
        *outer, _ = self.function.__qualname__.split(".")
        found: Any = self.function.__globals__.get(outer[0], UNKNOWN) if outer else UNKNOWN
        for name in outer[1:]:
            found = attribute(found, name)
        return found if isinstance(found, type) else UNKNOWN

    @cached_property
    def _receiver(self) -> str | None:
        """The name of its first parameter, if it is a method."""
        parameters = [*self.node.args.posonlyargs, *self.node.args.args]
        return parameters[0].arg if parameters and self._class is not UNKNOWN else None

    @cached_property
    def _around(self) -> dict[str, Any]:
        """What the names mean that it takes from outside."""
        cells = zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True)
        inner = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        return {**self.function.__globals__, **inner}

    def value(self, expression: ast.expr) -> Any:
        """The object that a name or a dotted name stands for, as far as nothing has to be run to know it."""
        if isinstance(expression, ast.Name):
            if expression.id == self._receiver:
                return self._class
            if expression.id in self.locals or expression.id in self.imports:
                return UNKNOWN
            return self._around.get(expression.id, vars(builtins).get(expression.id, UNKNOWN))
        if isinstance(expression, ast.Attribute):
            owner = self.value(expression.value)
            return attribute(self._class_of(expression.value) if owner is UNKNOWN else owner, expression.attr)
        if isinstance(expression, ast.Call):
            return self._variant(expression)
        return UNKNOWN

    def _class_of(self, expression: ast.expr) -> Any:
        """The class of what a call, or a variable that is given its result, is declared to be."""
        if isinstance(expression, ast.Name):
            expression = self._given.get(expression.id, expression)
        if not isinstance(expression, ast.Call):
            return UNKNOWN
        maker = self.value(expression.func)
        if isinstance(maker, type):
            return maker
        function = plain_function(maker)
        declared = hint(function, "return") if function is not None else UNKNOWN
        return declared if isinstance(declared, type) else UNKNOWN

    @cached_property
    def _given(self) -> dict[str, ast.expr]:
        """The variables that get their value at one place, and that value."""
        given: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.node):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        given.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
                given.setdefault(node.optional_vars.id, []).append(node.context_expr)
        return {name: values[0] for name, values in given.items() if len(values) == 1}

    def _variant(self, call: ast.Call) -> Any:
        """The step that ``step.options(…)`` gives."""
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "options"):
            return UNKNOWN
        step = self.value(call.func.value)
        if not isinstance(step, Step):
            return UNKNOWN
        options = {keyword.arg: self.constant(keyword.value) for keyword in call.keywords if keyword.arg}
        known = {name: value for name, value in options.items() if value is not UNKNOWN}
        try:
            return step.options(**known)
        except Exception:  # noqa: BLE001 - a wrong option is refused when it runs; the step is what it is
            return step

    def constant(self, expression: ast.expr | None) -> Any:
        """The number, duration or retry policy that an expression gives, if it is always the same."""
        if expression is None:
            return UNKNOWN
        try:
            return ast.literal_eval(expression)
        except (ValueError, TypeError, SyntaxError):
            pass
        if isinstance(expression, ast.BinOp):
            return _computed(expression.op, self.constant(expression.left), self.constant(expression.right))
        if isinstance(expression, ast.Call):
            return self._made(expression)
        value = self.value(expression)
        return value if isinstance(value, PLAIN) else UNKNOWN

    def _made(self, call: ast.Call) -> Any:
        maker = self.value(call.func)
        if getattr(maker, "__func__", maker) not in COMPUTED:
            return UNKNOWN
        args = [self.constant(argument) for argument in call.args]
        options = {keyword.arg or "": self.constant(keyword.value) for keyword in call.keywords}
        if UNKNOWN in args or any(value is UNKNOWN for value in options.values()):
            return UNKNOWN
        try:
            return maker(*args, **options)
        except Exception:  # noqa: BLE001 - it will be refused when it runs
            return UNKNOWN

    def seconds(self, expression: ast.expr | None) -> float | None:
        """The duration that an expression gives, if it is always the same."""
        value = self.constant(expression)
        if isinstance(value, timedelta):
            return value.total_seconds()
        return float(value) if isinstance(value, (int, float)) and value is not UNKNOWN else None

    def dotted(self, expression: ast.expr) -> str:
        """What an expression names, written out: ``datetime.datetime.now``; ``?`` for what cannot be known."""
        match expression:
            case ast.Attribute():
                return f"{self.dotted(expression.value)}.{expression.attr}"
            case ast.Call():
                return f"{self.dotted(expression.func)}()"
            case ast.Constant():
                return f"builtins.{type(expression.value).__name__}"
            case ast.Name(id=name) if name in self.imports:
                return self.imports[name]
            case ast.Name(id=name) if name not in self.locals:
                return self._dotted_outside(name)
            case _:
                return "?"

    def _dotted_outside(self, name: str) -> str:
        if name in self.source.imports and name not in self.function.__code__.co_freevars:
            return self.source.imports[name]
        if name not in self._around and hasattr(builtins, name):
            return f"builtins.{name}"
        return qualified(self._around.get(name, UNKNOWN))

    def is_behind_a_step(self, expression: ast.expr) -> bool:
        """Whether it names the plain function of a step or workflow: ``charge.function``."""
        return (
            isinstance(expression, ast.Attribute)
            and expression.attr == "function"
            and isinstance(self.value(expression.value), (Step, Workflow))
        )

    @cached_property
    def names_makegood(self) -> bool:
        """Whether it names anything of makegood's, or made by it: a step, a signal."""
        names = (node for node in ast.walk(self.node) if isinstance(node, (ast.Name, ast.Attribute)))
        return any(self.dotted(name).startswith("makegood") for name in names)

    def calls(self) -> Iterator[ast.Call]:
        """Every call in it, also those inside the functions that it defines."""
        for statement in self.node.body:
            yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call))

    def references(self) -> Iterator[types.FunctionType]:
        """The functions that it names: those that it calls, or has somebody call. Not steps' own functions."""
        for statement in self.node.body:
            for node in ast.walk(statement):
                if isinstance(node, (ast.Name, ast.Attribute)) and not self.is_behind_a_step(node):
                    value = plain_function(self.value(node))
                    if value is not None:
                        yield value


class Library:
    """The user's own code, as far as it can be read. What is installed, and makegood itself, is somebody else's."""

    def __init__(self, package: str, sources: Sources) -> None:
        self._package = package.partition(".")[0]
        self._sources = sources
        self._codes: dict[types.FunctionType, Code | None] = {}
        self._of_sagas: dict[Code, bool] = {}

    def code(self, function: Callable[..., Any]) -> Code | None:
        """A function's code, or None if it is not the user's own."""
        plain = plain_function(function)
        if plain is None:
            return None
        if plain not in self._codes:
            self._codes[plain] = self._found(plain)
        return self._codes[plain]

    def _found(self, function: types.FunctionType) -> Code | None:
        file = function.__code__.co_filename
        top = (function.__module__ or "").partition(".")[0]
        if top != self._package and (top == "makegood" or file.startswith(INSTALLED)):
            return None
        source = self._sources.of(file)
        if source is None:
            return None
        node = source.functions.get((function.__name__, function.__code__.co_firstlineno))
        return None if node is None else Code(function, node, source)

    def is_of_sagas(self, code: Code) -> bool:
        """Whether a function, or one that it reaches, has to do with steps, workflows or makegood's own functions."""
        if code not in self._of_sagas:
            self._of_sagas[code] = any(one.names_makegood for one in self.reached(code))
        return self._of_sagas[code]

    def reached(self, start: Code) -> list[Code]:
        """A function and, through the functions that it names, everything that it may run."""
        found = {start.function: start}
        todo = [start]
        while todo:
            for function in todo.pop().references():
                code = self.code(function)
                if code is not None and code.function not in found:
                    found[code.function] = code
                    todo.append(code)
        return list(found.values())


def hint(function: Callable[..., Any], name: str) -> Any:
    """An annotation of a function's; Any if it has none, or one that cannot be resolved."""
    try:
        return get_type_hints(function).get(name, Any)
    except Exception:  # noqa: BLE001 - resolving runs whatever the annotation says
        return Any


def plain_function(value: Any) -> types.FunctionType | None:
    """The function behind a value, if it is one: not a step, and not a class."""
    if isinstance(value, (staticmethod, classmethod, types.MethodType)):
        value = value.__func__
    if not isinstance(value, types.FunctionType):
        return None
    unwrapped = inspect.unwrap(value)
    return unwrapped if isinstance(unwrapped, types.FunctionType) else None


def attribute(owner: Any, name: str) -> Any:
    """An attribute, without running what might compute it."""
    if owner is UNKNOWN:
        return UNKNOWN
    found = inspect.getattr_static(owner, name, UNKNOWN)
    if isinstance(owner, type) and isinstance(found, (staticmethod, classmethod)):
        return getattr(owner, name)
    return UNKNOWN if isinstance(found, property) else found


def qualified(value: Any) -> str:
    """An object's name with its module's; that of its class if it is not one that has a name."""
    if value is UNKNOWN:
        return "?"
    if isinstance(value, types.ModuleType):
        return value.__name__
    owner = (
        getattr(value, "__self__", None)
        if isinstance(value, (types.BuiltinMethodType, types.MethodType))
        else None
    )
    if isinstance(owner, (types.ModuleType, type)):
        return f"{qualified(owner)}.{value.__name__}"
    named = (
        value
        if isinstance(value, (type, types.FunctionType))
        else type(owner if owner is not None else value)
    )
    if named.__module__.startswith("makegood."):
        return f"makegood.{named.__qualname__}"
    return f"{named.__module__}.{named.__qualname__}"


def _computed(operator: ast.operator, left: Any, right: Any) -> Any:
    if UNKNOWN in (left, right):
        return UNKNOWN
    try:
        match operator:
            case ast.Mult():
                return left * right
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Div():
                return left / right
            case _:
                pass
    except (ArithmeticError, TypeError):
        pass
    return UNKNOWN


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
