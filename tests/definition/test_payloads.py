"""Payloads: a value comes back equal, or is refused where it is given, with what to do."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional, Union
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import makegood as mg
from makegood.definition.payload import LIMIT_BYTES, Payload
from tests.definition.models import (
    Address,
    Aliased,
    Box,
    Circle,
    Colour,
    Customer,
    Item,
    Level,
    Opaque,
    Options,
    Order,
    Pair,
    Picky,
    Point,
    SpecialItem,
    Square,
    Strict,
    Unprintable,
    VipCustomer,
    Visit,
)

UserId = NewType("UserId", int)
AWARE = datetime(2026, 3, 29, 2, 30, 1, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
ORDER = Order(UUID(int=7), AWARE, (Item("a", Decimal("9.90"), {Colour.RED, Colour.BLUE}),), "übermorgen")
CUSTOMER = Customer(name="Ann", address=Address(street="Elm St", moved_at=AWARE), tags=["x"])

GOOD: list[tuple[Any, Any]] = [
    (int, 5),
    (int, -(2**63)),
    (int, 2**63),
    (int, 2**64),
    (int, -(2**63) - 1),
    (int, 10**400),
    (Any, 2**64 + 1),
    (float, 0.1),
    (float, 5e-324),
    (float, 1e308),
    (bool, True),
    (str, ""),
    (str, "nul \x00 in the middle"),
    (str, "😀 \u2028 \x7f"),
    (bytes, b"\x00\xff"),
    (None, None),
    (Any, None),
    (Any, {"a": [1, 2.5, True, None, {"b": "c"}]}),
    (int | None, None),
    (int | str, "5"),
    (Optional[Colour], Colour.RED),  # noqa: UP045 - also a way to say it
    (Union[int, list[str]], ["a"]),  # noqa: UP007 - also a way to say it
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (set[int], {3, 1, 2}),
    (frozenset[str], frozenset("ab")),
    (dict[str, int], {"a": 1}),
    (dict[int, str], {1: "a"}),
    (dict[UUID, date], {UUID(int=1): date(2026, 2, 28)}),
    (dict[Colour, list[Level]], {Colour.RED: [Level.HIGH]}),
    (Literal["a", 1], "a"),
    (Decimal, Decimal("0.10")),
    (Decimal, Decimal("1E+30")),
    (UUID, UUID(int=2**127)),
    (Colour, Colour.BLUE),
    (Level, Level.LOW),
    (date, date(1, 1, 1)),
    (time, time(23, 59, 59, 1)),
    (datetime, datetime(2026, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001 - naive on purpose
    (datetime, datetime(9999, 12, 31, tzinfo=UTC)),
    (datetime, AWARE),
    (timedelta, timedelta(days=400, microseconds=1)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (Item, Item("a", Decimal(1))),
    (Order, ORDER),
    (list[Order], [ORDER]),
    (Box[int], Box(1)),
    (Box[list[Colour]], Box([Colour.RED])),
    (Opaque, Opaque(3)),
    (Point, Point(1, 2.5)),
    (Circle | Square, Square(2.0)),
    (Pair, Pair(1, "a")),
    (Options, {"fast": True, "mode": "a"}),
    (UserId, UserId(5)),
    (Annotated[int, msgspec.Meta(ge=0)], 5),
    (Customer, CUSTOMER),
    (Customer | None, CUSTOMER),
    (Customer | None, None),
    (list[Customer], [CUSTOMER, CUSTOMER]),
    (dict[str, Customer], {"a": CUSTOMER}),
    (Visit, Visit(CUSTOMER, [CUSTOMER])),
    (Aliased, Aliased(orderId="o-1")),
    (Strict, Strict(at=AWARE, tags=frozenset({1, 2}))),
    (float, 5),
    (list[float], [1, 2]),
]


def step_taking(annotation: Any) -> mg.Step:
    async def take(value): ...

    take.__annotations__ = {"value": annotation, "return": annotation}
    return mg.step(take)


@pytest.mark.parametrize(("annotation", "value"), GOOD, ids=lambda value: repr(value)[:60])
def test_a_result_comes_back_as_it_was(annotation, value):
    payload = Payload(annotation, "result")
    back = payload.decode(payload.encode(value))
    if type(value) is not Opaque:  # has no equality
        assert back == value
    assert type(back) is (float if annotation is float else type(value))


@pytest.mark.parametrize(("annotation", "value"), GOOD, ids=lambda value: repr(value)[:60])
def test_an_argument_comes_back_as_it_was(annotation, value):
    signature = step_taking(annotation).signature
    encoded = signature.encode_arguments((value,), {})
    seen = []
    signature.call_other(seen.append, encoded)
    if type(value) is not Opaque:  # has no equality
        assert seen == [value]
    assert type(seen[0]) is (float if annotation is float else type(value))


@given(st.timedeltas())
def test_every_timedelta_comes_back(value):
    payload = Payload(timedelta, "result")
    assert payload.decode(payload.encode(value)) == value


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_every_datetime_comes_back_or_is_refused(value):
    payload = Payload(datetime, "result")
    try:
        encoded = payload.encode(value)
    except mg.PayloadError:
        return  # an offset of seconds, as zones had before 1900, has no place in ISO 8601
    assert payload.decode(encoded) == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(json_values)
def test_every_json_value_comes_back_without_an_annotation(value):
    payload = Payload(Any, "result")
    assert payload.decode(payload.encode(value)) == value


def outcome(payload: Payload, value: Any) -> bytes | str:
    try:
        return bytes(payload.encode(value))
    except mg.PayloadError as refused:
        return str(refused)


class Text(str):
    __slots__ = ()


plain_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.sampled_from([10**400, 10**4299, -(10**4299), 10**4300, 10**5000, Level.LOW, Colour.RED, Text("a")])
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), min_size=1)
)


@settings(max_examples=1000)
@given(
    st.sampled_from(
        [int, str, bool, None, float, int | None, int | bool, str | None, int | date, Colour, Any]
    ),
    plain_values,
)
def test_a_value_that_is_not_read_back_would_have_come_back(annotation, value):
    payload, careful = Payload(annotation, "result"), Payload(annotation, "result")
    careful.plain = frozenset()
    assert outcome(payload, value) == outcome(careful, value)


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def in_short(value: Any) -> str:
    try:
        return ascii(value)[:60]
    except Exception:  # noqa: BLE001 - some of the values are bad in that way, too
        return type(value).__name__


BAD: list[tuple[Any, Any]] = [
    (float, math.nan),
    (float, math.inf),
    (float | None, math.nan),
    (list[float], [1.0, -math.inf]),
    (Any, math.nan),
    (Any, {"a": [math.nan]}),
    (Decimal, Decimal("NaN")),
    (str, "lone \ud800 surrogate"),
    (dict[str, int], {"\udfff": 1}),
    (int, 10**5000),
    (int, True),
    (int, "5"),
    (int, None),
    (int, 5.5),
    (str, 5),
    (str, b"bytes"),
    (bool, 1),
    (list[int], (1, 2)),
    (tuple[int, ...], [1, 2]),
    (tuple[int, str], (1, "a", 2)),
    (Any, (1, 2)),
    (Any, [(1, 2)]),
    (Any, {1: "a"}),
    (Any, {(1, 2): "a"}),
    (Any, {1, 2}),
    (Any, Decimal(1)),
    (Any, Colour.RED),
    (Any, ORDER),
    (Any, object()),
    (Any, print),
    (Any, lambda: None),
    (Any, Unprintable()),
    (Any, ValueError("x")),
    (Any, 1j),
    (Any, circle()),
    (Any, nested(100_000)),
    (Literal["a"], "b"),
    (Colour, "red"),
    (Item, SpecialItem("a", Decimal(1), discount=5)),
    (Item, {"sku": "a", "price": "1"}),
    (Options, {"fast": True, "unheard": 1}),
    (Annotated[int, msgspec.Meta(ge=0)], -1),
    (Customer, VipCustomer(name="Ann", address=Address(street="Elm St"))),
    (Customer, {"name": "Ann"}),
    (Visit, Visit(VipCustomer(name="Ann", address=Address(street="Elm St")))),
    (Box[int], Box("x")),
    (Picky, object()),
    (object, object()),
    (Unprintable, Unprintable()),
]


@pytest.mark.parametrize(("annotation", "value"), BAD, ids=in_short)
def test_what_would_not_come_back_is_refused_as_result_and_as_argument(annotation, value):
    step = step_taking(annotation)
    with pytest.raises(mg.PayloadError, match="result of step take: ") as refused:
        step.signature.encode_result(value)
    assert "annotate the parameter or result with the exact type" in str(refused.value)
    assert len(str(refused.value)) < 2_000
    with pytest.raises(mg.PayloadError, match="argument 'value' of step take: "):
        step.signature.encode_arguments((value,), {})


@pytest.mark.parametrize(
    ("annotation", "value"), [(tuple[int, str], Pair(1, "a")), (frozenset[int], {1})], ids=repr
)
def test_a_result_that_would_come_back_as_another_collection_is_refused(annotation, value):
    with pytest.raises(mg.PayloadError, match="would come back from JSON as"):
        Payload(annotation, "result").encode(value)


def test_the_message_says_what_is_wrong_where_and_what_to_do():
    with pytest.raises(mg.PayloadError) as refused:
        step_taking(Any).signature.encode_arguments(((1, 2),), {})
    assert str(refused.value) == (
        "argument 'value' of step take: (1, 2) would come back from JSON as [1, 2] under the annotation Any. "
        "Use JSON types, dataclasses, msgspec structs, pydantic models, datetime, Decimal, UUID or Enum, "
        "and annotate the parameter or result with the exact type."
    )


def test_a_structure_10_000_deep_is_refused_or_comes_back():
    deep = nested(10_000)
    payload = Payload(Any, "result")
    try:
        encoded = payload.encode(deep)
    except mg.PayloadError:
        return  # how deep JSON may be depends on Python's version
    assert bytes(payload.encode(payload.decode(encoded))) == bytes(encoded)


def test_the_limit_is_told_in_bytes_and_one_byte_less_is_accepted():
    payload = Payload(str, "result of step take")
    payload.encode("x" * (LIMIT_BYTES - 2))
    with pytest.raises(
        mg.PayloadError, match=r"2,097,153 bytes of JSON, and the limit is 2,097,152.*reference"
    ):
        payload.encode("x" * (LIMIT_BYTES - 1))


def test_arguments_that_are_too_large_together_are_refused():
    @mg.step
    async def two(first: str, second: str) -> None: ...

    half = "x" * (LIMIT_BYTES // 2)
    with pytest.raises(mg.PayloadError, match=r"arguments of step two: .* bytes of JSON, and the limit"):
        two.signature.encode_arguments((half, half), {})


def test_several_objects_without_equality_are_accepted_as_arguments():
    @mg.step
    async def two(first: Opaque, second: Opaque) -> None: ...

    assert bytes(two.signature.encode_arguments((Opaque(1), Opaque(2)), {})) == b'[{"value":1},{"value":2}]'


@pytest.mark.parametrize(
    "error",
    [
        LookupError("no such value"),
        AttributeError("x"),
        RuntimeError("x"),
        AssertionError(),
        ZeroDivisionError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", ["__post_init__", "__eq__", "model_dump"])
def test_whatever_a_users_class_raises_is_a_payload_error(error, where):
    class Moody(msgspec.Struct):
        value: int

    def explode(*args: object, **kwargs: object) -> None:
        raise error

    if where == "model_dump":
        moody: Any = type("Moody", (), {"model_dump": explode})()
        annotation: Any = Any
    else:
        moody = Moody(1)
        annotation = type("Moodier", (Moody,), {where: explode}) if where == "__post_init__" else Moody
        if where == "__eq__":
            annotation = type("Moodier", (Moody,), {"__eq__": explode})
            moody = annotation(1)
    with pytest.raises(mg.PayloadError):
        Payload(annotation, "result").encode(moody)


def test_stored_json_that_does_not_fit_is_explained():
    with pytest.raises(
        mg.PayloadError, match="result of step take: the value does not fit the annotation int"
    ):
        step_taking(int).signature.decode_result(msgspec.Raw(b'"five"'))


def test_a_mapping_of_another_kind_comes_back_as_a_dict():
    payload = Payload(dict[str, int], "result")
    assert type(payload.decode(payload.encode(OrderedDict(b=1, a=2)))) is dict


def test_an_integer_enum_comes_back_as_its_annotation_says():
    payload = Payload(int, "result")
    assert type(payload.decode(payload.encode(Level.HIGH))) is int


@pytest.mark.parametrize(
    "annotation",
    [
        Item | Order,
        Customer | Address,
        set[int] | list[int],
        "OddEnum",
    ],
    ids=str,
)
def test_an_annotation_that_json_cannot_tell_apart_is_refused_when_it_is_declared(annotation):
    from tests.definition.models import OddEnum

    with pytest.raises(
        mg.DefinitionError, match=r"result of step x: the annotation .* cannot be stored as JSON"
    ):
        Payload(OddEnum if annotation == "OddEnum" else annotation, "result of step x")


def test_sets_are_stored_in_the_same_order_whatever_their_history():
    payload = Payload(set[int], "result")
    grown = set(range(1000))
    for number in range(3, 1000):
        grown.discard(number)
    assert bytes(payload.encode(grown)) == bytes(payload.encode({2, 1, 0}))
