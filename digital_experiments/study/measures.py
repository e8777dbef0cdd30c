"""What runs measured, and what is common to the numbers of many. Knows observations; no study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from digital_experiments.charts import as_float
from digital_experiments.observation import Observation
from digital_experiments.rows import row
from digital_experiments.study.statistics import mean_interval, varies

RESULT = "result."
DURATION = "duration"


def measured(observation: Observation) -> dict[str, Any]:
    """What a run measured: fields of its result, last values of its series, its duration."""
    found: dict[str, Any] = {}
    series: dict[str, Any] = {}
    for name, value in row(observation):
        if name == "result" or name.startswith(RESULT):
            found[name.removeprefix(RESULT)] = value
        elif name.startswith("metrics."):
            series[name] = value
    for name, value in series.items():
        short = name.removeprefix("metrics.")
        found[name if short in found else short] = value
    if found.get("result", 0) is None:
        del found["result"]
    if observation.duration is not None:
        found.setdefault(DURATION, observation.duration)
    return found


def summary_of(values: Sequence[float], alpha: float) -> dict[str, Any]:
    """Count, mean, deviation and ends of some numbers, and the interval of the mean."""
    import numpy

    count = len(values)
    if not count:
        return {"count": 0, **dict.fromkeys(("mean", "std", "low", "high", "min", "max"), math.nan)}
    with numpy.errstate(all="ignore"):  # of numbers near the largest the squares are infinite
        mean = float(numpy.mean(values))
        deviation = float(numpy.std(values, ddof=1)) if count > 1 else math.nan
        low, high = mean_interval(values, "t", alpha)
    ends = {"low": low, "high": high, "min": min(values), "max": max(values)}
    return {"count": count, "mean": mean, "std": deviation, **ends}


def spread(one: Mapping[int, float], other: Mapping[int, float], paired: bool, name: str) -> float:
    """The standard deviation of the differences of pairs, or that within two samples.

    Raises
    ------
    ValueError
        If there are too few values.
    """
    import numpy

    common = [n for n in one if n in other]
    if (len(common) if paired else min(len(one), len(other))) < 2:
        raise ValueError(f"{name!r} has no spread to go by: it needs two replicates of each.")
    a, b = (numpy.array([of[n] for n in (common if paired else of)]) for of in (one, other))
    if not varies(a, b, paired):  # but for rounding
        return 0.0
    if paired:
        return float(numpy.std(a - b, ddof=1))
    return float(math.sqrt((numpy.var(a, ddof=1) + numpy.var(b, ddof=1)) / 2))


def value_of(cells: Mapping[str, Any], metric: str) -> float | None:
    """The number of a metric in a run; None where it has none."""
    number = number_of(cells, metric)
    return None if number is None else as_float(number)


def number_of(cells: Mapping[str, Any], metric: str) -> float | int | None:
    """The same, a whole number as such: it may have more digits than a float."""
    names = (metric, metric.removeprefix(RESULT), metric.removeprefix("metrics."))
    value = next((cells[name] for name in names if name in cells), None)
    return value if isinstance(value, (bool, int, float)) else None
