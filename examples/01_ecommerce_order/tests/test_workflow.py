"""The workflow against the four real services: what comes of an order, by journal and ledgers."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import calls
import httpx
import pytest
import workflow
from models import Confirmation, Order
from service_kit.faults import AnyFault, Decline, Down, EffectThenTimeout
from service_kit.processes import ServiceProcess, running
from stage.processes import SERVICES
from stage.telling import ledgers_text

import makegood as mg
from makegood.description import Description

COMPLETE = "charged 49.90, reserved 2, labelled, emailed"
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Outcome:
    """How an order ended: the run's status, the steps undone and missed, and what the services did."""

    status: str
    undone: list[str]
    missed: list[str]
    ledgers: str


@dataclass(frozen=True)
class Shop:
    """The running services, and an engine on ``store_url`` for each test."""

    services: dict[str, ServiceProcess]
    loop: asyncio.Runner
    store_url: str

    def order(self) -> Order:
        return Order(f"order-{next(NUMBERS)}", "4242", 4990, "lamp", 2, "1 Main Street", "ada@example.org")

    def fulfil(self, order: Order, faults: Mapping[str, Sequence[AnyFault]]) -> Outcome:
        """Run the order while the services have these faults."""
        for name in SERVICES:
            self.services[name].set_faults(*faults.get(name, ()))

        async def fulfil() -> Description:
            async with mg.Engine(self.store_url) as engine:
                run = await engine.start(workflow.fulfil_order, order, id=order.id)
                with suppress(mg.RunError):
                    await run.result()
                return await run.describe()

        told = self.loop.run(fulfil())
        return Outcome(told.status, told.undone, told.missed, self.ledgers(order))

    def submit(self, *orders: Order) -> list[Confirmation]:
        """Submit all these at the same time, to one engine, without any faults."""
        for service in self.services.values():
            service.set_faults()

        async def submit() -> list[Confirmation]:
            async with mg.Engine(self.store_url) as engine:
                runs = [engine.run(workflow.fulfil_order, order, id=order.id) for order in orders]
                return await asyncio.gather(*runs)

        return self.loop.run(submit())

    def ledgers(self, order: Order) -> str:
        return ledgers_text(self.services["payment"].ledger.parent, order.id)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop, as the workflow's HTTP client belongs to one."""
    with asyncio.Runner() as runner:
        yield runner
        runner.run(calls.client.aclose())


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServiceProcess]]:
    with running(
        {name: f"services.{name}:build" for name in SERVICES}, tmp_path_factory.mktemp("ledgers")
    ) as services:
        supply = {"order_id": "supply", "sku": "lamp", "quantity": 1000}
        url = f"{services['inventory'].url}/deliveries"
        httpx.post(url, json=supply, headers={"Idempotency-Key": "supply"}).raise_for_status()
        yield services


@pytest.fixture(params=["memory", "sqlite"])
def shop(
    services: dict[str, ServiceProcess],
    loop: asyncio.Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Shop:
    for name, service in services.items():
        monkeypatch.setenv(f"{name.upper()}_URL", service.url)
    monkeypatch.setattr(workflow.PATIENT, "delays", (0, 0, 0, 0))
    monkeypatch.setattr(workflow.HASTY, "delays", (0, 0, 0))
    monkeypatch.setattr(workflow.PERSISTENT, "initial", 0.01)
    return Shop(
        services, loop, "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'orders.db'}"
    )


def no_answer(path: str, times: int | None = None) -> Sequence[AnyFault]:
    """The effect happens, and the connection is dropped before the answer."""
    return [EffectThenTimeout(path=path, times=times, close=True)]


def test_an_order_goes_through(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {}) == Outcome("COMPLETED", [], [], COMPLETE)


def test_the_customer_gets_the_label_s_tracking_number(shop: Shop) -> None:
    order = shop.order()
    [confirmation] = shop.submit(order)

    assert confirmation.order_id == order.id
    assert confirmation.tracking.startswith("MG")


def test_a_declined_card_ends_the_order_before_anything_was_done(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"payment": [Decline()]}) == Outcome("FAILED", [], [], "nothing")


def test_out_of_stock_refunds_the_charge(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"inventory": [Decline()]}) == Outcome(
        "COMPENSATED", ["charge_payment"], [], "charged 49.90, refunded 49.90"
    )


def test_a_refused_address_releases_the_stock_then_refunds_the_charge(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"shipping": [Decline()]}) == Outcome(
        "COMPENSATED",
        ["reserve_stock", "charge_payment"],
        [],
        "charged 49.90, reserved 2, released 2, refunded 49.90",
    )


@pytest.mark.parametrize("fault", [Down(), Decline()], ids=["down", "no mailbox"])
def test_a_missed_email_leaves_the_order_standing(shop: Shop, fault: AnyFault) -> None:
    assert shop.fulfil(shop.order(), {"email": [fault]}) == Outcome(
        "COMPLETED", [], ["send_confirmation"], "charged 49.90, reserved 2, labelled"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_recovers_is_asked_again(shop: Shop, service: str) -> None:
    faults: list[AnyFault] = [Down(times=1), Down(times=1, close=True)]

    assert shop.fulfil(shop.order(), {service: faults}) == Outcome("COMPLETED", [], [], COMPLETE)


@pytest.mark.parametrize("service", ["payment", "inventory", "shipping"])
def test_a_service_that_stays_down_undoes_what_went_before(shop: Shop, service: str) -> None:
    before = {
        "payment": "nothing",
        "inventory": "charged 49.90, refunded 49.90",
        "shipping": "charged 49.90, reserved 2, released 2, refunded 49.90",
    }

    assert shop.fulfil(shop.order(), {service: [Down()]}).ledgers == before[service]


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("payment", "/charges"),
        ("inventory", "/reservations"),
        ("shipping", "/labels"),
        ("email", "/emails"),
    ],
)
def test_a_lost_answer_is_asked_for_again_and_nothing_happens_twice(
    shop: Shop, service: str, path: str
) -> None:
    faults = {service: no_answer(path, times=1)}

    assert shop.fulfil(shop.order(), faults) == Outcome("COMPLETED", [], [], COMPLETE)


def test_a_charge_that_never_answers_is_found_by_the_probe(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"payment": no_answer("/charges")}).ledgers == COMPLETE


def test_a_charge_that_nobody_can_find_is_refunded(shop: Shop) -> None:
    payment = [*no_answer("/charges"), Down(path="GET /charges")]

    assert shop.fulfil(shop.order(), {"payment": payment}) == Outcome(
        "COMPENSATED", ["charge_payment"], [], "charged 49.90, refunded 49.90"
    )


def test_a_charge_that_may_have_happened_and_did_not_is_forestalled(shop: Shop) -> None:
    payment: list[AnyFault] = [Down(path="/charges", close=True)]

    assert shop.fulfil(shop.order(), {"payment": payment}) == Outcome(
        "COMPENSATED", ["charge_payment"], [], "refunded 0.00"
    )


def test_a_reservation_that_never_answers_is_released(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"inventory": no_answer("/reservations")}) == Outcome(
        "COMPENSATED",
        ["reserve_stock", "charge_payment"],
        [],
        "charged 49.90, reserved 2, released 2, refunded 49.90",
    )


def test_a_label_that_never_answers_is_cancelled(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"shipping": no_answer("/labels")}) == Outcome(
        "COMPENSATED",
        ["create_label", "reserve_stock", "charge_payment"],
        [],
        "charged 49.90, reserved 2, labelled, label cancelled, released 2, refunded 49.90",
    )


def test_an_email_that_never_answers_is_listed_as_missed_although_it_was_sent(shop: Shop) -> None:
    assert shop.fulfil(shop.order(), {"email": no_answer("/emails")}) == Outcome(
        "COMPLETED", [], ["send_confirmation"], COMPLETE
    )


def test_a_refund_whose_answer_is_lost_pays_back_once(shop: Shop) -> None:
    faults = {
        "shipping": [Decline()],
        "payment": no_answer("/refunds", times=2),
        "inventory": [Down(times=3, path="/releases")],
    }

    assert (
        shop.fulfil(shop.order(), faults).ledgers == "charged 49.90, reserved 2, released 2, refunded 49.90"
    )


def test_the_same_order_twice_is_one_order(shop: Shop) -> None:
    order = shop.order()
    first, second = shop.submit(order, order)

    assert first == second
    assert shop.ledgers(order) == COMPLETE


def problem(status: int, error: str) -> httpx.Response:
    return httpx.Response(status, json={"error": error, "message": "…"})


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        (problem(409, "out_of_stock"), calls.OutOfStock),
        (problem(402, "card_declined"), calls.CardDeclined),
        (problem(422, "address_refused"), calls.AddressRefused),
        (problem(422, "address_unknown"), calls.MailboxUnknown),
        (problem(503, "unavailable"), calls.Unavailable),
        (problem(409, "in_progress"), calls.Unclear),
        (problem(409, "already_undone"), calls.Unclear),
        (problem(500, "internal_error"), calls.Unclear),
        (httpx.Response(502, text="<h1>Bad gateway</h1>"), calls.Unclear),
        (httpx.Response(201, text="<h1>Welcome</h1>"), calls.Unclear),
        (httpx.Response(201, json={"result": 7}), calls.Unclear),
        (httpx.Response(302, json={}), calls.Unclear),
    ],
)
def test_an_answer_means_one_thing(response: httpx.Response, meaning: type[Exception]) -> None:
    with pytest.raises(meaning):
        calls.understood(response, calls.Undone)
