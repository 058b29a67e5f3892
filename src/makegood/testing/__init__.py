"""For the tests of your own workflows: time that does not have to be waited for, stubs, and crashes everywhere."""

from makegood.testing.calls import Call
from makegood.testing.engine import VirtualEngine
from makegood.testing.stub import Stub
from makegood.testing.virtual_time import VirtualTimeLoop, in_virtual_time

__all__ = ["Call", "Stub", "VirtualEngine", "VirtualTimeLoop", "in_virtual_time"]
