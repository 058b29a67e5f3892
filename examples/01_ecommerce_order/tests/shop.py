"""The services without processes, and the calls a saga makes."""

from dataclasses import dataclass
from pathlib import Path

import httpx
from service_kit.ledger import Ledger, read_effects


@dataclass
class Shop:
    """The four services in this process, with their ledgers in one directory.

    Unless told otherwise, an order's request to a path has the idempotency key ``order/path``.
    """

    directory: Path
    ledgers: dict[str, Ledger]
    clients: dict[str, httpx.Client]

    def charge(self, order: str, cents: int = 1000, key: str | None = None) -> httpx.Response:
        return self._post("payment", "/charges", order, key, card="4242", amount_cents=cents)

    def refund(self, order: str, key: str | None = None) -> httpx.Response:
        return self._post("payment", "/refunds", order, key, original=f"{order}/charges")

    def deliver(self, sku: str, quantity: int) -> httpx.Response:
        return self._post("inventory", "/deliveries", "supply-1", sku=sku, quantity=quantity)

    def reserve(self, order: str, sku: str = "lamp", quantity: int = 1) -> httpx.Response:
        return self._post("inventory", "/reservations", order, sku=sku, quantity=quantity)

    def release(self, order: str, key: str | None = None) -> httpx.Response:
        return self._post("inventory", "/releases", order, key, original=f"{order}/reservations")

    def label(self, order: str) -> httpx.Response:
        return self._post("shipping", "/labels", order, address="1 Main Street")

    def cancel(self, order: str) -> httpx.Response:
        return self._post("shipping", "/cancellations", order, original=f"{order}/labels")

    def email(self, order: str) -> httpx.Response:
        return self._post("email", "/emails", order, to="ada@example.org", subject="Your order")

    def complete(self, order: str, cents: int = 1000) -> None:
        """All four steps, as a saga without trouble does them."""
        answers = [self.charge(order, cents), self.reserve(order), self.label(order), self.email(order)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 202]

    def effects(self, service: str) -> list[tuple[str, str, int]]:
        rows = read_effects(self.directory / f"{service}.db")
        return [(effect.kind, effect.order_id, effect.amount) for effect in rows]

    def stock(self) -> dict[str, int]:
        return dict(self.clients["inventory"].get("/stock").json())

    def _post(
        self, service: str, path: str, order: str, key: str | None = None, **body: str | int
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key or f"{order}{path}"}
        return self.clients[service].post(path, json={"order_id": order, **body}, headers=headers)
