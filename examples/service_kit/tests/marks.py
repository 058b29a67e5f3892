"""The smallest service: it makes marks, and takes them back."""

import asyncio

from service_kit.ledger import Ledger
from service_kit.operations import Answer, Count, Operation, OrderRequest, Refused, UndoRequest, error, undo
from service_kit.service import Sleep, serve
from starlette.applications import Starlette

TOO_MANY = error(409, "too_many", "No more than a hundred at once.")
DECLINED = error(402, "declined", "Not today.")


class Mark(OrderRequest):
    count: Count


def mark(ledger: Ledger, key: str, request: Mark) -> Answer:
    effect = ledger.record("mark", key, request.order_id, request.count)
    if request.count > 100:
        raise Refused(TOO_MANY)
    return Answer(201, {"mark_id": effect.sequence})


def unmark(ledger: Ledger, key: str, request: UndoRequest) -> Answer:
    return Answer(200, {"result": undo(ledger, key, request, kind="unmark", undoes="mark").result})


def build(ledger: Ledger, sleep: Sleep = asyncio.sleep) -> Starlette:
    operations = [
        Operation("/marks", Mark, mark, declined=DECLINED),
        Operation("/unmarks", UndoRequest, unmark),
    ]
    return serve(ledger, operations, sleep=sleep)
