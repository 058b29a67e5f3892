"""The public API: ``Engine`` starts and finds runs, ``RunHandle`` is one of them. The edges use nothing else."""

from makegood.client.engine import Engine
from makegood.client.handle import RunHandle, operator
from makegood.client.stuck import StuckRun

__all__ = ["Engine", "RunHandle", "StuckRun", "operator"]
