"""The pytest plugin: the fixture ``crash_matrix``, and at the end which compensations never ran in any test.

pytest loads it by its entry point, so the rest of the test kit is imported only where the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from makegood.testing.report import Report

COMPENSATIONS = pytest.StashKey[dict[str, bool]]()


@pytest.fixture
def crash_matrix(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Runs your workflow with a crash, an error, time-outs and a cancellation at every step: ``crash_matrix(workflow, …)``.

    See ``makegood.testing.crash_matrix``.
    """
    from makegood.testing.matrix import crash_matrix as run
    from makegood.testing.report import CrashMatrixError

    ran = request.config.stash.setdefault(COMPENSATIONS, {})

    def crash_matrix(workflow: Any, *args: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        try:
            report = run(workflow, *args, **options)
        except CrashMatrixError as failed:
            _add(ran, failed.report)
            raise pytest.fail.Exception(str(failed), pytrace=False) from None
        _add(ran, report)
        return report

    return crash_matrix


def _add(ran: dict[str, bool], report: Report) -> None:
    for name, is_run in report.compensations.items():
        ran[name] = ran.get(name, False) or is_run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran = config.stash.get(COMPENSATIONS, {})
    never = [name for name, is_run in ran.items() if not is_run]
    if never:
        terminalreporter.section("makegood: compensations that never ran in any test", yellow=True)
        for name in never:
            terminalreporter.line(name)
