"""Results that may be None and are taken for granted: a compensation's (MG204), a best-effort step's (MG207)."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from makegood.check.source import outside_functions
from makegood.definition.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.check.code import Code
    from makegood.check.determinism import Found


def result_of_undone_step(step: Step[..., object], code: Code) -> Iterator[Found]:
    """The first parameter of a compensation, ``code``: None when nobody knows the result."""
    parameters = [*code.node.args.posonlyargs, *code.node.args.args]
    used = _used(code, parameters[0].arg) if parameters else None
    if used is not None:
        result = parameters[0].arg
        what = (
            f"compensation {code.name} uses {result} as if it were always there: it is None when nobody knows whether "
            f"{step.__name__} took effect, and then this fails and parks the run."
        )
        yield "MG204", used, what, f"Undo by mg.original_key() when `{result} is None`."


def best_effort_results(code: Code) -> Iterator[Found]:
    """``sent = await notify(…)`` of a best-effort step, and sent is used as if it were never None."""
    for node in ast.walk(code.node):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Await)):
            continue
        call, target = node.value.value, node.targets[0]
        step = code.value(call.func) if isinstance(call, ast.Call) else None
        if not isinstance(step, Step) or step.options_.critical or not isinstance(target, ast.Name):
            continue
        used = _used(code, target.id, given=target)
        if used is not None:
            name = step.__name__
            what = f"{target.id} is None when the best-effort step {name} fails, and is used as if it never were."
            yield "MG207", used, what, f"Check `{target.id} is None` first, or make {name} critical."


def _used(code: Code, name: str, given: ast.Name | None = None) -> ast.AST | None:
    """Where a variable is used as if it were never None, if nothing asks. ``given``: where it gets its value."""
    nodes = [node for node in outside_functions(code.node.body) if node is not given]
    if any(_asks(node, name) for node in nodes):
        return None
    for node in nodes:
        if isinstance(node, (ast.Attribute, ast.Subscript)) and _mentions([node.value], name, deep=False):
            return node
        if isinstance(node, (ast.For, ast.comprehension)) and _mentions([node.iter], name, deep=False):
            return node.iter
    return None


def _asks(node: ast.AST, name: str) -> bool:
    """Whether the node asks about a variable, or gives it another value."""
    asked: list[ast.expr] = []
    match node:
        case ast.If() | ast.IfExp() | ast.While() | ast.Assert():
            asked = [node.test]
        case ast.comprehension():
            asked = node.ifs
        case ast.BoolOp():
            asked = node.values
        case ast.Compare():
            asked = [node.left, *node.comparators]
        case ast.Match():
            asked = [node.subject]
        case ast.Call(func=ast.Name(id="isinstance")):
            asked = node.args
        case ast.Name():
            return node.id == name and isinstance(node.ctx, ast.Store)
        case _:
            return False
    return _mentions(asked, name, deep=True)


def _mentions(expressions: list[ast.expr], name: str, *, deep: bool) -> bool:
    nodes = (inner for one in expressions for inner in (ast.walk(one) if deep else (one,)))
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes)
