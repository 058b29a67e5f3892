"""Calls in a workflow whose results are lost: MG503 to MG505, MG106."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from makegood.definition.signal import Signal
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.check.code import Code
    from makegood.check.determinism import Found

TASK_METHODS = ("cancel", "add_done_callback", "done")
SLEEPS = ("makegood.sleep", "makegood.sleep_until", "asyncio.sleep")


def lost(code: Code) -> Iterator[Found]:
    """Calls in a workflow that nobody awaits."""
    entered = {
        id(item.context_expr)
        for node in ast.walk(code.node)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
    }
    for node in ast.walk(code.node):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _dropped(code, node.value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Await):
            yield from _failures_dropped(code, node.value.value)
        elif isinstance(node, ast.Assign):
            yield from _kept(code, node)
        elif isinstance(node, ast.Call) and code.dotted(node.func) == "makegood.saga":
            yield from [] if id(node) in entered else _not_entered(code, node)


def _dropped(code: Code, call: ast.Call) -> Iterator[Found]:
    called = _durable(code, call)
    if called in ("step", "workflow"):
        what = (
            f"{ast.unparse(call.func)}(…) is not awaited: it runs beside what follows, its result is lost, and its failure "
            "fails the run only at its end."
        )
        yield (
            "MG503",
            call,
            what,
            "Put `await` before it; for several at once, await asyncio.gather(…) of them.",
        )
    elif called == "wait":
        what = f"{ast.unparse(call.func)}(…) is not awaited: it does not wait."
        yield "MG503", call, what, "Put `await` before it."


def _kept(code: Code, node: ast.Assign) -> Iterator[Found]:
    """``receipt = charge(order)``, and nothing ever awaits receipt."""
    if not isinstance(node.value, ast.Call) or not _durable(code, node.value):
        return
    for target in node.targets:
        if isinstance(target, ast.Name) and not _is_awaited_later(code, target.id, node):
            call = f"{ast.unparse(node.value.func)}(…)"
            what = f"{target.id} is not the result of {call} but an awaitable, and nothing awaits it."
            yield "MG504", node, what, f"Put `await` before {call}, or await {target.id} later."


def _is_awaited_later(code: Code, name: str, assignment: ast.Assign) -> bool:
    """Whether an awaitable is awaited, or given to something that may await it."""
    for node in ast.walk(code.node):
        if node is assignment:
            continue
        taken: list[ast.AST | None] = []
        match node:
            case ast.Await() | ast.Starred() | ast.Return() | ast.Assign() | ast.Yield():
                taken = [node.value]
            case ast.Call():
                taken = [*node.args, *(keyword.value for keyword in node.keywords)]
                if isinstance(node.func, ast.Attribute) and node.func.attr in TASK_METHODS:
                    taken.append(node.func.value)
            case ast.List() | ast.Tuple() | ast.Set():
                taken = list(node.elts)
            case ast.Dict():
                taken = list(node.values)
            case ast.For():
                taken = [node.iter]
            case _:
                continue
        if any(isinstance(one, ast.Name) and one.id == name for one in taken):
            return True
    return False


def _failures_dropped(code: Code, call: ast.expr) -> Iterator[Found]:
    if not isinstance(call, ast.Call) or code.dotted(call.func) != "asyncio.gather":
        return
    for keyword in call.keywords:
        if keyword.arg == "return_exceptions" and code.constant(keyword.value) is True:
            what = "asyncio.gather(…, return_exceptions=True) gives the failures as results, and nobody looks at them."
            yield "MG505", call, what, "Leave return_exceptions out, or look at what it returns."


def _durable(code: Code, call: ast.Call) -> str:
    """What an unawaited call would lose: ``step``, ``workflow`` or ``wait``; "" for nothing."""
    value = code.value(call.func)
    if isinstance(value, Step):
        return "step"
    if isinstance(value, Workflow):
        return "workflow"
    if code.dotted(call.func) in SLEEPS:
        return "wait"
    if isinstance(call.func, ast.Attribute) and call.func.attr == "receive":
        return "wait" if isinstance(code.value(call.func.value), Signal) else ""
    return ""


def _not_entered(code: Code, saga: ast.Call) -> Iterator[Found]:
    """``mg.saga()`` without ``async with``, and not given to ``stack.enter_async_context`` either."""
    for call in code.calls():
        if (
            saga in call.args
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "enter_async_context"
        ):
            return
    what = "mg.saga() is not entered: nothing that follows belongs to it."
    yield "MG106", saga, what, "Write `async with mg.saga():` around what is to be undone on its own."
