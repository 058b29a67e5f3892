"""Each fault, over HTTP, in this process; dropped connections are in test_processes.py."""

import httpx
import msgspec
import pytest
from service_kit import in_process
from service_kit.faults import (
    AnswerTwice,
    AnyFault,
    Decline,
    Down,
    EffectThenTimeout,
    FailBeforeEffect,
    FaultPlan,
    Faults,
    Slow,
)
from service_kit.ledger import Ledger, read_effects
from service_kit.tests.marks import build


def set_faults(client: httpx.Client, *faults: AnyFault, seed: int = 0) -> None:
    answer = client.put("/faults", content=msgspec.json.encode(FaultPlan(list(faults), seed)))
    assert answer.status_code == 200


def mark(client: httpx.Client, key: str, order_id: str = "order-1") -> httpx.Response:
    body = {"order_id": order_id, "count": 1}
    return client.post("/marks", json=body, headers={"Idempotency-Key": key})


def keys(ledger: Ledger) -> list[str]:
    return [effect.key for effect in read_effects(ledger.path)]


def test_a_declined_request_stays_declined(client: httpx.Client, ledger: Ledger) -> None:
    set_faults(client, Decline(times=1))
    answers = [mark(client, "key-1"), mark(client, "key-1"), mark(client, "key-2")]

    assert [answer.status_code for answer in answers] == [402, 402, 201]
    assert keys(ledger) == ["key-2"]


def test_an_undo_cannot_be_declined(client: httpx.Client) -> None:
    set_faults(client, Decline())
    body = {"order_id": "order-1", "original": "key-1"}
    answer = client.post("/unmarks", json=body, headers={"Idempotency-Key": "undo-1"})

    assert answer.status_code == 200


def test_a_service_that_is_down_does_nothing_and_recovers(client: httpx.Client, ledger: Ledger) -> None:
    set_faults(client, Down(times=2))
    answers = [mark(client, "key-1"), client.get("/marks", params={"key": "key-1"})]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert keys(ledger) == []
    assert mark(client, "key-1").status_code == 201


def test_a_failure_before_the_effect_does_nothing(client: httpx.Client, ledger: Ledger) -> None:
    set_faults(client, FailBeforeEffect(times=1))

    assert mark(client, "key-1").status_code == 500
    assert keys(ledger) == []
    assert mark(client, "key-1").status_code == 201


def test_a_slow_service_sleeps_before_the_effect(ledger: Ledger) -> None:
    seen: list[tuple[float, list[str]]] = []

    async def sleep(seconds: float) -> None:
        seen.append((seconds, keys(ledger)))

    client = in_process.client(build(ledger, sleep=sleep))
    set_faults(client, Slow(seconds=7))

    assert mark(client, "key-1").status_code == 201
    assert seen == [(7, [])]
    assert keys(ledger) == ["key-1"]


def test_a_timeout_after_the_effect_comes_when_the_effect_is_durable(ledger: Ledger) -> None:
    seen: list[tuple[float, list[str]]] = []

    async def sleep(seconds: float) -> None:
        seen.append((seconds, keys(ledger)))

    client = in_process.client(build(ledger, sleep=sleep))
    set_faults(client, EffectThenTimeout(seconds=30))
    mark(client, "key-1")

    assert seen == [(30, ["key-1"])]


def test_a_refused_request_has_no_effect_to_time_out_after(client: httpx.Client) -> None:
    set_faults(client, Decline(), EffectThenTimeout(seconds=30))

    assert mark(client, "key-1").status_code == 402
    assert client.get("/faults").json()["fired"] == [1, 0]


def test_a_request_delivered_twice_has_one_effect(client: httpx.Client, ledger: Ledger) -> None:
    set_faults(client, AnswerTwice())
    answer = mark(client, "key-1")

    assert (answer.status_code, answer.headers["Idempotent-Replay"]) == (201, "true")
    assert keys(ledger) == ["key-1"]


def test_a_fault_can_be_meant_for_one_order(client: httpx.Client) -> None:
    set_faults(client, Down(order_id="order-2"))

    assert mark(client, "key-1", "order-1").status_code == 201
    assert mark(client, "key-2", "order-2").status_code == 503


def test_a_fault_can_be_meant_for_one_path(client: httpx.Client) -> None:
    set_faults(client, Down(path="GET /marks"))

    assert mark(client, "key-1").status_code == 201
    assert client.get("/marks", params={"key": "key-1"}).status_code == 503


def test_the_plan_and_how_often_it_fired_can_be_read(client: httpx.Client) -> None:
    set_faults(client, Down(times=1), Slow(seconds=0, order_id="order-9"), seed=3)
    mark(client, "key-1")

    shown = client.get("/faults").json()
    assert (shown["seed"], shown["fired"]) == (3, [1, 0])
    assert [fault["fault"] for fault in shown["faults"]] == ["down", "slow"]


def test_a_new_plan_replaces_the_old_one(client: httpx.Client) -> None:
    set_faults(client, Down())
    set_faults(client)

    assert mark(client, "key-1").status_code == 201


@pytest.mark.parametrize(
    "fault",
    [{"fault": "flood"}, {"fault": "slow"}, {"fault": "down", "probability": 2}, {"fault": "down", "x": 1}],
)
def test_a_plan_that_cannot_be_understood_changes_nothing(
    client: httpx.Client, fault: dict[str, str | int]
) -> None:
    set_faults(client, Down())

    assert client.put("/faults", json={"faults": [fault]}).json()["error"] == "invalid_faults"
    assert mark(client, "key-1").status_code == 503


def strikes(seed: int, orders: list[str]) -> dict[str, bool]:
    faults = Faults(FaultPlan([Down(probability=0.3)], seed))
    return {order: faults.delivery("/marks", order).take(Down) is not None for order in orders}


def test_a_seed_repeats_its_faults_however_requests_arrive() -> None:
    orders = [f"order-{number}" for number in range(1000)]

    assert strikes(1, orders) == strikes(1, orders[::-1])
    assert strikes(1, orders) != strikes(2, orders)
    assert 250 < sum(strikes(1, orders).values()) < 350


def test_a_retry_is_a_new_throw_of_the_dice() -> None:
    faults = Faults(FaultPlan([Down(probability=0.5)]))

    assert {faults.delivery("/marks", "order-1").take(Down) is None for _ in range(50)} == {True, False}
