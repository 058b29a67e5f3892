"""Engines that break versions, ``patched``, ``continue_as_new`` or a run's own values, each in one way (see ``broken``)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import msgspec

from makegood.definition import registry
from makegood.definition import values as definition_values
from makegood.engine import patches, recording, repeatable, values
from makegood.worker import worker
from tests.faults.broken import Breakage
from tests.faults.harness import Case, Fault

DEPLOYED = Fault("write", 3, "acknowledged")
SLOW_QUOTE = Case(seconds={"quote": 5.0})
SIGNALS = Case(signals=tuple("abcde"))


def _changes_what_is_carried_over(patch: Any, **fields: Any) -> None:
    original = recording.continued

    def continued(*how: Any) -> Any:
        return msgspec.structs.replace(original(*how), **fields)

    patch.setattr(recording, "continued", continued)


def has_old_runs_take_part_in_a_change(patch: Any) -> None:
    original = patches.Patches.takes

    def takes(self: Any, change_id: str, place: Any, *, replaying: bool) -> Any:
        return original(self, change_id, place, replaying=False)

    patch.setattr(patches.Patches, "takes", takes)


def forgets_that_a_run_took_part_in_a_change(patch: Any) -> None:
    patch.setattr("makegood.engine.execution.recorded_patches", lambda _entries: frozenset())


def counts_the_steps_of_each_leg_anew(patch: Any) -> None:
    _changes_what_is_carried_over(patch, steps=0)


def forgets_unread_signals_between_legs(patch: Any) -> None:
    _changes_what_is_carried_over(patch, unread=[])


def goes_on_before_what_was_given_up_is_undone(patch: Any) -> None:
    original = recording.undo_plan
    patch.setattr(recording, "undo_plan", lambda run: original(run) if run.rolling_back else [])


def carries_nothing_out_in_later_legs(patch: Any) -> None:
    patch.setattr(worker.Worker, "_of_this_leg", lambda _self, _run: ())


def has_old_runs_go_on_with_the_newest_version(patch: Any) -> None:
    original = registry.Registry.get

    def get(self: Any, name: str, version: int) -> Any:
        return original(self, name, 2 if self.knows(name, 2) else version)

    patch.setattr(registry.Registry, "get", get)


def draws_other_values_in_another_life(patch: Any) -> None:
    chance, lives = values.Chance, itertools.count()
    patch.setattr(repeatable, "Chance", lambda seed: chance(f"{seed} {next(lives)}"))


def tells_the_time_of_today(patch: Any) -> None:
    clock = itertools.count(10**9)
    patch.setattr(definition_values, "now", lambda: datetime.fromtimestamp(next(clock), UTC))
    patch.setattr("makegood.now", definition_values.now)


LEG_BREAKAGES = [
    Breakage(has_old_runs_go_on_with_the_newest_version, "I8", Case(faults=(DEPLOYED,)), "second version"),
    Breakage(draws_other_values_in_another_life, "I2", Case(faults=(DEPLOYED,)), "lottery"),
    Breakage(tells_the_time_of_today, "I2", Case(faults=(DEPLOYED,)), "lottery"),
    Breakage(has_old_runs_take_part_in_a_change, "I8", Case(faults=(DEPLOYED,)), "changed"),
    Breakage(
        forgets_that_a_run_took_part_in_a_change,
        "I8",
        Case(faults=(Fault("write", 2, "before"), Fault("write", 7, "before"))),
        "changed",
    ),
    Breakage(counts_the_steps_of_each_leg_anew, "I9", SLOW_QUOTE, "legs"),
    Breakage(goes_on_before_what_was_given_up_is_undone, "I2", SLOW_QUOTE, "legs"),
    Breakage(carries_nothing_out_in_later_legs, "I1", SLOW_QUOTE, "legs"),
    Breakage(forgets_unread_signals_between_legs, "I7", SIGNALS, "leg by leg"),
]
