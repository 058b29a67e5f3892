"""Declarations of breakers, rate limits and concurrency: what cannot work is refused where it is written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import makegood as mg
from makegood.definition.rate import checked_rate
from makegood.definition.registry import Registry


async def charge(order: str) -> str:
    return order


@pytest.mark.parametrize(
    ("text", "count", "period_seconds"),
    [("10/s", 10, 1), ("100/min", 100, 60), (" 5 / h ", 5, 3_600), ("10000/day", 10_000, 86_400)],
)
def test_a_rate_says_how_many_in_what_time(text: str, count: int, period_seconds: float) -> None:
    rate = checked_rate(text, "rate_limit")

    assert rate is not None
    assert (rate.count, rate.period_seconds) == (count, period_seconds)


@pytest.mark.parametrize(
    "rate",
    [
        "10",
        "/s",
        "10/",
        "10/fortnight",
        "0.5/s",
        "-1/s",
        "ten/s",
        "10/s/s",
        "10 per s",
        "",
        10,
        0.5,
        ("10/s",),
    ],
)
def test_what_is_no_rate_is_refused_with_examples(rate: Any) -> None:
    with pytest.raises(mg.DefinitionError, match=r"rate_limit=.*such as '10/s', '100/min'"):
        mg.step(rate_limit=rate)(charge)


@pytest.mark.parametrize("rate", ["0/s", "10001/s", "999999999/day"])
def test_a_rate_that_is_too_low_or_too_high_is_refused(rate: str) -> None:
    with pytest.raises(mg.DefinitionError, match="from 1 to 10,000"):
        mg.step(rate_limit=rate)(charge)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5"])
def test_a_concurrency_that_cannot_be_is_refused(limit: Any) -> None:
    with pytest.raises(mg.DefinitionError, match=r"max_concurrency=.*whole number from 1"):
        mg.step(max_concurrency=limit)(charge)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"failures": 0}, "failures=0.*from 1 to 1,000"),
        ({"failures": 1_001}, "from 1 to 1,000"),
        ({"failures": True}, "whole number"),
        ({"failures": 2.5}, "whole number"),
        ({"within": 0}, "within.*above 0"),
        ({"within": -1}, "within"),
        ({"within": "10"}, "within"),
        ({"cool_down": 0}, "cool_down.*above 0"),
        ({"cool_down": float("nan")}, "cool_down"),
        ({"drain": "fast"}, "drain='fast'.*such as"),
        ({"drain": 50}, "drain=50"),
        ({"counts": ConnectionError}, "counts=.*tuple"),
        ({"counts": ("ConnectionError",)}, "counts=.*tuple"),
        ({"counts": ()}, "nothing would ever open it"),
    ],
    ids=str,
)
def test_a_breaker_that_cannot_work_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(mg.DefinitionError, match=told):
        mg.Breaker("payments", **options)


@pytest.mark.parametrize("name", ["", "two words", 5, None])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(mg.DefinitionError, match="no usable name"):
        mg.Breaker(name)


@pytest.mark.parametrize("breaker", [5, True, ("payments",), Registry])
def test_what_is_no_breaker_is_refused(breaker: Any) -> None:
    with pytest.raises(mg.DefinitionError, match=r"breaker=.*the name of what the step depends on"):
        mg.step(breaker=breaker)(charge)


def test_a_compensation_names_a_breaker_as_well() -> None:
    declared = mg.step(charge)

    @declared.compensation(breaker="payments")
    async def refund(receipt: str | None, order: str) -> None: ...

    assert declared.undo is not None
    assert declared.undo.breaker == mg.Breaker("payments")
    with pytest.raises(mg.DefinitionError, match="breaker=3"):
        mg.step(charge).compensation(breaker=3)(refund)  # type: ignore[call-overload]


def test_times_may_be_timedeltas() -> None:
    assert mg.Breaker(
        "payments", within=timedelta(seconds=10), cool_down=timedelta(seconds=30)
    ) == mg.Breaker("payments")


def test_a_step_with_other_options_keeps_its_gates() -> None:
    limited = mg.step(breaker="payments", rate_limit="10/s", max_concurrency=3)(charge).options(timeout=5)

    assert limited.gated
    assert (str(limited.options_.rate_limit), limited.options_.max_concurrency) == ("10/s", 3)


def test_a_step_without_gates_has_none() -> None:
    assert not mg.step(timeout=5)(charge).gated


PAYMENTS = mg.Breaker("payments", failures=3)
pay = mg.step(breaker=PAYMENTS, name="pay")(charge)
pay_by_name = mg.step(breaker="payments", name="pay_by_name")(charge)
pay_otherwise = mg.step(breaker=mg.Breaker("payments", failures=7), name="pay_otherwise")(charge)


@pytest.mark.parametrize("order", [(pay, pay_by_name), (pay_by_name, pay)], ids=str)
def test_a_name_means_the_breaker_that_is_declared(order: tuple[mg.Step[..., Any], ...]) -> None:
    registry = Registry()
    for step in order:
        assert step.options_.breaker is not None
        registry.breaker(step.options_.breaker)

    assert registry.breaker(mg.Breaker("payments")) == PAYMENTS


def test_a_breaker_that_is_declared_in_two_ways_is_refused() -> None:
    @mg.workflow
    async def buy() -> None:
        await pay("o-1")
        await pay_otherwise("o-1")

    with pytest.raises(
        mg.DefinitionError,
        match=r"breaker payments is declared twice, .*failures=3.*failures=7.*Declare it once",
    ):
        Registry([buy])
