"""What goes into an order's workflow, and what comes out of its steps. It is stored as JSON and read back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    id: str
    card: str
    total_cents: int
    sku: str
    quantity: int
    address: str
    email: str


@dataclass(frozen=True)
class Receipt:
    charge_id: str
    amount_cents: int


@dataclass(frozen=True)
class Reservation:
    reservation_id: str
    quantity: int


@dataclass(frozen=True)
class Label:
    label_id: str
    tracking: str


@dataclass(frozen=True)
class Confirmation:
    order_id: str
    tracking: str


@dataclass(frozen=True)
class Sent:
    email_id: str
