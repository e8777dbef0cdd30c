"""Runs that other systems recorded brought over, and ours handed on. Runs nothing of either."""

from digital_experiments.exchange.leaving import export
from digital_experiments.exchange.sources import import_runs

__all__ = ["export", "import_runs"]
