"""Shipping: makes a label, which the carrier will collect against, and cancels it."""

from service_kit.ledger import Ledger
from service_kit.operations import Answer, Operation, OrderRequest, UndoRequest, error, undo
from service_kit.service import serve
from starlette.applications import Starlette


class Label(OrderRequest):
    address: str


def create_label(ledger: Ledger, key: str, request: Label) -> Answer:
    effect = ledger.record("label", key, request.order_id, 1, item=request.address)
    return Answer(201, {"label_id": f"lb_{effect.sequence}", "tracking": f"MG{effect.sequence:08}"})


def cancel_label(ledger: Ledger, key: str, request: UndoRequest) -> Answer:
    undone = undo(ledger, key, request, kind="cancellation", undoes="label")
    return Answer(200, {"result": undone.result})


ADDRESS_REFUSED = error(422, "address_refused", "The carrier does not deliver to this address.")


def build(ledger: Ledger) -> Starlette:
    return serve(
        ledger,
        [
            Operation("/labels", Label, create_label, declined=ADDRESS_REFUSED),
            Operation("/cancellations", UndoRequest, cancel_label),
        ],
    )
