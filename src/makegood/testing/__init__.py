"""For the tests of your own workflows: time that does not have to be waited for, stubs, and crashes everywhere."""

from makegood.testing.calls import Call
from makegood.testing.engine import VirtualEngine
from makegood.testing.matrix import crash_matrix
from makegood.testing.report import CrashMatrixError, Report
from makegood.testing.stub import Stub
from makegood.testing.virtual_time import VirtualTimeLoop, in_virtual_time

__all__ = [
    "Call",
    "CrashMatrixError",
    "Report",
    "Stub",
    "VirtualEngine",
    "VirtualTimeLoop",
    "crash_matrix",
    "in_virtual_time",
]
