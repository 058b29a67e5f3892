"""An order, from the card to the parcel: every step done, or everything that was done made good.

charge_payment ──▶ reserve_stock ──▶ create_label ──▶ send_confirmation (best effort)
      │                  │                 │
refund_payment ◀── release_stock ◀── cancel_label
"""

from calls import (
    EMAIL,
    INVENTORY,
    NO_CLEAR_ANSWER,
    PAYMENT,
    SHIPPING,
    AddressRefused,
    CardDeclined,
    MailboxUnknown,
    OutOfStock,
    look_up,
    post,
    undo,
)
from models import Confirmation, Label, Order, Receipt, Reservation, Sent

import makegood as mg

# A tenth of the usual [0, 1, 5, 30] seconds: who watches the demo wants to see how it ends.
PATIENT = mg.Retry(delays=[0, 0.1, 0.5, 3])
HASTY = mg.Retry(delays=[0, 0.1, 0.5])
# What was done has to be undone, also after a long outage. After six minutes the run parks: a person decides.
PERSISTENT = mg.Retry(max_attempts=75, initial=0.1, factor=2, maximum=5, jitter=0.2)


@mg.workflow
async def fulfil_order(order: Order) -> Confirmation:
    await charge_payment(order)
    await reserve_stock(order)
    label = await create_label(order)
    await send_confirmation(order, label)
    return Confirmation(order.id, label.tracking)


@mg.step(retry=PATIENT, timeout=2, fatal=(CardDeclined,), unknown=NO_CLEAR_ANSWER)
async def charge_payment(order: Order) -> Receipt:
    charge = {"order_id": order.id, "card": order.card, "amount_cents": order.total_cents}
    return await post(PAYMENT, "/charges", charge, Receipt)


@charge_payment.compensation(retry=PERSISTENT, timeout=2)
async def refund_payment(_receipt: Receipt | None, order: Order) -> None:
    await undo(PAYMENT, "/refunds", order.id)


@charge_payment.probe
async def find_charge(order: Order) -> Receipt:
    # A charge that is found ends the doubt. None found does not: the request may still be on its way, and be
    # carried out after this look; nobody would ever refund it. So this never answers mg.NotDone(), it raises:
    # the charge is asked for again under its key, and if all fails, undone under its key. Both are safe.
    return await look_up(PAYMENT, "/charges", Receipt)


@mg.step(retry=PATIENT, timeout=2, fatal=(OutOfStock,), unknown=NO_CLEAR_ANSWER)
async def reserve_stock(order: Order) -> Reservation:
    goods = {"order_id": order.id, "sku": order.sku, "quantity": order.quantity}
    return await post(INVENTORY, "/reservations", goods, Reservation)


@reserve_stock.compensation(retry=PERSISTENT, timeout=2)
async def release_stock(_reservation: Reservation | None, order: Order) -> None:
    await undo(INVENTORY, "/releases", order.id)


@mg.step(retry=HASTY, timeout=1, fatal=(AddressRefused,), unknown=NO_CLEAR_ANSWER)
async def create_label(order: Order) -> Label:
    return await post(SHIPPING, "/labels", {"order_id": order.id, "address": order.address}, Label)


@create_label.compensation(retry=PERSISTENT, timeout=2)
async def cancel_label(_label: Label | None, order: Order) -> None:
    await undo(SHIPPING, "/cancellations", order.id)


@mg.step(critical=False, retry=HASTY, timeout=2, fatal=(MailboxUnknown,), unknown=NO_CLEAR_ANSWER)
async def send_confirmation(order: Order, label: Label) -> Sent:
    subject = f"Order {order.id} is on its way: {label.tracking}"
    return await post(EMAIL, "/emails", {"order_id": order.id, "to": order.email, "subject": subject}, Sent)
