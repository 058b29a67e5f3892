"""Operations as an HTTP service that honours the ``Idempotency-Key`` header and has faults on demand.

The first answer to a key is kept and replayed (``Idempotent-Replay: true``) to every later request with it:

| request | answer |
|---|---|
| no key, or a body of the wrong form | 400, not kept |
| a key whose first request is still at work | 409 ``in_progress``, not kept: ask again |
| a known key with another body or path | 422 ``key_reused``, not kept |
| a key that was undone before it arrived | 409 ``already_undone`` |
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service_kit.faults import (
    AnswerTwice,
    Decline,
    Delivery,
    Down,
    EffectThenTimeout,
    FailBeforeEffect,
    FaultPlan,
    Faults,
    Slow,
)
from service_kit.ledger import Ledger, StoredAnswer
from service_kit.operations import Answer, Operation, OrderRequest, Refused, error

Sleep = Callable[[float], Awaitable[object]]

DOWN = error(503, "unavailable", "The service is down. Try again later.")
FAILED = error(500, "internal_error", "The service failed before it did anything.")
NO_KEY = error(400, "key_missing", "Name the request with an Idempotency-Key header.")
NO_LOOKUP_KEY = error(400, "key_missing", "Name the request to look up: ?key=…")
IN_PROGRESS = error(409, "in_progress", "A request with this key is still at work. Ask again.")
HALF_A_REQUEST = error(400, "incomplete_request", "The connection ended before the request did.")
KEY_REUSED = error(422, "key_reused", "This key was used for another request before.")
ALREADY_UNDONE = error(409, "already_undone", "This request was undone before it arrived.")
UNKNOWN_KEY = error(404, "not_found", "No request with this key had an effect.")


def serve(
    ledger: Ledger,
    operations: Sequence[Operation],
    routes: Sequence[Route] = (),
    sleep: Sleep = asyncio.sleep,
) -> Starlette:
    """The application with these operations, ``GET`` and ``PUT /faults``, and further ``routes``."""
    service = Service(ledger, sleep)
    for operation in operations:
        service.add(operation)
    return Starlette(routes=[*service.routes, *routes])


class Service:
    """Deliveries of requests to operations; the ledger holds all state that must survive."""

    def __init__(self, ledger: Ledger, sleep: Sleep) -> None:
        self.routes = [
            Route("/faults", self.show_faults, methods=["GET"]),
            Route("/faults", self.change_faults, methods=["PUT"]),
        ]
        self._ledger = ledger
        self._sleep = sleep
        self._faults = Faults()
        self._in_progress: set[str] = set()

    def add(self, operation: Operation) -> None:
        async def post(http: Request) -> Response:
            return await self._post(operation, http)

        async def look_up(http: Request) -> Response:
            return self._look_up(operation, http)

        self.routes.append(Route(operation.path, post, methods=["POST"]))
        self.routes.append(Route(operation.path, look_up, methods=["GET"]))

    async def show_faults(self, _: Request) -> Response:
        return JSONResponse({**msgspec.to_builtins(self._faults.plan), "fired": self._faults.fired})

    async def change_faults(self, http: Request) -> Response:
        try:
            plan = msgspec.json.decode(await http.body(), type=FaultPlan)
        except msgspec.DecodeError as problem:
            return respond(error(400, "invalid_faults", str(problem)))
        self._faults = Faults(plan)
        return await self.show_faults(http)

    def _look_up(self, operation: Operation, http: Request) -> Response:
        """Answers a probe. Only a 404 says that nothing happened *so far*."""
        delivery = self._faults.delivery(f"GET {operation.path}", "")
        if down := delivery.take(Down):
            return Hangup() if down.close else respond(DOWN)
        key = http.query_params.get("key")
        if not key:
            return respond(NO_LOOKUP_KEY)
        if key in self._in_progress:
            return respond(IN_PROGRESS)
        stored = self._ledger.answer(key)
        if stored is None or stored.path != operation.path or stored.status >= 400:
            return respond(UNKNOWN_KEY)
        return as_stored(stored, status=200)

    async def _post(self, operation: Operation, http: Request) -> Response:
        key = http.headers.get("Idempotency-Key")
        if not key:
            return respond(NO_KEY)
        try:
            request = msgspec.json.decode(await http.body(), type=operation.request_type)
        except msgspec.DecodeError as problem:
            return respond(error(400, "invalid_request", str(problem)))
        except ClientDisconnect:
            return respond(HALF_A_REQUEST)
        return await self._deliver(operation, key, request)

    async def _deliver(self, operation: Operation, key: str, request: OrderRequest) -> Response:
        delivery = self._faults.delivery(operation.path, request.order_id)
        if down := delivery.take(Down):
            return Hangup() if down.close else respond(DOWN)
        if delivery.take(FailBeforeEffect):
            return respond(FAILED)
        if key in self._in_progress:
            return respond(IN_PROGRESS)
        response = await self._handle(operation, key, request, delivery)
        if response.status_code < 400 and (late := delivery.take(EffectThenTimeout)):
            if late.close:
                return Hangup()
            await self._sleep(late.seconds)
        return response

    async def _handle(
        self, operation: Operation, key: str, request: OrderRequest, delivery: Delivery
    ) -> Response:
        self._in_progress.add(key)
        try:
            if slow := delivery.take(Slow):
                await self._sleep(slow.seconds)
            response = self._answer(operation, key, request, delivery)
            if delivery.take(AnswerTwice):
                response = self._answer(operation, key, request, delivery)
            return response
        finally:
            self._in_progress.discard(key)

    def _answer(self, operation: Operation, key: str, request: OrderRequest, delivery: Delivery) -> Response:
        """The stored answer; without one, the effect and its answer, both durable on return.

        Synchronous on purpose: one effect after the other, as the file's disk can only do them anyway.
        """
        asked = msgspec.json.encode(request).decode()
        with self._ledger.transaction():
            stored = self._ledger.answer(key)
            if stored is not None:
                if (stored.path, stored.request) != (operation.path, asked):
                    return respond(KEY_REUSED)
                return as_stored(stored, replay=True)
            answer = self._perform(operation, key, request, delivery)
            body = msgspec.json.encode(answer.body).decode()
            stored = StoredAnswer(operation.path, asked, answer.status, body)
            self._ledger.keep_answer(key, stored)
        return as_stored(stored)

    def _perform(self, operation: Operation, key: str, request: OrderRequest, delivery: Delivery) -> Answer:
        if self._ledger.undo_of(key) is not None:
            return ALREADY_UNDONE
        if operation.declined is not None and delivery.take(Decline):
            return operation.declined
        try:
            with self._ledger.transaction():  # a savepoint: a refusal leaves nothing behind
                return operation.perform(self._ledger, key, request)
        except Refused as refused:
            return refused.answer


class Hangup(Response):
    """No answer: the connection is dropped (under `service_kit.run`, which says how)."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        scope["state"]["hang_up"]()
        while (await receive())["type"] != "http.disconnect":
            pass  # returning before it would be reported as a missing response


def respond(answer: Answer) -> Response:
    return JSONResponse(answer.body, answer.status)


def as_stored(stored: StoredAnswer, *, status: int | None = None, replay: bool = False) -> Response:
    headers = {"Idempotent-Replay": "true"} if replay else {}
    return Response(stored.body, status or stored.status, headers, "application/json")
