"""Cancellations and failures that a handler swallows: MG501, MG502. In workflows, steps, compensations and probes."""

from __future__ import annotations

import ast
import asyncio
from typing import TYPE_CHECKING

from makegood.check.source import outside_functions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from makegood.check.code import Code
    from makegood.check.determinism import Found


def swallowed(code: Code) -> Iterator[Found]:
    """Handlers that keep a cancellation or a time limit from doing its work."""
    for node in ast.walk(code.node):
        if isinstance(node, (ast.Try, ast.TryStar)) and _awaits(node.body):
            yield from _handled(code, node)
            yield from _left(node)
        elif isinstance(node, ast.With) and _awaits(node.body) and not _has_cancelled(code, node.body):
            for item in node.items:
                if _suppresses(code, item.context_expr):
                    yield _swallows(item.context_expr, ast.unparse(item.context_expr))


def _handled(code: Code, node: ast.Try | ast.TryStar) -> Iterator[Found]:
    """The handler that gets a cancellation: the first that names it."""
    takes = (one for one in node.handlers if one.type is None or _takes_cancellation(code, one.type))
    handler = next(takes, None)
    if handler is None or _has_cancelled(code, node.body):
        return
    if not any(isinstance(inner, ast.Raise) for inner in outside_functions(handler.body)):
        yield _swallows(handler, "except" if handler.type is None else f"except {ast.unparse(handler.type)}")


def _left(node: ast.Try | ast.TryStar) -> Iterator[Found]:
    for inner in outside_functions(node.finalbody):
        if isinstance(inner, ast.Return):
            what = "return in finally drops whatever exception is on its way: failures and cancellations never arrive."
            yield "MG502", inner, what, "Return after the try statement."


def _swallows(node: ast.AST, said: str) -> Found:
    what = f"{said} swallows asyncio.CancelledError: what is to be cancelled goes on, and a time limit is not heard."
    return "MG501", node, what, "Raise it again at the end of the handler, or catch Exception instead."


def _suppresses(code: Code, context: ast.expr) -> bool:
    return (
        isinstance(context, ast.Call)
        and code.dotted(context.func) == "contextlib.suppress"
        and any(_takes_cancellation(code, argument) for argument in context.args)
    )


def _takes_cancellation(code: Code, expression: ast.expr) -> bool:
    if isinstance(expression, ast.Tuple):
        return any(_takes_cancellation(code, element) for element in expression.elts)
    value = code.value(expression)
    several = value if isinstance(value, tuple) else (value,)
    return any(isinstance(one, type) and issubclass(asyncio.CancelledError, one) for one in several)


def _has_cancelled(code: Code, body: Iterable[ast.AST]) -> bool:
    """Whether all that is awaited has been cancelled by this function itself: ``task.cancel()``, then ``await task``."""
    cancelled = {
        ast.unparse(call.func.value)
        for call in code.calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "cancel"
    }
    awaited = [node.value for node in outside_functions(body) if isinstance(node, ast.Await)]
    return all(ast.unparse(one) in cancelled for one in awaited)


def _awaits(body: Iterable[ast.AST]) -> bool:
    return any(isinstance(inner, ast.Await) for inner in outside_functions(body))
