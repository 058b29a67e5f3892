"""Failures: whatever an exception is, text of it can be stored."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

import makegood as mg
from makegood.failure import MESSAGE_LIMIT_CHARACTERS, TRACEBACK_LIMIT_CHARACTERS, leaves


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value] # noqa: PLE0307 - on purpose


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Odd(Exception):
    pass


Odd.__module__ = "\ud800"
Odd.__qualname__ = "\udfff" * 10_000


def stored(failure: mg.Failure) -> mg.Failure:
    return msgspec.json.decode(msgspec.json.encode(failure), type=mg.Failure)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("oops"), "ValueError: oops"),
        (ValueError(), "ValueError"),
        (Unprintable(), "Unprintable: <unprintable: RuntimeError>"),
        (NoText(), "NoText: <unprintable: TypeError>"),
        (Exits(), "Exits: <unprintable: SystemExit>"),
        (ValueError("lone \ud800"), "ValueError: lone ?"),
        (ValueError("nul \x00"), "ValueError: nul \x00"),
        (KeyError("key"), "KeyError: 'key'"),
        (asyncio.CancelledError(), "CancelledError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (
            ExceptionGroup("two", [ValueError("a"), OSError("b")]),
            "ExceptionGroup: two (2 sub-exceptions): ValueError: a; OSError: b",
        ),
        (
            ExceptionGroup("outer", [ExceptionGroup("inner", [Unprintable()])]),
            "ExceptionGroup: <unprintable: RuntimeError>",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_exception_can_be_recorded(error, told):
    failure = mg.Failure.of(error)
    assert str(failure) == told
    assert stored(failure) == failure


def test_huge_messages_are_cut():
    failure = mg.Failure.of(ValueError("x" * 10_000_000))
    assert len(failure.message) <= MESSAGE_LIMIT_CHARACTERS + 10
    assert failure.message.endswith("… (cut)")


def test_an_odd_class_can_be_recorded():
    failure = mg.Failure.of(Odd("x"))
    assert stored(failure) == failure
    assert len(failure.type) < 10_000


def test_the_traceback_is_kept_and_cut():
    def fall(depth: int) -> None:
        if depth:
            fall_again(depth - 1)
        raise ValueError("deep")

    def fall_again(depth: int) -> None:
        fall(depth)

    with pytest.raises(ValueError, match="deep") as caught:
        fall(300)
    failure = mg.Failure.of(caught.value)
    assert failure.traceback.endswith(".fall\n")
    assert len(failure.traceback) <= TRACEBACK_LIMIT_CHARACTERS + 10
    assert mg.Failure.of(caught.value, with_traceback=False).traceback == ""


def test_types_are_named_with_their_module():
    assert mg.Failure.of(ValueError()).type == "ValueError"
    assert mg.Failure.of(mg.UsageError()).type == "makegood.errors.UsageError"
    assert mg.Failure.of(mg.UsageError()).is_a(mg.UsageError)
    assert not mg.Failure.of(mg.UsageError()).is_a(mg.MakegoodError)


def test_groups_are_taken_apart():
    inner = ValueError("a")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [inner]), OSError("b")])
    assert leaves(group)[0] is inner
    assert len(leaves(group)) == 2
    assert leaves(inner) == [inner]


def test_a_group_ten_thousand_deep_can_be_recorded():
    error: Exception = ValueError("deep")
    for _ in range(10_000):
        error = ExceptionGroup("level", [error])
    assert stored(mg.Failure.of(error)).type == "ExceptionGroup"
    while isinstance(error, ExceptionGroup):  # let go from the outside, without recursion
        error = error.exceptions[0]


def test_step_failed_tells_the_step_the_cause_and_the_doubt():
    failed = mg.StepFailed("charge", mg.Failure.of(LookupError("no card")), unknown=True, attempts=3)
    assert str(failed) == (
        "step charge failed after 3 attempt(s): LookupError: no card; whether it took effect is unknown"
    )
    assert failed.was(OSError, LookupError)
    assert not failed.was(Exception)


def test_run_errors_tell_what_was_undone_and_what_is_left():
    error = mg.RunTerminated(
        "r-1", mg.Failure("x.Refused", "no"), step="ship", undone=["charge"], residue=["book"]
    )
    assert str(error) == "run r-1 terminated: Refused: no; undone: charge; left open: book"
    assert isinstance(error, mg.RunError)
