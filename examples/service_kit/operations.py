"""What a service offers: operations that have an effect, each of which can be undone.

An operation is a plain function of the ledger, the request's idempotency key and the request. It runs inside
a transaction and never twice for one key: `service_kit.service` sees to that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from service_kit.ledger import Effect, Ledger

Count = Annotated[int, msgspec.Meta(gt=0)]


class OrderRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Every request says which order it is for."""

    order_id: str


class UndoRequest(OrderRequest):
    """Undo what the request with the idempotency key ``original`` did, *if* it did it.

    Whoever undoes may not know the outcome of the original, nor any id it was given, but knows its key.
    """

    original: str


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status and a JSON object."""

    status: int
    body: dict[str, str | int]


def error(status: int, name: str, message: str) -> Answer:
    """The form of every answer above 399: a name for programs, a message for people."""
    return Answer(status, {"error": name, "message": message})


class Refused(Exception):
    """The operation had no effect; the answer says why. It is kept: the same key is refused again."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body["message"])
        self.answer = answer


@dataclass(frozen=True)
class Operation:
    """``POST path`` does it, ``GET path?key=…`` looks up what the request with that key was answered."""

    path: str
    request_type: type[OrderRequest]
    perform: Callable[[Ledger, str, Any], Answer]
    declined: Answer | None = None  # the answer to a request that the fault `decline` strikes


@dataclass(frozen=True)
class Undone:
    """``effect`` is the undo's own. Its amount is 0 when there was nothing to undo."""

    effect: Effect
    first_time: bool

    @property
    def result(self) -> str:
        if not self.first_time:
            return "already_undone"
        return "undone" if self.effect.amount else "nothing_to_undo"


def undo(ledger: Ledger, key: str, request: UndoRequest, *, kind: str, undoes: str) -> Undone:
    """Record that ``request.original`` is undone; once, under however many keys it is asked for.

    An unknown original is not an error, since its request may have been lost or may still be on its way. The
    row written for it forestalls it: should it arrive later, it is refused.
    """
    earlier = ledger.undo_of(request.original)
    if earlier is not None:
        return Undone(earlier, first_time=False)
    original = ledger.find(request.original)
    if original is None:
        amount, item = 0, ""
    elif (original.kind, original.order_id) == (undoes, request.order_id):
        amount, item = original.amount, original.item
    else:
        raise Refused(
            error(
                422,
                "wrong_original",
                f"{request.original} is a {original.kind} of order {original.order_id}, "
                f"not a {undoes} of order {request.order_id}.",
            )
        )
    effect = ledger.record(kind, key, request.order_id, amount, item=item, original=request.original)
    return Undone(effect, first_time=True)
