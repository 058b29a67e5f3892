"""Email: sends a message. It cannot be taken back."""

from service_kit.ledger import Ledger
from service_kit.operations import Answer, Operation, OrderRequest, error
from service_kit.service import serve
from starlette.applications import Starlette


class Email(OrderRequest):
    to: str
    subject: str


def send_email(ledger: Ledger, key: str, request: Email) -> Answer:
    effect = ledger.record("email", key, request.order_id, 1, item=f"{request.to}: {request.subject}")
    return Answer(202, {"email_id": f"em_{effect.sequence}"})


ADDRESS_UNKNOWN = error(422, "address_unknown", "There is no such mailbox.")


def build(ledger: Ledger) -> Starlette:
    return serve(ledger, [Operation("/emails", Email, send_email, declined=ADDRESS_UNKNOWN)])
