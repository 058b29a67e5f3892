"""The walk through a workflow's source, in the order in which it runs, into the functions that it calls.

What it meets it tells ``saga``, which knows the rules.
"""

from __future__ import annotations

import ast
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from makegood.check.code import Code, plain_function
from makegood.check.flow import Block, Failure, Place, State, join
from makegood.definition.signal import Signal
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from makegood.check.saga import Saga, Summary

GATHERING = ("asyncio.gather", "asyncio.wait", "asyncio.as_completed")
TIMEOUTS = ("asyncio.timeout", "asyncio.timeout_at")
INLINED_CALLS = 2_000  # of one workflow: what comes after them is taken for harmless


class Walk:
    """One way through one workflow."""

    def __init__(self, saga: Saga, summary: Callable[[Workflow[..., Any]], Summary]) -> None:
        self.saga = saga
        self.summary = summary
        self.returns: list[State | None] = []
        self.breaks: list[State | None] = []
        self.caught: type[BaseException] = Exception
        self.entered: list[list[ast.stmt]] = []  # the functions that it is in
        self.inlined_left = INLINED_CALLS

    def through(self, code: Code, body: list[ast.stmt]) -> None:
        """Through the body of a function, to its end or its returns."""
        before, self.returns = self.returns, []
        self.statements(code, body)
        self.saga.state = join(self.saga.state, *self.returns)
        self.returns = before

    def statements(self, code: Code, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.statement(code, statement)

    def statement(self, code: Code, node: ast.stmt) -> None:  # noqa: C901 - one case for each kind of statement
        match node:
            case ast.If():
                self.expression(code, node.test)
                self.branches(code, [node.body, node.orelse])
            case ast.For() | ast.AsyncFor():
                self.expression(code, node.iter)
                self.loop(code, node.body, node.orelse, endless=False)
            case ast.While():
                self.expression(code, node.test)
                endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
                self.loop(code, node.body, node.orelse, endless=endless)
            case ast.With() | ast.AsyncWith():
                self.with_(code, node, list(node.items))
            case ast.Try() | ast.TryStar():
                self.try_(code, node)
            case ast.Match():
                self.expression(code, node.subject)
                self.branches(code, [*(case.body for case in node.cases), []])
            case ast.Return():
                self.expression(code, node.value)
                self.returns.append(self.saga.state)
                self.saga.state = None
            case ast.Raise():
                self.expression(code, node.exc)
                self.raise_(code, node)
            case ast.Break() | ast.Continue():
                self.breaks.append(self.saga.state)
                self.saga.state = None
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass  # it runs where it is called
            case _:
                for child in ast.iter_child_nodes(node):
                    self.expression(code, child)

    def branches(self, code: Code, bodies: list[list[ast.stmt]]) -> None:
        before, after = self.saga.state, []
        for body in bodies:
            self.saga.state = before
            self.statements(code, body)
            after.append(self.saga.state)
        self.saga.state = join(*after)

    def loop(self, code: Code, body: list[ast.stmt], orelse: list[ast.stmt], *, endless: bool) -> None:
        before, outer = self.saga.state, self.breaks
        self.breaks = []
        with self.repeated():
            for _ in range(2):
                self.statements(code, body)
                self.saga.state = join(before, self.saga.state, *self.breaks)
        if endless:
            self.saga.state = join(*self.breaks)
        self.breaks = outer
        self.statements(code, orelse)

    def with_(self, code: Code, node: ast.With | ast.AsyncWith, items: list[ast.withitem]) -> None:
        if not items:
            self.statements(code, node.body)
            return
        context, rest = items[0].context_expr, items[1:]
        block = self.block(code, node, context)
        if block is None:
            self.expression(code, context)
            self.with_(code, node, rest)
            return
        if block.kind == "timeout":
            self.saga.waits(Place(code, context), "A timeout", block.seconds, ("timeout", "workflow"))
            self.saga.fails(
                Failure(f"the timeout of line {context.lineno}", Place(code, context), TimeoutError)
            )
        with self.inside(block):
            for _ in range(
                2 if block.kind == "group" else 1
            ):  # in a group every task may fail after every other one
                self.with_(code, node, rest)

    def block(self, code: Code, node: ast.With | ast.AsyncWith, context: ast.expr) -> Block | None:
        """What a ``with`` means to a saga."""
        if not isinstance(context, ast.Call):
            return None
        name = code.dotted(context.func)
        if name == "makegood.saga" and isinstance(node, ast.AsyncWith):
            return Block("saga", context)
        if name in TIMEOUTS:
            seconds = code.seconds(context.args[0]) if context.args and name == "asyncio.timeout" else None
            return Block("timeout", context, seconds=seconds)
        if name == "asyncio.TaskGroup":
            return Block("group", context)
        if name == "contextlib.suppress":
            return Block(
                "try", context, tuple(one for arg in context.args for one in self.classes(code, arg))
            )
        return None

    def try_(self, code: Code, node: ast.Try | ast.TryStar) -> None:
        before = self.saga.state
        caught = [self.classes(code, handler.type) for handler in node.handlers]
        self.saga.met.append(before)
        with self.inside(Block("try", node, tuple(one for classes in caught for one in classes))):
            self.statements(code, node.body)
        met = self.saga.met.pop()
        self.statements(code, node.orelse)
        after = [self.saga.state]
        for handler, classes in zip(node.handlers, caught, strict=True):
            self.saga.state = met
            outer, self.caught = self.caught, classes[0] if classes else Exception
            self.statements(code, handler.body)
            self.caught = outer
            after.append(self.saga.state)
        goes_on = join(*after)
        self.saga.state = goes_on if goes_on is not None else met
        self.statements(code, node.finalbody)
        if goes_on is None:
            self.saga.state = None

    def raise_(self, code: Code, node: ast.Raise) -> None:
        maker = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        raised = code.value(maker) if maker is not None else self.caught
        if not (isinstance(raised, type) and issubclass(raised, BaseException)):
            raised = self.caught
        again = node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id in code.locals)
        self.saga.raises(Place(code, node), raised, again=again)

    def classes(self, code: Code, expression: ast.expr | None) -> list[type[BaseException]]:
        """The exceptions that an ``except`` names."""
        if expression is None:
            return [BaseException]
        if isinstance(expression, ast.Tuple):
            return [one for element in expression.elts for one in self.classes(code, element)]
        value = code.value(expression)
        several = value if isinstance(value, tuple) else (value,)
        return [one for one in several if isinstance(one, type) and issubclass(one, BaseException)]

    # ---- expressions -----------------------------------------------------------------------------------------------

    def expression(self, code: Code, node: ast.AST | None) -> None:
        match node:
            case None | ast.Lambda():
                pass
            case ast.Call():
                self.call(code, node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                with self.repeated():
                    for _ in range(2):
                        for child in reversed(
                            list(ast.iter_child_nodes(node))
                        ):  # what is iterated over comes last
                            self.expression(code, child)
            case ast.IfExp():
                self.expression(code, node.test)
                before = self.saga.state
                self.expression(code, node.body)
                after, self.saga.state = self.saga.state, before
                self.expression(code, node.orelse)
                self.saga.state = join(after, self.saga.state)
            case _:
                for child in ast.iter_child_nodes(node):
                    self.expression(code, child)

    def call(self, code: Code, node: ast.Call) -> None:
        name = code.dotted(node.func)
        place = Place(code, node)
        if name == "asyncio.wait_for":
            limit = node.args[1] if len(node.args) > 1 else _keyword(node, "timeout")
            with self.inside(Block("timeout", node, seconds=code.seconds(limit))):
                self.arguments(code, node)
            return
        self.arguments(code, node)
        if name in GATHERING:
            self.arguments(code, node)  # each may fail after every other one
        value = code.value(node.func)
        if isinstance(value, Step):
            self.saga.calls_step(place, value)
        elif isinstance(value, Workflow):
            self.saga.calls_child(place, value.name, self.summary(value))
        elif name.startswith("makegood."):
            self.primitive(code, node, name.removeprefix("makegood."))
        elif name == "asyncio.sleep" and node.args:
            self.saga.waits(place, "A sleep", code.seconds(node.args[0]), ("workflow",))
        else:
            self.inline(code, node)

    def arguments(self, code: Code, node: ast.Call) -> None:
        self.expression(code, node.func)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.expression(code, argument)

    def primitive(self, code: Code, node: ast.Call, name: str) -> None:
        place = Place(code, node)
        match name:
            case "pivot":
                self.saga.pivots()
            case "on_rollback":
                self.saga.registers(place)
            case "continue_as_new":
                self.saga.continues_as_new(place)
            case "start_child" if node.args:
                child = code.value(node.args[0])
                if isinstance(child, Workflow):
                    self.saga.calls_child(place, child.name, self.summary(child))
            case "sleep" if node.args:
                self.saga.waits(place, "A sleep", code.seconds(node.args[0]), ("workflow",))
            case "Signal.receive":
                self.receive(code, node)
            case _:
                pass

    def receive(self, code: Code, node: ast.Call) -> None:
        assert isinstance(node.func, ast.Attribute)
        limit = node.args[0] if node.args else _keyword(node, "timeout")
        if not isinstance(code.value(node.func.value), Signal) or limit is None:
            return
        place = Place(code, node)
        self.saga.waits(place, "A receive's own timeout", code.seconds(limit), ("timeout", "workflow"))
        self.saga.fails(Failure(f"the receive of line {node.lineno}", place, TimeoutError))

    def inline(self, code: Code, node: ast.Call) -> None:
        """Into a function of the user's own, as if it stood here."""
        called, body = self._called(code, node)
        if not body or body in self.entered or not self.inlined_left:
            return
        library = self.saga.effects.library
        if self.entered and not library.is_of_sagas(called) and not library.is_of_sagas(code):
            return  # two functions deep in computing
        self.inlined_left -= 1
        self.entered.append(body)
        self.saga.trail = (*self.saga.trail, node)
        self.through(called, body)
        self.saga.trail = self.saga.trail[:-1]
        self.entered.pop()

    def _called(self, code: Code, node: ast.Call) -> tuple[Code, list[ast.stmt]]:
        """The function that a call enters, and its body; empty if it cannot be followed."""
        if isinstance(node.func, ast.Name) and node.func.id in code.nested:
            return code, code.nested[node.func.id].body
        value = code.value(node.func)
        found = None if plain_function(value) is None else self.saga.effects.library.code(value)
        return (code, []) if found is None else (found, found.node.body)

    # ---- where the walk is -----------------------------------------------------------------------------------------

    @contextmanager
    def inside(self, block: Block) -> Iterator[None]:
        before = self.saga.blocks
        self.saga.blocks = (*before, block)
        yield
        self.saga.blocks = before

    @contextmanager
    def repeated(self) -> Iterator[None]:
        self.saga.repeats += 1
        yield
        self.saga.repeats -= 1


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
