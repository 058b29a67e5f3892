"""What really happened to the orders, read from the services' own ledgers. The engine is not asked.

    python audit.py DIRECTORY ORDERS.json [--json]

DIRECTORY holds ``payment.db``, ``inventory.db``, ``shipping.db`` and ``email.db``; ORDERS.json lists the
orders that were submitted. Audit when nothing moves any more: an order still under way counts as lost. Exit
status: 0 when everything adds up, 1 when something does not.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from service_kit.ledger import Effect, read_effects
from services.inventory import read_stock

UNDOABLE = ("charge", "reservation", "label")
SERVICES = ("payment", "inventory", "shipping", "email")


class Submitted(msgspec.Struct, frozen=True):
    """An order as the shop took it."""

    id: str
    total_cents: int
    sku: str
    quantity: int


class History:
    """What the services did for one order; ``order`` is None if nobody submitted it."""

    def __init__(self, order_id: str, order: Submitted | None, effects: Sequence[Effect]) -> None:
        self.order_id = order_id
        self.order = order
        undone = {effect.original for effect in effects}
        self.done = {kind: [effect for effect in effects if effect.kind == kind] for kind in UNDOABLE}
        self.open = {
            kind: [effect for effect in done if effect.key not in undone] for kind, done in self.done.items()
        }
        self.emails = sum(effect.kind == "email" for effect in effects)
        self.paid_cents = total(effects, "charge") - total(effects, "refund")

    @property
    def ending(self) -> str:
        if self.order is None:
            return "unknown"
        if all(self.open.values()):
            return "completed"
        if any(self.open.values()):
            return "lost"
        return "compensated" if any(self.done.values()) else "rejected"

    @property
    def cents_off(self) -> int:
        """What was paid beyond what this ending asks for."""
        due_cents = self.order.total_cents if self.order and self.ending == "completed" else 0
        return self.paid_cents - due_cents

    @property
    def repeated(self) -> list[str]:
        """The kinds of effect that happened more than once, undone or not."""
        counts = {kind: len(done) for kind, done in self.done.items()} | {"email": self.emails}
        return [kind for kind, count in counts.items() if count > 1]


@dataclass(frozen=True)
class Audit:
    """The orders by what became of them (ids), and whatever does not add up."""

    orders: int
    completed: list[str]  # charged, reserved and labelled; none of it undone
    compensated: list[str]  # something was done, and all of it undone
    rejected: list[str]  # nothing was ever done
    lost: list[str]  # neither: partly done, or partly undone
    unknown: list[str]  # nobody submitted them
    repeats: dict[str, list[str]]  # the kinds of effect that happened more than once
    money_off: dict[str, int]  # cents paid beyond what the order's ending asks for
    stock_off: dict[str, int]  # by SKU: pieces missing on the shelf
    missed_emails: list[str]  # completed without email: allowed, email is best effort
    false_emails: list[str]  # confirmed to the customer, but not completed

    @property
    def double_charges(self) -> list[str]:
        return [order for order, kinds in self.repeats.items() if "charge" in kinds]

    @property
    def violations(self) -> list[str]:
        """One sentence for each thing that must not be; empty is good."""
        return [
            *(f"{order}: more than one {' and '.join(kinds)}" for order, kinds in self.repeats.items()),
            *(f"{order}: neither complete nor undone" for order in self.lost),
            *(f"{order}: paid {cents:+} cents off" for order, cents in self.money_off.items()),
            *(f"{sku}: {pieces:+} pieces missing in stock" for sku, pieces in self.stock_off.items()),
            *(f"{order}: never submitted, but something was done" for order in self.unknown),
            *(f"{order}: confirmed by email, but not complete" for order in self.false_emails),
        ]

    def as_json(self) -> str:
        fields = msgspec.to_builtins(self)
        fields |= {"double_charges": self.double_charges, "violations": self.violations}
        return msgspec.json.encode(fields).decode()

    def as_table(self) -> Table:
        facts = {
            "orders": self.orders,
            "completed": len(self.completed),
            "  of these without email": len(self.missed_emails),
            "compensated": len(self.compensated),
            "rejected": len(self.rejected),
        }
        must_be_zero = {
            "double charges": len(self.double_charges),
            "other repeats": len(self.repeats.keys() - self.double_charges),
            "lost": len(self.lost),
            "cents that do not add up": sum(map(abs, self.money_off.values())),
            "pieces that do not add up": sum(map(abs, self.stock_off.values())),
            "orders nobody submitted": len(self.unknown),
            "confirmed, but not complete": len(self.false_emails),
        }
        table = Table("by the services' own ledgers", "", "")
        for label, figure in facts.items():
            table.add_row(label, str(figure), "")
        for label, figure in must_be_zero.items():
            table.add_row(label, str(figure), "[red]✗[/]" if figure else "[green]✓[/]")
        return table


def audit(directory: Path, orders: Iterable[Submitted]) -> Audit:
    """Judge ``orders`` by the four ledgers in ``directory``."""
    submitted = {order.id: order for order in orders}
    deliveries, effects = read_ledgers(directory)
    histories = [
        History(order_id, submitted.get(order_id), effects.get(order_id, []))
        for order_id in dict.fromkeys([*submitted, *effects])
    ]

    def which(condition: Callable[[History], object]) -> list[str]:
        return [history.order_id for history in histories if condition(history)]

    completed = which(lambda history: history.ending == "completed")
    return Audit(
        orders=len(submitted),
        completed=completed,
        compensated=which(lambda history: history.ending == "compensated"),
        rejected=which(lambda history: history.ending == "rejected"),
        lost=which(lambda history: history.ending == "lost"),
        unknown=which(lambda history: history.ending == "unknown"),
        repeats={history.order_id: history.repeated for history in histories if history.repeated},
        money_off={history.order_id: history.cents_off for history in histories if history.cents_off},
        stock_off=stock_off(directory, deliveries, [submitted[order_id] for order_id in completed]),
        missed_emails=which(lambda history: history.ending == "completed" and not history.emails),
        false_emails=which(lambda history: history.ending != "completed" and history.emails),
    )


def read_ledgers(directory: Path) -> tuple[list[Effect], dict[str, list[Effect]]]:
    """The suppliers' deliveries, and what was done for each order."""
    deliveries = []
    by_order = defaultdict(list)
    for service in SERVICES:
        for effect in read_effects(directory / f"{service}.db"):
            if effect.kind == "delivery":
                deliveries.append(effect)
            else:
                by_order[effect.order_id].append(effect)
    return deliveries, by_order


def stock_off(
    directory: Path, deliveries: Sequence[Effect], completed: Sequence[Submitted]
) -> dict[str, int]:
    """Pieces missing by SKU: what was delivered less what completed orders took, against the shelf."""
    expected: Counter[str] = Counter()
    for delivery in deliveries:
        expected[delivery.item] += delivery.amount
    for order in completed:
        expected[order.sku] -= order.quantity
    shelf = read_stock(directory / "inventory.db")
    return {
        sku: off
        for sku in sorted(expected.keys() | shelf.keys())
        if (off := expected[sku] - shelf.get(sku, 0))
    }


def total(effects: Iterable[Effect], kind: str) -> int:
    return sum(effect.amount for effect in effects if effect.kind == kind)


def main() -> int:
    parser = argparse.ArgumentParser(prog="audit.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the four ledgers are")
    parser.add_argument("orders", type=Path, help='[{"id": …, "total_cents": …, "sku": …, "quantity": …}, …]')
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    orders = msgspec.json.decode(arguments.orders.read_bytes(), type=list[Submitted])
    result = audit(arguments.directory, orders)
    if arguments.json:
        print(result.as_json())
    else:
        Console().print(result.as_table(), *result.violations, sep="\n", markup=False)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
