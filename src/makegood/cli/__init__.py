"""The ``makegood`` command: a thin face of ``makegood.client``."""

from makegood.cli.app import main

__all__ = ["main"]
