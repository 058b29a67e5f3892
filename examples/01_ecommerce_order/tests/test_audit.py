"""The audit finds what is planted, names it, and finds nothing else."""

import io
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from audit import Audit, Submitted, audit
from rich.console import Console
from tests.shop import Shop


def order(name: str, cents: int = 1000) -> Submitted:
    return Submitted(name, cents, "lamp", 1)


@pytest.fixture
def shop_with_lamps(shop: Shop) -> Shop:
    shop.deliver("lamp", 100)
    return shop


def judge(shop: Shop, *names: str) -> Audit:
    return audit(shop.directory, [order(name) for name in names])


def test_an_order_that_went_through_is_completed(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1")

    result = judge(shop_with_lamps, "order-1")
    assert (result.completed, result.violations) == (["order-1"], [])


def test_an_order_that_was_undone_is_compensated(shop_with_lamps: Shop) -> None:
    shop = shop_with_lamps
    shop.charge("order-1")
    shop.reserve("order-1")
    shop.label("order-1")
    shop.cancel("order-1")
    shop.release("order-1")
    shop.refund("order-1")

    result = judge(shop, "order-1")
    assert (result.compensated, result.violations) == (["order-1"], [])


def test_an_order_that_nothing_was_done_for_is_rejected(shop_with_lamps: Shop) -> None:
    shop_with_lamps.refund("order-2")  # of a charge that never arrived

    result = judge(shop_with_lamps, "order-1", "order-2")
    assert (result.rejected, result.violations) == (["order-1", "order-2"], [])


def test_a_missed_email_is_told_but_allowed(shop_with_lamps: Shop) -> None:
    shop = shop_with_lamps
    shop.charge("order-1")
    shop.reserve("order-1")
    shop.label("order-1")

    result = judge(shop, "order-1")
    assert (result.completed, result.missed_emails, result.violations) == (["order-1"], ["order-1"], [])


def test_a_double_charge_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1")
    shop_with_lamps.charge("order-1", key="another key")

    result = judge(shop_with_lamps, "order-1")
    assert result.double_charges == ["order-1"]
    assert result.violations == ["order-1: more than one charge", "order-1: paid +1000 cents off"]


def test_a_double_charge_is_found_even_if_one_was_refunded(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")
    shop_with_lamps.refund("order-1")
    shop_with_lamps.charge("order-1", key="another key")
    shop_with_lamps.reserve("order-1")
    shop_with_lamps.label("order-1")

    assert judge(shop_with_lamps, "order-1").violations == ["order-1: more than one charge"]


def test_a_charge_without_shipment_or_refund_is_lost(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")

    result = judge(shop_with_lamps, "order-1")
    assert result.lost == ["order-1"]
    assert result.violations == ["order-1: neither complete nor undone", "order-1: paid +1000 cents off"]


def test_a_reservation_nobody_released_is_lost(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")
    shop_with_lamps.reserve("order-1")
    shop_with_lamps.refund("order-1")

    result = judge(shop_with_lamps, "order-1")
    assert result.violations == ["order-1: neither complete nor undone", "lamp: +1 pieces missing in stock"]


def test_a_label_nobody_cancelled_is_lost(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")
    shop_with_lamps.label("order-1")
    shop_with_lamps.refund("order-1")

    assert judge(shop_with_lamps, "order-1").violations == ["order-1: neither complete nor undone"]


def test_a_refunded_order_that_ships_all_the_same_is_lost(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1")
    shop_with_lamps.refund("order-1")

    assert judge(shop_with_lamps, "order-1").lost == ["order-1"]


@pytest.mark.parametrize("cents", [999, 1001])
def test_a_sum_that_is_one_cent_off_is_found(shop_with_lamps: Shop, cents: int) -> None:
    shop_with_lamps.complete("order-1", cents)
    shop_with_lamps.complete("order-2")

    result = judge(shop_with_lamps, "order-1", "order-2")
    assert result.money_off == {"order-1": cents - 1000}
    assert result.violations == [f"order-1: paid {cents - 1000:+} cents off"]


def test_errors_that_cancel_out_are_both_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1", 999)
    shop_with_lamps.complete("order-2", 1001)

    assert judge(shop_with_lamps, "order-1", "order-2").money_off == {"order-1": -1, "order-2": 1}


def test_a_refund_of_another_amount_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")
    shop_with_lamps.ledgers["payment"].record(
        "refund", "order-1/refunds", "order-1", 900, original="order-1/charges"
    )

    assert judge(shop_with_lamps, "order-1").violations == ["order-1: paid +100 cents off"]


def test_stock_that_vanished_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.ledgers["inventory"].connection.execute("UPDATE stock SET available = available - 3")

    assert judge(shop_with_lamps).violations == ["lamp: +3 pieces missing in stock"]


def test_a_reservation_of_another_quantity_is_found(shop_with_lamps: Shop) -> None:
    shop = shop_with_lamps
    shop.charge("order-1")
    shop.reserve("order-1", quantity=2)
    shop.label("order-1")

    assert judge(shop, "order-1").violations == ["lamp: +1 pieces missing in stock"]


def test_a_second_label_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1")
    shop_with_lamps.ledgers["shipping"].record("label", "another key", "order-1", 1)

    result = judge(shop_with_lamps, "order-1")
    assert (result.double_charges, result.violations) == ([], ["order-1: more than one label"])


def test_an_order_nobody_submitted_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("stranger")

    result = judge(shop_with_lamps)
    assert result.violations == [
        "stranger: paid +1000 cents off",
        "stranger: never submitted, but something was done",
    ]


def test_a_confirmation_of_an_order_that_was_undone_is_found(shop_with_lamps: Shop) -> None:
    shop_with_lamps.charge("order-1")
    shop_with_lamps.email("order-1")
    shop_with_lamps.refund("order-1")

    assert judge(shop_with_lamps, "order-1").violations == ["order-1: confirmed by email, but not complete"]


def test_the_table_shows_the_figures(shop_with_lamps: Shop) -> None:
    shop_with_lamps.complete("order-1")
    shop_with_lamps.charge("order-2", 250)
    output = io.StringIO()
    Console(file=output, width=80).print(judge(shop_with_lamps, "order-1", "order-2").as_table())
    rows = [[cell.strip() for cell in line.split("│")] for line in output.getvalue().splitlines()]
    shown = {row[1]: row[2:4] for row in rows if len(row) == 5}

    assert shown["orders"] == ["2", ""]
    assert shown["double charges"] == ["0", "✓"]
    assert shown["lost"] == ["1", "✗"]
    assert shown["cents that do not add up"] == ["250", "✗"]


@pytest.mark.parametrize(("cents", "status"), [(1000, 0), (999, 1)])
def test_the_command_fails_when_something_does_not_add_up(
    shop_with_lamps: Shop, tmp_path: Path, cents: int, status: int
) -> None:
    shop_with_lamps.complete("order-1", cents)
    (tmp_path / "orders.json").write_bytes(msgspec.json.encode([order("order-1")]))
    command = [sys.executable, "audit.py", str(tmp_path), str(tmp_path / "orders.json"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == status
    result = json.loads(done.stdout)
    assert (result["orders"], result["completed"], len(result["violations"])) == (1, ["order-1"], status)
