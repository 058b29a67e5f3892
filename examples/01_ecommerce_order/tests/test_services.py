"""What each participant promises. What they share is tested in service_kit/tests."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from service_kit.faults import AnswerTwice, Decline, EffectThenTimeout
from service_kit.ledger import read_effects
from service_kit.processes import running
from tests.shop import Shop

SERVICES = {name: f"services.{name}:build" for name in ("payment", "inventory", "shipping", "email")}
CHARGE = {"order_id": "order-1", "card": "4242", "amount_cents": 1000}


def test_an_order_goes_through_all_four(shop: Shop) -> None:
    shop.deliver("lamp", 5)
    shop.complete("order-1", cents=1999)

    assert shop.effects("payment") == [("charge", "order-1", 1999)]
    assert shop.effects("inventory") == [("delivery", "supply-1", 5), ("reservation", "order-1", 1)]
    assert shop.effects("shipping") == [("label", "order-1", 1)]
    assert shop.effects("email") == [("email", "order-1", 1)]


def test_a_refund_pays_back_what_was_charged(shop: Shop) -> None:
    shop.charge("order-1", 1999)

    assert shop.refund("order-1").json() == {"result": "undone", "amount_cents": 1999}
    assert shop.effects("payment") == [("charge", "order-1", 1999), ("refund", "order-1", 1999)]


def test_a_second_refund_under_another_key_pays_nothing(shop: Shop) -> None:
    shop.charge("order-1", 1999)
    shop.refund("order-1")

    assert shop.refund("order-1", key="again").json()["result"] == "already_undone"
    assert shop.effects("payment") == [("charge", "order-1", 1999), ("refund", "order-1", 1999)]


def test_a_charge_that_arrives_after_its_refund_is_refused(shop: Shop) -> None:
    assert shop.refund("order-1").json() == {"result": "nothing_to_undo", "amount_cents": 0}

    late = shop.charge("order-1")
    assert (late.status_code, late.json()["error"]) == (409, "already_undone")
    assert shop.effects("payment") == [("refund", "order-1", 0)]


def test_a_probe_finds_a_charge_by_its_key(shop: Shop) -> None:
    charged = shop.charge("order-1")

    payment = shop.clients["payment"]

    assert payment.get("/charges", params={"key": "order-1/charges"}).json() == charged.json()
    assert payment.get("/charges", params={"key": "order-2/charges"}).status_code == 404


@pytest.mark.parametrize("cents", [0, -5, 9.99, "10"])
def test_an_amount_is_a_positive_number_of_cents(shop: Shop, cents: float | str) -> None:
    answer = shop.clients["payment"].post(
        "/charges", json={**CHARGE, "amount_cents": cents}, headers={"Idempotency-Key": "key-1"}
    )

    assert answer.status_code == 400
    assert shop.effects("payment") == []


def test_a_reservation_takes_stock_and_a_release_puts_it_back(shop: Shop) -> None:
    shop.deliver("lamp", 5)
    shop.reserve("order-1", quantity=3)
    assert shop.stock() == {"lamp": 2}

    shop.release("order-1")
    shop.release("order-1", key="again")
    assert shop.stock() == {"lamp": 5}


def test_stock_never_goes_below_zero(shop: Shop) -> None:
    shop.deliver("lamp", 5)
    answers = [shop.reserve("order-1", quantity=3), shop.reserve("order-2", quantity=3)]

    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[1].json()["error"] == "out_of_stock"
    assert shop.stock() == {"lamp": 2}


def test_goods_never_delivered_are_out_of_stock(shop: Shop) -> None:
    assert shop.reserve("order-1", sku="unicorn").json()["error"] == "out_of_stock"
    assert shop.stock() == {}


def test_a_reservation_that_arrives_after_its_release_takes_no_stock(shop: Shop) -> None:
    shop.deliver("lamp", 5)

    assert shop.release("order-1").json()["result"] == "nothing_to_undo"
    assert shop.reserve("order-1").json()["error"] == "already_undone"
    assert shop.stock() == {"lamp": 5}


def test_a_cancelled_label_is_cancelled_once(shop: Shop) -> None:
    assert shop.label("order-1").json()["tracking"] == "MG00000001"

    answers = [shop.cancel("order-1"), shop.cancel("order-1")]
    assert [answer.json()["result"] for answer in answers] == ["undone", "undone"]
    assert "Idempotent-Replay" in answers[1].headers
    assert shop.effects("shipping") == [("label", "order-1", 1), ("cancellation", "order-1", 1)]


def test_a_label_that_is_ordered_after_its_cancellation_is_refused(shop: Shop) -> None:
    assert shop.cancel("order-1").json()["result"] == "nothing_to_undo"
    assert shop.label("order-1").json()["error"] == "already_undone"


@pytest.mark.parametrize(
    ("service", "path", "status", "error"),
    [
        ("payment", "/charges", 402, "card_declined"),
        ("inventory", "/reservations", 409, "out_of_stock"),
        ("shipping", "/labels", 422, "address_refused"),
        ("email", "/emails", 422, "address_unknown"),
    ],
)
def test_each_service_declines_in_its_own_words(
    shop: Shop, service: str, path: str, status: int, error: str
) -> None:
    shop.deliver("lamp", 1)
    shop.clients[service].put("/faults", json={"faults": [{"fault": "decline", "path": path}]})
    answers = [shop.charge("order-1"), shop.reserve("order-1"), shop.label("order-1"), shop.email("order-1")]
    declined = [(answer.status_code, answer.json()["error"]) for answer in answers if answer.is_error]

    assert declined == [(status, error)]


def test_one_charge_however_many_send_it_at_once(tmp_path: Path) -> None:
    with running({"payment": SERVICES["payment"]}, tmp_path) as services, httpx.Client() as client:
        payment = services["payment"]
        payment.set_faults(AnswerTwice(probability=0.5))

        def charge(_: int) -> int:
            headers = {"Idempotency-Key": "order-1/charge"}
            return client.post(f"{payment.url}/charges", json=CHARGE, headers=headers).status_code

        with ThreadPoolExecutor(8) as senders:
            statuses = set(senders.map(charge, range(200)))

        assert statuses == {201}
        assert [effect.kind for effect in read_effects(payment.ledger)] == ["charge"]


def test_an_order_whose_label_timed_out_is_undone_to_the_cent(tmp_path: Path) -> None:
    """The whole rollback by hand, on real processes: the label was made although nobody was told."""
    with running(SERVICES, tmp_path) as services:

        def post(service: str, path: str, **body: str | int) -> httpx.Response:
            headers = {"Idempotency-Key": f"order-1{path}"}
            url = services[service].url + path
            return httpx.post(url, json={"order_id": "order-1", **body}, headers=headers, timeout=5)

        post("inventory", "/deliveries", sku="lamp", quantity=2)
        post("payment", "/charges", card="4242", amount_cents=1000)
        post("inventory", "/reservations", sku="lamp", quantity=2)
        services["shipping"].set_faults(EffectThenTimeout(close=True))
        with pytest.raises(httpx.RemoteProtocolError):
            post("shipping", "/labels", address="1 Main Street")
        services["shipping"].set_faults()
        undone = [
            post("shipping", "/cancellations", original="order-1/labels"),
            post("inventory", "/releases", original="order-1/reservations"),
            post("payment", "/refunds", original="order-1/charges"),
        ]

        assert [answer.json()["result"] for answer in undone] == ["undone"] * 3
        assert httpx.get(services["inventory"].url + "/stock").json() == {"lamp": 2}
        assert httpx.get(services["payment"].url + "/faults").json()["faults"] == []


def test_a_crash_between_charge_and_answer_leaves_no_charge(tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "order-1/charges"}
    with running({"payment": "tests.dying_payment:build"}, tmp_path) as services:
        url = services["payment"].url
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/charges", json=CHARGE, headers=headers)

    with running({"payment": SERVICES["payment"]}, tmp_path) as services:
        payment = services["payment"]
        assert read_effects(payment.ledger) == []
        answer = httpx.post(f"{payment.url}/charges", json=CHARGE, headers=headers)
        assert (answer.status_code, "Idempotent-Replay" in answer.headers) == (201, False)


def test_a_declined_card_stays_declined_after_a_restart(tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "order-1/charges"}
    with running({"payment": SERVICES["payment"]}, tmp_path) as services:
        payment = services["payment"]
        payment.set_faults(Decline())
        first = httpx.post(f"{payment.url}/charges", json=CHARGE, headers=headers)
        payment.restart()  # which also ends its faults
        again = httpx.post(f"{payment.url}/charges", json=CHARGE, headers=headers)

    assert (first.status_code, again.status_code) == (402, 402)
