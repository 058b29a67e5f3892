"""Every run that a test of the engine starts is replayed at its end, from every prefix of its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import makegood as mg
from tests.engine.kit import Run


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Starts runs by hand: ``start(workflow, *args)``."""
    runs: list[Run] = []

    def begin(workflow: mg.Workflow[..., Any], *args: Any, **kwargs: Any) -> Run:
        runs.append(Run(workflow, *args, **kwargs))
        return runs[-1]

    yield begin
    for run in runs:
        run.execution.program.close()
    for run in runs:
        run.check_replay()
