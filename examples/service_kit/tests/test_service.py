"""Idempotency and undoing, over HTTP, in this process."""

import asyncio

import httpx
import pytest
from service_kit.ledger import Ledger, read_effects
from service_kit.tests.marks import build
from starlette.types import Message

MARK = {"order_id": "order-1", "count": 2}
KEY_HEADER = (b"idempotency-key", b"key-1")
UNDO = {"order_id": "order-1", "original": "key-1"}


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def kinds(ledger: Ledger) -> list[tuple[str, int]]:
    return [(effect.kind, effect.amount) for effect in read_effects(ledger.path)]


def test_the_same_request_again_gets_the_first_answer(client: httpx.Client, ledger: Ledger) -> None:
    first = client.post("/marks", json=MARK, headers=key("key-1"))
    again = client.post("/marks", json=MARK, headers=key("key-1"))

    assert (first.status_code, first.json()) == (201, {"mark_id": 1})
    assert "Idempotent-Replay" not in first.headers
    assert (again.status_code, again.json()) == (201, {"mark_id": 1})
    assert again.headers["Idempotent-Replay"] == "true"
    assert kinds(ledger) == [("mark", 2)]


def test_the_same_body_written_differently_is_the_same_request(client: httpx.Client) -> None:
    client.post("/marks", content='{"order_id": "order-1", "count": 2}', headers=key("key-1"))
    again = client.post("/marks", content='{"count":2,"order_id":"order-1"}', headers=key("key-1"))

    assert again.headers["Idempotent-Replay"] == "true"


@pytest.mark.parametrize(("path", "body"), [("/marks", {**MARK, "count": 3}), ("/unmarks", UNDO)])
def test_a_key_is_good_for_one_request_only(
    client: httpx.Client, ledger: Ledger, path: str, body: dict[str, str | int]
) -> None:
    client.post("/marks", json=MARK, headers=key("key-1"))
    other = client.post(path, json=body, headers=key("key-1"))

    assert (other.status_code, other.json()["error"]) == (422, "key_reused")
    assert kinds(ledger) == [("mark", 2)]


def test_a_request_without_a_key_has_no_effect(client: httpx.Client, ledger: Ledger) -> None:
    answer = client.post("/marks", json=MARK)

    assert (answer.status_code, answer.json()["error"]) == (400, "key_missing")
    assert kinds(ledger) == []


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "{}",
        '{"order_id": "order-1", "count": 0}',
        '{"order_id": "1", "count": 1, "colour": "red"}',
    ],
)
def test_a_body_of_the_wrong_form_does_not_use_up_the_key(client: httpx.Client, body: str) -> None:
    wrong = client.post("/marks", content=body, headers=key("key-1"))
    right = client.post("/marks", json=MARK, headers=key("key-1"))

    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_request")
    assert right.status_code == 201


def test_a_refused_request_has_no_effect_and_is_refused_again(client: httpx.Client, ledger: Ledger) -> None:
    greedy = {**MARK, "count": 101}
    first = client.post("/marks", json=greedy, headers=key("key-1"))
    again = client.post("/marks", json=greedy, headers=key("key-1"))

    assert (first.status_code, first.json()["error"]) == (409, "too_many")
    assert (again.status_code, again.headers["Idempotent-Replay"]) == (409, "true")
    assert kinds(ledger) == []


def test_a_duplicate_is_turned_away_while_the_first_is_at_work(ledger: Ledger) -> None:
    async def scenario() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            reached.set()
            await go_on.wait()

        transport = httpx.ASGITransport(build(ledger, sleep=sleep))
        async with httpx.AsyncClient(transport=transport, base_url="http://marks") as client:
            plan = {"faults": [{"fault": "slow", "seconds": 1, "times": 1}]}
            await client.put("/faults", json=plan)
            first = asyncio.create_task(client.post("/marks", json=MARK, headers=key("key-1")))
            await reached.wait()
            duplicate = await client.post("/marks", json=MARK, headers=key("key-1"))
            probe = await client.get("/marks", params={"key": "key-1"})
            go_on.set()
            later = await first
            replay = await client.post("/marks", json=MARK, headers=key("key-1"))

        assert (duplicate.status_code, duplicate.json()["error"]) == (409, "in_progress")
        assert (probe.status_code, probe.json()["error"]) == (409, "in_progress")
        assert (later.status_code, replay.status_code) == (201, 201)
        assert kinds(ledger) == [("mark", 2)]

    asyncio.run(scenario())


def test_a_probe_finds_what_was_answered(client: httpx.Client) -> None:
    client.post("/marks", json=MARK, headers=key("key-1"))
    found = client.get("/marks", params={"key": "key-1"})

    assert (found.status_code, found.json()) == (200, {"mark_id": 1})


def test_a_probe_finds_nothing_where_nothing_was_done(client: httpx.Client) -> None:
    client.post("/marks", json={**MARK, "count": 101}, headers=key("refused"))
    client.post("/marks", json=MARK, headers=key("key-1"))

    def status(path: str, name: str) -> int:
        return client.get(path, params={"key": name}).status_code

    assert [status("/marks", "never"), status("/marks", "refused"), status("/unmarks", "key-1")] == [404] * 3
    assert client.get("/marks").status_code == 400


def test_what_was_done_is_undone_by_its_key(client: httpx.Client, ledger: Ledger) -> None:
    client.post("/marks", json=MARK, headers=key("key-1"))
    undone = client.post("/unmarks", json=UNDO, headers=key("undo-1"))

    assert (undone.status_code, undone.json()) == (200, {"result": "undone"})
    assert kinds(ledger) == [("mark", 2), ("unmark", 2)]


def test_undoing_under_two_keys_undoes_once(client: httpx.Client, ledger: Ledger) -> None:
    client.post("/marks", json=MARK, headers=key("key-1"))
    client.post("/unmarks", json=UNDO, headers=key("undo-1"))
    again = client.post("/unmarks", json=UNDO, headers=key("undo-2"))

    assert (again.status_code, again.json()) == (200, {"result": "already_undone"})
    assert kinds(ledger) == [("mark", 2), ("unmark", 2)]


def test_a_request_that_arrives_after_its_undo_is_refused(client: httpx.Client, ledger: Ledger) -> None:
    forestalled = client.post("/unmarks", json=UNDO, headers=key("undo-1"))
    late = client.post("/marks", json=MARK, headers=key("key-1"))

    assert forestalled.json() == {"result": "nothing_to_undo"}
    assert (late.status_code, late.json()["error"]) == (409, "already_undone")
    assert kinds(ledger) == [("unmark", 0)]


def test_a_slow_request_that_is_undone_meanwhile_is_refused(ledger: Ledger) -> None:
    async def scenario() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            reached.set()
            await go_on.wait()

        transport = httpx.ASGITransport(build(ledger, sleep=sleep))
        async with httpx.AsyncClient(transport=transport, base_url="http://marks") as client:
            plan = {"faults": [{"fault": "slow", "seconds": 1, "path": "/marks"}]}
            await client.put("/faults", json=plan)
            first = asyncio.create_task(client.post("/marks", json=MARK, headers=key("key-1")))
            await reached.wait()
            await client.post("/unmarks", json=UNDO, headers=key("undo-1"))
            go_on.set()
            assert (await first).json()["error"] == "already_undone"

        assert kinds(ledger) == [("unmark", 0)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "undo",
    [
        pytest.param({**UNDO, "order_id": "order-2"}, id="of another order"),
        pytest.param({**UNDO, "original": "undo-0"}, id="an undo itself"),
    ],
)
def test_only_the_orders_own_mark_can_be_undone(
    client: httpx.Client, ledger: Ledger, undo: dict[str, str]
) -> None:
    client.post("/marks", json=MARK, headers=key("key-1"))
    client.post("/unmarks", json={**UNDO, "original": "key-0"}, headers=key("undo-0"))
    wrong = client.post("/unmarks", json=undo, headers=key("undo-1"))

    assert (wrong.status_code, wrong.json()["error"]) == (422, "wrong_original")
    assert kinds(ledger) == [("mark", 2), ("unmark", 0)]


def test_a_client_that_dies_before_its_request_is_complete_is_no_incident(ledger: Ledger) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"order_id": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {"type": "http", "method": "POST", "path": "/marks", "query_string": b"", "headers": [KEY_HEADER]}

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        pass

    asyncio.run(build(ledger)(scope, receive, send))

    assert kinds(ledger) == []
