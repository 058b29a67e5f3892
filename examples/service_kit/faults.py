"""Faults that a service can be told to have (``PUT /faults``), and when each of them strikes.

Whether a fault strikes depends on the plan's seed and on the delivery (the path, the order, how often the
order has called there), never on how concurrent requests happen to arrive: a plan can be repeated.
"""

import random
from collections import Counter
from typing import Annotated, TypeVar

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """Strikes with ``probability``, at most ``times``; if so limited, only one order or one path.

    The path of a lookup is, for example, ``GET /charges``, and its order is unknown.
    """

    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None
    order_id: str | None = None
    path: str | None = None


class Decline(Fault, tag="decline"):
    """The business says no: card declined, out of stock, address refused."""


class Down(Fault, tag="down"):
    """Nothing happens; the answer is 503, or with ``close`` the connection is dropped."""

    close: bool = False


class FailBeforeEffect(Fault, tag="fail_before_effect"):
    """Nothing happens; the answer is 500."""


class Slow(Fault, tag="slow"):
    """The effect comes ``seconds`` late, and so does the answer, whether or not the client still waits."""

    seconds: Seconds


class EffectThenTimeout(Fault, tag="effect_then_timeout"):
    """The effect happens; the answer comes after ``seconds``, or with ``close`` the connection is dropped."""

    seconds: Seconds = 60.0
    close: bool = False


class AnswerTwice(Fault, tag="answer_twice"):
    """The network delivers the request twice, and the service handles it twice."""


AnyFault = Decline | Down | FailBeforeEffect | Slow | EffectThenTimeout | AnswerTwice
F = TypeVar("F", bound=Fault)


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /faults``: it replaces the plan before it."""

    faults: list[AnyFault] = []
    seed: int = 0


class Faults:
    """A plan at work."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self.plan = plan or FaultPlan()
        self.fired = [0] * len(self.plan.faults)
        self._deliveries: Counter[tuple[str, str]] = Counter()

    def delivery(self, path: str, order_id: str) -> "Delivery":
        """One request's arrival."""
        self._deliveries[path, order_id] += 1
        return Delivery(self, path, order_id, self._deliveries[path, order_id])


class Delivery:
    """One request, and the faults that may strike it."""

    def __init__(self, faults: Faults, path: str, order_id: str, number: int) -> None:
        self._faults = faults
        self._path = path
        self._order_id = order_id
        self._number = number

    def take(self, kind: type[F]) -> F | None:
        """The fault of this kind that strikes now, if one does; it is then counted as fired."""
        for index, fault in enumerate(self._faults.plan.faults):
            if isinstance(fault, kind) and self._strikes(index, fault):
                self._faults.fired[index] += 1
                return fault
        return None

    def _strikes(self, index: int, fault: Fault) -> bool:
        if fault.times is not None and self._faults.fired[index] >= fault.times:
            return False
        if fault.order_id not in {None, self._order_id} or fault.path not in {None, self._path}:
            return False
        seed = f"{self._faults.plan.seed}/{index}/{self._path}/{self._order_id}/{self._number}"
        return random.Random(seed).random() < fault.probability
