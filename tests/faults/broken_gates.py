"""Engines that break gates, each in one way (see ``broken``)."""

from __future__ import annotations

from typing import Any

from makegood.engine import execution
from makegood.worker import gates
from tests.faults.broken import Breakage
from tests.faults.harness import Case, Fault


def begins_what_is_held_without_a_record(patch: Any) -> None:
    def let_through(self: Any, job: Any, at: float) -> None:
        job.periods = [gate.state.let_through(at) for gate in job.gates]
        self._begin(job)

    patch.setattr(gates.Gates, "_let_through", let_through)


def takes_what_is_held_for_lost(patch: Any) -> None:
    waits = execution.Execution.waits

    def forgetful(self: Any, record: Any, at: float, *, slept: bool = False) -> bool:
        held, record.held = record.held, None
        try:
            return waits(self, record, at, slept=slept)
        finally:
            record.held = held

    patch.setattr(execution.Execution, "waits", forgetful)


DOWN: Any = {("do", "charge"): ["fail", "fail", "fail", "ok"]}
HELD = Fault("write", 5, "acknowledged")
GATE_BREAKAGES = [
    Breakage(begins_what_is_held_without_a_record, "I5", Case(DOWN), "guarded"),
    Breakage(takes_what_is_held_for_lost, "I2", Case(DOWN, (HELD,)), "guarded"),
]
