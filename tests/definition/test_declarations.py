"""Declaring steps, compensations, probes and workflows; what is wrong is said where it is written."""

from __future__ import annotations

import functools
import types
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Optional

import pytest

import makegood as mg
from makegood.definition.registry import Registry


@mg.step
async def charge(order: str, amount: int = 1) -> str: ...


@mg.step
def pack(order: str, *, fragile: bool = False) -> str:
    return order + str(fragile)


# ---- steps ---------------------------------------------------------------------------------------------------------


def test_a_step_keeps_its_functions_name_documentation_and_module():
    @mg.step
    async def documented() -> None:
        """Says what it does."""

    assert (documented.__name__, documented.__doc__, documented.__module__) == (
        "documented",
        "Says what it does.",
        __name__,
    )
    assert repr(documented) == "<step documented>"


def test_a_plain_function_of_a_step_can_be_called_without_an_engine():
    @mg.step
    def double(number: int) -> int:
        return 2 * number

    assert double.function(4) == 8


def test_a_step_called_outside_a_workflow_says_what_to_do():
    with pytest.raises(
        mg.OutsideWorkflow, match=r"step charge was called outside a workflow.*@mg.workflow"
    ) as error:
        charge("o-1")
    assert "charge.function(…)" in str(error.value)


def test_a_workflow_called_like_a_function_says_what_to_do():
    @mg.workflow
    async def order(id: str) -> None: ...

    with pytest.raises(mg.OutsideWorkflow, match=r"await engine.start\(order, …\)"):
        order("o-1")


@pytest.mark.parametrize("ask", [mg.idempotency_key, mg.attempt])
def test_a_question_about_the_attempt_outside_of_one_says_where_it_belongs(ask):
    with pytest.raises(mg.NotInStep, match="called outside a step"):
        ask()


@pytest.mark.parametrize("name", ["", "a b", "1st", "a/b", "ü/", "x" * 101, "a\x00", "\ud800", "a\nb"])
def test_a_name_that_is_not_usable_is_refused(name):
    async def function() -> None: ...

    with pytest.raises(mg.DefinitionError, match="no usable name"):
        mg.step(name=name or " ")(function)
    with pytest.raises(mg.DefinitionError, match="no usable name"):
        mg.workflow(name=name or " ")(function)


@pytest.mark.parametrize("name", ["charge", "charge-payment", "orders.charge", "größe", "_x1"])
def test_a_name_may_be_an_identifier_with_dashes_and_dots(name):
    async def function() -> None: ...

    assert mg.step(name=name)(function).__name__ == name
    assert mg.workflow(name=name)(function).name == name


def test_a_lambda_needs_a_name():
    with pytest.raises(mg.DefinitionError, match="'<lambda>' is no usable name"):
        mg.step(lambda: None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": 0}, "timeout=0 leaves no time"),
        ({"timeout": -1}, "timeout: -1"),
        ({"timeout": float("nan")}, "timeout: nan"),
        ({"timeout": "5s"}, "timeout: '5s'"),
        ({"timeout": timedelta(days=1000)}, "timeout"),
        ({"retry": 3}, "retry=3"),
        ({"retry": [0, 1, 5]}, r"retry=\[0, 1, 5\].*Retry\(delays="),
        ({"on_exhausted": "explode"}, "on_exhausted='explode'"),
        ({"fatal": ValueError}, "fatal"),
        ({"fatal": ("ValueError",)}, "fatal"),
        ({"unknown": OSError}, "unknown"),
        ({"unknown": (OSError("x"),)}, "unknown"),
    ],
    ids=str,
)
def test_an_option_that_cannot_work_is_refused(options, told):
    async def function() -> None: ...

    with pytest.raises(mg.DefinitionError, match=told):
        mg.step(**options)(function)


def test_a_time_limit_may_be_a_timedelta():
    @mg.step(timeout=timedelta(minutes=2))
    async def slow() -> None: ...

    assert slow.options_.timeout_seconds == 120


async def _stream() -> AsyncIterator[int]:
    yield 1


def _generate():
    yield 1


class Callable:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "thing",
    [
        "charge",
        42,
        None.__class__,
        Callable(),
        functools.partial(print, 1),
        _stream,
        _generate,
        charge,
        print,
    ],
    ids=str,
)
def test_only_functions_can_be_steps(thing):
    with pytest.raises(mg.DefinitionError, match="step"):
        mg.step(thing)


@pytest.mark.parametrize("thing", ["order", 42, _stream, charge, charge.function.__class__], ids=str)
def test_only_coroutine_functions_can_be_workflows(thing):
    with pytest.raises(mg.DefinitionError, match="workflow"):
        mg.workflow(thing)


def test_a_workflow_must_be_async():
    with pytest.raises(mg.DefinitionError, match="workflow order must be declared with `async def`"):

        @mg.workflow
        def order() -> None: ...


def test_variable_arguments_are_refused():
    with pytest.raises(mg.DefinitionError, match=r"step many: \*args and \*\*kwargs cannot be stored"):

        @mg.step
        async def many(*items: int) -> None: ...

    with pytest.raises(mg.DefinitionError, match=r"workflow many: \*args and \*\*kwargs cannot be stored"):

        @mg.workflow
        async def many(**items: int) -> None: ...


# ---- compensations and probes --------------------------------------------------------------------------------------


def fresh_step() -> mg.Step:
    @mg.step
    async def charge(order: str, amount: int = 1) -> str: ...

    return charge


def test_a_compensation_takes_the_result_and_the_steps_own_parameters():
    step = fresh_step()

    @step.compensation(retry=None, timeout=5)
    async def refund(receipt: str | None, order: str, amount: int = 1) -> None: ...

    assert step.undo.function is refund
    assert step.undo.retry is None
    assert step.undo.timeout_seconds == 5


def test_the_name_of_the_results_parameter_is_free():
    step = fresh_step()

    @step.compensation
    def refund(_anything: Optional[str], order: str, amount: int = 1) -> None: ...  # noqa: UP045 - also a way to say it

    assert step.undo.function is refund


def test_a_compensation_without_annotations_is_taken_at_its_word():
    step = fresh_step()

    @step.compensation
    def refund(receipt, order, amount): ...

    assert step.undo.function is refund


async def misses_a_parameter(receipt: str | None, order: str) -> None: ...
async def has_another_order(receipt: str | None, amount: int, order: str) -> None: ...
async def has_another_name(receipt: str | None, order: str, sum: int) -> None: ...  # noqa: A002
async def has_too_many(receipt: str | None, order: str, amount: int, why: str) -> None: ...
async def forgets_the_result(order: str, amount: int) -> None: ...
async def takes_nothing() -> None: ...
async def takes_only_keywords(*, receipt: str | None, order: str, amount: int) -> None: ...
async def takes_anything(*args: Any) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [
        misses_a_parameter,
        has_another_order,
        has_another_name,
        has_too_many,
        forgets_the_result,
        takes_nothing,
        takes_only_keywords,
        takes_anything,
    ],
    ids=lambda function: function.__name__,
)
def test_a_compensation_with_other_parameters_is_refused(wrong):
    with pytest.raises(
        mg.DefinitionError,
        match=f"compensation {wrong.__name__} of step charge must take the result first, .* order, amount",
    ):
        fresh_step().compensation(wrong)


def test_the_compensation_of_a_step_without_parameters_still_takes_the_result():
    @mg.step
    async def bare() -> str: ...

    with pytest.raises(mg.DefinitionError, match="must take the result first"):
        bare.compensation(takes_nothing)


def test_a_compensation_that_does_not_expect_none_is_refused():
    with pytest.raises(
        mg.DefinitionError, match=r"compensation refund of step charge: the first parameter .* is None"
    ):

        @fresh_step().compensation
        async def refund(receipt: str, order: str, amount: int = 1) -> None: ...


def test_a_second_compensation_is_refused():
    step = fresh_step()

    @step.compensation
    async def refund(receipt: str | None, order: str, amount: int = 1) -> None: ...

    with pytest.raises(mg.DefinitionError, match="step charge already has a compensation, refund"):
        step.compensation(refund)


@pytest.mark.parametrize("declare", ["compensation", "probe"])
@pytest.mark.parametrize("thing", ["refund", 42, charge, _stream], ids=str)
def test_only_functions_can_be_compensations_and_probes(declare, thing):
    with pytest.raises(mg.DefinitionError, match=f"{declare} of step charge|{declare} .* of step charge"):
        getattr(fresh_step(), declare)(thing)


@pytest.mark.parametrize("options", [{"retry": 3}, {"timeout": 0}, {"timeout": "x"}], ids=str)
def test_an_option_of_a_compensation_that_cannot_work_is_refused(options):
    async def refund(receipt: str | None, order: str, amount: int = 1) -> None: ...

    with pytest.raises(mg.DefinitionError, match=next(iter(options))):
        fresh_step().compensation(**options)(refund)


def test_a_probe_takes_the_steps_own_parameters():
    step = fresh_step()

    @step.probe
    async def find(order: str, amount: int = 1) -> str | mg.NotDone: ...

    assert step.probe_function is find
    with pytest.raises(mg.DefinitionError, match="step charge already has a probe, find"):
        step.probe(find)


def test_a_probe_with_other_parameters_is_refused():
    with pytest.raises(
        mg.DefinitionError,
        match="probe find of step charge must take the step's own parameters: order, amount",
    ):

        @fresh_step().probe
        async def find(order: str) -> str: ...


def test_a_probes_answer_can_be_read():
    assert repr(mg.NotDone()) == "NotDone()"


# ---- options() -----------------------------------------------------------------------------------------------------


def test_options_make_another_step_and_leave_the_first_as_it_is():
    step = fresh_step()
    other = step.options(name="charge_fast", timeout=1, retry=None, critical=False, on_exhausted="park")
    assert (other.options_.name, other.options_.timeout_seconds, other.options_.retry) == (
        "charge_fast",
        1,
        None,
    )
    assert (other.options_.critical, other.options_.on_exhausted) == (False, "park")
    assert (step.options_.name, step.options_.timeout_seconds) == ("charge", None)
    assert step.options_.retry is not None


def test_options_that_are_not_given_stay():
    @mg.step(timeout=5, retry=mg.Retry(delays=[0]), fatal=(ValueError,), on_exhausted="park", critical=False)
    async def special() -> None: ...

    assert special.options().options_ == special.options_
    assert special.options(timeout=None).options_.timeout_seconds is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "a b"}, "no usable name"),
        ({"timeout": 0}, "timeout=0"),
        ({"retry": 5}, "retry=5"),
        ({"on_exhausted": "x"}, "on_exhausted='x'"),
    ],
    ids=str,
)
def test_options_are_checked(options, told):
    with pytest.raises(mg.DefinitionError, match=told):
        charge.options(**options)


def test_a_step_with_options_has_the_compensation_and_probe_that_are_declared_later():
    step = fresh_step()
    fast = step.options(timeout=1)

    @step.compensation
    async def refund(receipt: str | None, order: str, amount: int = 1) -> None: ...

    @step.probe
    async def find(order: str, amount: int = 1) -> str | mg.NotDone: ...

    assert fast.undo is step.undo is not None
    assert fast.probe_function is find


# ---- arguments -----------------------------------------------------------------------------------------------------


def test_arguments_are_stored_in_the_order_of_the_parameters_with_their_defaults():
    encode = charge.signature.encode_arguments
    assert bytes(encode(("o",), {})) == b'["o",1]'
    assert bytes(encode((), {"amount": 5, "order": "o"})) == b'["o",5]'
    assert bytes(pack.signature.encode_arguments(("o",), {"fragile": True})) == b'["o",true]'


def test_stored_arguments_come_back_as_they_were_given():
    seen = []

    @mg.step
    def keep(first: int, /, second: int, *, third: int = 3) -> None:
        seen.append((first, second, third))

    for arguments in (((1, 2), {}), ((1,), {"second": 2}), ((1, 2), {"third": 4})):
        keep.signature.call(keep.signature.encode_arguments(*arguments))
    assert seen == [(1, 2, 3), (1, 2, 3), (1, 2, 4)]


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, "missing a required argument: 'order'"),
        (("o", True), {}, "too many positional arguments"),
        (("o",), {"colour": "red"}, "unexpected keyword argument 'colour'"),
        (("o",), {"order": "p"}, "multiple values for argument 'order'"),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_told_like_pythons_own(args, kwargs, told):
    with pytest.raises(mg.UsageError, match=rf"step pack\(order: .*\).*{told}"):
        pack.signature.encode_arguments(args, kwargs)


# ---- the registry --------------------------------------------------------------------------------------------------


@mg.workflow
async def first(order: str) -> None: ...


@mg.workflow(name="first")
async def impostor(order: str) -> None: ...


def module_with(**content: Any) -> types.ModuleType:
    module = types.ModuleType("orders")
    vars(module).update(content)
    return module


def test_a_module_brings_all_its_workflows_and_nothing_else():
    @mg.workflow
    async def second() -> None: ...

    registry = Registry([module_with(first=first, second=second, alias=first, charge=charge, number=3)])
    assert registry.known == [("first", 1), ("second", 1)]
    assert registry.get("second", 1) is second


def test_adding_says_whether_it_was_new():
    registry = Registry()
    assert registry.add(first) is True
    assert registry.add(first) is False
    assert registry.add(module_with(first=first)) is False
    assert registry.add(module_with()) is False


def test_two_steps_of_one_name_in_a_workflow_are_refused():
    @mg.step
    async def charge() -> None: ...

    @mg.step(name="charge")
    async def charge_again() -> None: ...

    @mg.workflow
    async def order() -> None:
        await charge()
        await charge_again()

    with pytest.raises(mg.DefinitionError, match="two steps called charge"):
        Registry([order])


def test_one_step_under_two_names_in_a_workflow_is_fine():
    @mg.step
    async def charge() -> None: ...

    the_same, patient = charge, charge.options(timeout=5)

    @mg.workflow
    async def order() -> None:
        await the_same()
        await patient()
        await charge()

    assert Registry([order]).known == [("order", 1)]


def test_two_workflows_of_one_name_are_refused():
    with pytest.raises(mg.DefinitionError, match=r"two workflows are called first: .*@mg.workflow\(name=…\)"):
        Registry([first, impostor])


def test_a_step_given_to_the_registry_is_explained():
    with pytest.raises(
        mg.DefinitionError, match=r"<step charge> is neither a workflow .* Steps need no registration"
    ):
        Registry([charge])


@pytest.mark.parametrize("thing", ["orders", 42, None, first.function], ids=repr)
def test_anything_else_given_to_the_registry_is_refused(thing):
    with pytest.raises(mg.DefinitionError, match="neither a workflow nor a module"):
        Registry([thing])


def test_an_unknown_workflow_is_told_with_what_there_is():
    with pytest.raises(mg.UnknownWorkflow, match=r"no workflow third \(it has: first\)"):
        Registry([first]).get("third", 1)
    with pytest.raises(mg.UnknownWorkflow, match=r"it has: none"):
        Registry().get("third", 1)


def broken_reference(order: Missing) -> None: ...  # noqa: F821
def broken_attribute(order: types.Missing) -> None: ...
def broken_syntax(order: "int |") -> None: ...  # noqa: F722
def broken_type(order: int | 3) -> None: ...


@pytest.mark.parametrize("function", [broken_reference, broken_attribute, broken_syntax, broken_type])
def test_an_annotation_that_cannot_be_resolved_is_told_when_the_workflow_is_given_to_the_engine(function):
    async def order() -> None: ...

    order.__annotations__ = function.__annotations__
    order.__signature__ = __import__("inspect").signature(function)
    with pytest.raises(mg.DefinitionError, match="workflow order: the annotations"):
        Registry([mg.workflow(order)])


def test_a_compensation_whose_annotation_cannot_be_resolved_is_taken_at_its_word():
    step = fresh_step()

    @step.compensation
    async def refund(receipt: Missing, order: str, amount: int = 1) -> None: ...  # noqa: F821

    assert step.undo.function is refund


def test_a_registry_knows_the_workflows_that_a_workflow_calls_and_starts_none_of_them_by_schedule():
    @mg.workflow(schedule="0 * * * *")
    async def hourly() -> None: ...

    @mg.workflow
    async def child() -> None:
        await hourly()

    async def helper() -> None:
        await child()

    @mg.workflow
    async def parent() -> None:
        await helper()

    registry = Registry([parent])
    assert registry.known == [("parent", 1), ("child", 1), ("hourly", 1)]
    assert registry.scheduled == []
    assert registry.add(hourly)
    assert registry.scheduled == [hourly]


# ---- versions ----------------------------------------------------------------------------------------------------------


@mg.workflow(name="first", version=2)
async def first_changed() -> None: ...


def test_a_name_may_have_several_versions():
    registry = Registry([module_with(first=first, first_changed=first_changed)])
    assert registry.versions("first") == [1, 2]
    assert registry.get("first", 1) is first
    assert registry.get("first", 2) is first_changed
    assert registry.knows("first", 2)
    assert not registry.knows("first", 3)


def test_two_functions_of_one_name_and_version_are_refused():
    @mg.workflow(name="first", version=2)
    async def other() -> None: ...

    with pytest.raises(mg.DefinitionError, match=r"two workflows are called first \(version 2\).*version=3"):
        Registry([first_changed, other])


def test_an_unknown_version_is_told_with_those_that_are_known():
    message = r"no workflow first \(version 3\) \(it has: first, first \(version 2\)\)"
    with pytest.raises(mg.UnknownWorkflow, match=message):
        Registry([first, first_changed]).get("first", 3)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "2", None, 10**10])
def test_a_version_is_a_whole_number_from_1(version):
    async def order() -> None: ...

    with pytest.raises(mg.DefinitionError, match="give a whole number from 1"):
        mg.workflow(version=version)(order)


def test_the_newest_version_says_whether_there_is_a_schedule():
    @mg.workflow(name="report", schedule="0 2 * * *")
    async def old() -> None: ...

    @mg.workflow(name="report", version=2, schedule="0 3 * * *")
    async def changed() -> None: ...

    @mg.workflow(name="report", version=3)
    async def without() -> None: ...

    assert Registry([changed, old]).scheduled == [changed]
    assert Registry([changed, old, without]).scheduled == []
