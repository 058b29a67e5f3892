"""For the tests of your own workflows: time that does not have to be waited for."""

from makegood.testing.virtual_time import VirtualTimeLoop

__all__ = ["VirtualTimeLoop"]
