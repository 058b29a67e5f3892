"""Payment: charges a card, and gives the money back."""

from service_kit.ledger import Ledger
from service_kit.operations import Answer, Count, Operation, OrderRequest, UndoRequest, error, undo
from service_kit.service import serve
from starlette.applications import Starlette


class Charge(OrderRequest):
    card: str
    amount_cents: Count


def charge(ledger: Ledger, key: str, request: Charge) -> Answer:
    effect = ledger.record("charge", key, request.order_id, request.amount_cents, item=request.card)
    return Answer(201, {"charge_id": f"ch_{effect.sequence}", "amount_cents": effect.amount})


def refund(ledger: Ledger, key: str, request: UndoRequest) -> Answer:
    undone = undo(ledger, key, request, kind="refund", undoes="charge")
    return Answer(200, {"result": undone.result, "amount_cents": undone.effect.amount})


CARD_DECLINED = error(402, "card_declined", "The bank declined the card.")


def build(ledger: Ledger) -> Starlette:
    return serve(
        ledger,
        [
            Operation("/charges", Charge, charge, declined=CARD_DECLINED),
            Operation("/refunds", UndoRequest, refund),
        ],
    )
