"""How a step calls a service, and what the answer means to a saga: done, not done, or nobody knows."""

import os
from collections.abc import Mapping
from typing import TypeVar

import httpx
import msgspec

import makegood as mg

# Environment variables that hold the services' URLs.
PAYMENT = "PAYMENT_URL"
INVENTORY = "INVENTORY_URL"
SHIPPING = "SHIPPING_URL"
EMAIL = "EMAIL_URL"

T = TypeVar("T")

# One client for the whole process: its connections are kept, and making one costs more than many a request.
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=32, max_keepalive_connections=32))


class CardDeclined(Exception):
    pass


class OutOfStock(Exception):
    pass


class AddressRefused(Exception):
    pass


class MailboxUnknown(Exception):
    pass


# The services' ways to say no: nothing was done, and to ask again is pointless. By name, as the HTTP status
# is too coarse: 409 is "out of stock" and "still at work" alike.
REFUSALS = {
    "card_declined": CardDeclined,
    "out_of_stock": OutOfStock,
    "address_refused": AddressRefused,
    "address_unknown": MailboxUnknown,
}


class Unavailable(Exception):
    """The service says that it did nothing, and may be able to later."""


class Unclear(Exception):
    """The service answered, but not whether it did anything: it is still at work, or failed on the way."""


# After these nobody knows whether the service did it: the request, or part of it, was sent. Not among them on
# purpose: httpx.ConnectError, ConnectTimeout and PoolTimeout. Then it never was.
NO_CLEAR_ANSWER = (
    Unclear,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
)


class Undone(msgspec.Struct):
    result: str  # "undone", "already_undone" or "nothing_to_undo": all three are good


async def post(service: str, path: str, body: Mapping[str, object], answer: type[T]) -> T:
    """Have an effect: once for the idempotency key, however often it is asked for."""
    headers = {"Idempotency-Key": mg.idempotency_key()}
    return understood(await client.post(os.environ[service] + path, json=body, headers=headers), answer)


async def undo(service: str, path: str, order_id: str) -> Undone:
    """Undo what the step did *if* it did it, and forestall it if its request is still on its way.

    By the step's key and not by its result, which nobody knows if the outcome is unknown.
    """
    return await post(service, path, {"order_id": order_id, "original": mg.original_key()}, Undone)


async def look_up(service: str, path: str, answer: type[T]) -> T:
    """What the step's own request was answered. None so far is no answer: `Unclear`."""
    return understood(await client.get(os.environ[service] + path, params={"key": mg.original_key()}), answer)


class Problem(msgspec.Struct):
    """The body of every answer above 399."""

    error: str
    message: str


def understood(response: httpx.Response, answer: type[T]) -> T:
    """The answer of a service that did what it was asked to; otherwise raises what the answer means."""
    try:
        if response.is_success:
            return msgspec.json.decode(response.content, type=answer)
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError as error:
        raise Unclear(f"{response.status_code}, and an answer nobody understands: {error}") from error
    if problem.error in REFUSALS:
        raise REFUSALS[problem.error](problem.message)
    if problem.error == "unavailable":
        raise Unavailable(problem.message)
    raise Unclear(f"{response.status_code} {problem.error}: {problem.message}")
