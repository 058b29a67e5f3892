"""The data that the payload tests send through JSON."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Item:
    sku: str
    price: Decimal
    colours: set[Colour] = field(default_factory=set)


@dataclass(frozen=True)
class Order:
    id: UUID
    at: datetime
    items: tuple[Item, ...]
    note: str | None = None


@dataclass
class SpecialItem(Item):
    discount: int = 0


@dataclass(eq=False)
class Opaque:
    value: int


@dataclass
class Picky:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise LookupError("no such value")


@dataclass
class Box(Generic[T]):
    content: T


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Address(pydantic.BaseModel):
    street: str
    moved_at: datetime | None = None


class Customer(pydantic.BaseModel):
    name: str
    address: Address
    tags: list[str] = []


class Aliased(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: datetime
    tags: frozenset[int] = frozenset()

    @pydantic.computed_field
    def year(self) -> int:
        return self.at.year


class VipCustomer(Customer):
    lounge: bool = True


@dataclass
class Visit:
    customer: Customer
    earlier: list[Customer] = field(default_factory=list)


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict, total=False):
    fast: bool
    mode: Literal["a", "b"]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class OddEnum(enum.Enum):
    PAIR = (1, 2)
