"""A step's options against its body, and its compensation. MG201 to MG206, MG303 to MG306, MG602 to MG605."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from makegood.check.code import hint
from makegood.check.effects import is_forever
from makegood.check.granted import result_of_undone_step
from makegood.check.timing import in_words
from makegood.definition.completion import Pending
from makegood.definition.signal import Signal
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.check.code import Code
    from makegood.check.determinism import Found
    from makegood.check.effects import Effects

ONLY_IN_WORKFLOWS = frozenset(
    (
        "continue_as_new", "now", "on_rollback", "patched", "pivot", "random", "saga", "sleep", "sleep_until", "start_child",
        "update_view", "uuid4",
    )
)  # fmt: skip


def step_findings(step: Step[..., Any], code: Code, effects: Effects) -> Iterator[Found]:
    """What is wrong with a step itself. Each finding's node is that of the function for what concerns the whole."""
    deeds = effects.of_step(step)
    retry, name = step.options_.retry, step.__name__
    if deeds.acts and not deeds.uses_key and not step.transactional:
        if retry is not None and retry.max_attempts != 1:
            what = f"step {name} is retried and does not use its idempotency key: a repeated attempt has its effect again."
            yield "MG201", code.node, what, _key_advice("mg.idempotency_key()")
        else:
            what = (
                f"step {name} is tried once, but a crash before its result is recorded repeats it, and it does not use its "
                "idempotency key: its effect happens again."
            )
            yield "MG202", code.node, what, _key_advice("mg.idempotency_key()")
    yield from _options(step, code)
    yield from _times(step, code, effects)


def _key_advice(call: str) -> str:
    return f"Send {call} along with it; if repeating it does no harm, say so: `# makegood: ignore[…]` or `no effect`."


def _options(step: Step[..., Any], code: Code) -> Iterator[Found]:
    options = step.options_
    broad = [one for one in options.fatal if issubclass(Exception, one)]
    if broad and options.retry is not None and options.retry.max_attempts != 1:
        what = f"step {step.__name__} has retries, and {broad[0].__name__} is fatal: no failure is ever tried again."
        yield "MG603", code.node, what, "Name the exceptions that are final, or use retry=None."
    declared_unknown = [one for one in options.unknown if one is not TimeoutError]
    both = (
        [one for one in (*declared_unknown, TimeoutError) if issubclass(one, options.fatal)]
        if options.fatal
        else []
    )
    if both and not broad:
        what = (
            f"step {step.__name__}: {both[0].__name__} is fatal, and it is unknown: after it nobody knows whether the step "
            "took effect, and nothing tries to find out."
        )
        yield (
            "MG604",
            code.node,
            what,
            "Take it out of fatal: the next attempt, or a probe, settles what happened.",
        )
    if not options.critical and options.on_exhausted == "park":
        what = f"step {step.__name__} is best effort and parks the run when it gives up: it cannot be both."
        yield (
            "MG605",
            code.node,
            what,
            "Take out critical=False if an operator is to decide, otherwise on_exhausted.",
        )


def _times(step: Step[..., Any], code: Code, effects: Effects) -> Iterator[Found]:
    options, deeds = step.options_, effects.of_step(step)
    if (
        is_forever(options.retry)
        and options.timeout_seconds is None
        and deeds.acts
        and not deeds.waits_outside
    ):
        what = f"step {step.__name__} is retried for ever and has no timeout: one attempt that hangs stops it for good."
        yield "MG303", code.node, what, "Give it a timeout."
    if deeds.waits_outside and options.timeout_seconds is None:
        what = f"step {step.__name__} returns mg.PENDING and has no timeout: if nobody completes it, the run waits for ever."
        yield "MG304", code.node, what, "Give it a timeout, such as timeout=3 * mg.DAY."
    if deeds.waits_outside and not deeds.gives_token:
        what = f"step {step.__name__} returns mg.PENDING and gives its completion token to nobody: nobody can complete it."
        yield "MG305", code.node, what, "Send mg.completion_token() to whoever is to complete it."
    beat_seconds = getattr(options, "heartbeat_timeout_seconds", None)
    if beat_seconds is None:
        return
    if not deeds.beats:
        what = f"step {step.__name__} has a heartbeat timeout and never calls mg.heartbeat(): longer attempts are given up."
        yield "MG306", code.node, what, "Call mg.heartbeat() as it gets on, or leave heartbeat_timeout out."
    elif options.timeout_seconds is not None and beat_seconds >= options.timeout_seconds:
        what = (
            f"step {step.__name__} has a heartbeat timeout of {in_words(beat_seconds)}, and its timeout of "
            f"{in_words(options.timeout_seconds)} always comes first."
        )
        yield (
            "MG306",
            code.node,
            what,
            "Make the heartbeat timeout shorter than the timeout, or leave it out.",
        )


def compensation_findings(step: Step[..., Any], code: Code, effects: Effects) -> Iterator[Found]:
    """What is wrong with a step's compensation, ``code``."""
    undo, name = step.undo, code.name
    assert undo is not None
    deeds = effects.of(code)
    acts = deeds.acts and not code.source.says_no_effect(code.declaration)
    if acts and not deeds.uses_key and not undo.transacts:
        what = f"compensation {name} of {step.__name__} uses no idempotency key: a repeated attempt undoes twice."
        yield "MG203", code.node, what, _key_advice("mg.original_key()")
    if acts and undo.retry is None:
        what = f"compensation {name} of {step.__name__} is tried once: the first failure parks the run half undone."
        yield "MG205", code.node, what, "Give it more attempts, over a longer time than an outage lasts."
    if not step.transactional:
        yield from result_of_undone_step(step, code)
    yield from _other_result(step, code, int(undo.transacts))


def _other_result(step: Step[..., Any], code: Code, given: int) -> Iterator[Found]:
    """The compensation's result parameter against what the step returns."""
    returned = _classes(hint(step.function, "return")) - {Pending}
    parameters = [*code.node.args.posonlyargs, *code.node.args.args]
    taken = _classes(hint(code.function, parameters[given].arg)) if len(parameters) > given else set()
    if (
        returned - {type(None)}
        and taken - {type(None)}
        and not any(_fit(one, two) for one in returned for two in taken)
    ):
        said, other = _named(taken - {type(None)}), _named(returned)
        what = f"compensation {code.name} takes {said} as the result, and {step.__name__} returns {other}."
        yield "MG206", code.node, what, f"Annotate it as {other} | None."


def _fit(returned: Any, taken: Any) -> bool:
    return taken is not type(None) and (issubclass(returned, taken) or (returned, taken) == (int, float))


def _classes(annotation: Any) -> set[Any]:
    """The classes of an annotation, if it names nothing but ordinary classes."""
    several = getattr(annotation, "__args__", None) if not isinstance(annotation, type) else None
    classes = set(several) if several is not None else {annotation}
    plain = all(
        isinstance(one, type) and type(one) is type and not hasattr(one, "__origin__") for one in classes
    )
    return classes if plain and object not in classes else set()


def _named(classes: set[Any]) -> str:
    return " | ".join(sorted("None" if one is type(None) else one.__name__ for one in classes))


def misplaced(code: Code) -> Iterator[Found]:
    """What only a workflow can do, done in a step, compensation or probe."""
    for call in code.calls():
        if not _is_only_in_workflows(code, call.func):
            continue
        what = f"{ast.unparse(call.func)}() is called in {code.name}, which is no workflow: it raises OutsideWorkflow."
        yield "MG602", call, what, "Call it in the workflow, and pass what comes of it to the step."


def _is_only_in_workflows(code: Code, function: ast.expr) -> bool:
    if isinstance(code.value(function), (Step, Workflow)):
        return True
    module, _, name = code.dotted(function).partition(".")
    if module == "makegood" and name in ONLY_IN_WORKFLOWS:
        return True
    is_receive = isinstance(function, ast.Attribute) and function.attr == "receive"
    return is_receive and isinstance(code.value(function.value), Signal)  # type: ignore[attr-defined] # an attribute
