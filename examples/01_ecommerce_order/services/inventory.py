"""Inventory: holds stock for an order, and puts it back. There is never less than none."""

from pathlib import Path

import apsw
from service_kit.ledger import Ledger
from service_kit.operations import (
    Answer,
    Count,
    Operation,
    OrderRequest,
    Refused,
    UndoRequest,
    error,
    undo,
)
from service_kit.service import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
    sku       TEXT PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT, WITHOUT ROWID
"""

OUT_OF_STOCK = error(409, "out_of_stock", "There is not enough in stock.")


class Goods(OrderRequest):
    """Pieces of one kind: to be reserved, or (with our own order's id) delivered by a supplier."""

    sku: str
    quantity: Count


def deliver(ledger: Ledger, key: str, request: Goods) -> Answer:
    ledger.record("delivery", key, request.order_id, request.quantity, item=request.sku)
    return Answer(201, {"available": add_stock(ledger, request.sku, request.quantity)})


def reserve(ledger: Ledger, key: str, request: Goods) -> Answer:
    if available(ledger, request.sku) < request.quantity:
        raise Refused(OUT_OF_STOCK)
    effect = ledger.record("reservation", key, request.order_id, request.quantity, item=request.sku)
    add_stock(ledger, request.sku, -request.quantity)
    return Answer(201, {"reservation_id": f"rs_{effect.sequence}", "quantity": effect.amount})


def release(ledger: Ledger, key: str, request: UndoRequest) -> Answer:
    undone = undo(ledger, key, request, kind="release", undoes="reservation")
    if undone.result == "undone":
        add_stock(ledger, undone.effect.item, undone.effect.amount)
    return Answer(200, {"result": undone.result, "quantity": undone.effect.amount})


def available(ledger: Ledger, sku: str) -> int:
    row = ledger.connection.execute("SELECT available FROM stock WHERE sku = ?", (sku,)).fetchone()
    return int(row[0]) if row else 0


def add_stock(ledger: Ledger, sku: str, quantity: int) -> int:
    ledger.connection.execute("INSERT INTO stock VALUES (?, 0) ON CONFLICT DO NOTHING", (sku,))
    ledger.connection.execute("UPDATE stock SET available = available + ? WHERE sku = ?", (quantity, sku))
    return available(ledger, sku)


def read_stock(path: Path) -> dict[str, int]:
    """What is available in the inventory at ``path``, by SKU."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return dict(connection.execute("SELECT sku, available FROM stock ORDER BY sku"))
    finally:
        connection.close()


def build(ledger: Ledger) -> Starlette:
    ledger.connection.execute(SCHEMA)

    async def show_stock(_: Request) -> Response:
        return JSONResponse(read_stock(ledger.path))

    return serve(
        ledger,
        [
            Operation("/deliveries", Goods, deliver),
            Operation("/reservations", Goods, reserve, declined=OUT_OF_STOCK),
            Operation("/releases", UndoRequest, release),
        ],
        [Route("/stock", show_stock)],
    )
