"""Observations laid side by side: as a page, as an object, as text. Reads, and runs nothing."""

from digital_experiments.reports.compare import Report, compare
from digital_experiments.reports.difference import Difference, diff

__all__ = ["Difference", "Report", "compare", "diff"]
