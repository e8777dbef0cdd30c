"""Charts of many observations: series over each other, columns against columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from digital_experiments.charts import Chart, Line, as_float, colour, lines, parallel, points
from digital_experiments.errors import UnknownColumn, did_you_mean
from digital_experiments.rows import row
from digital_experiments.series import series_of
from digital_experiments.views import short_repr

if TYPE_CHECKING:
    from digital_experiments.observation import Observation

_TOLD = 3  # fields of the config in a label
_LEGEND = 24  # lines whose labels are listed


def plot(observations: Sequence[Observation], names: Sequence[str], log: bool) -> Chart:
    """The chart that some names ask for, see :meth:`Observations.plot`."""
    if len(names) == 1:
        return _series(observations, names[0], log)
    cells = [dict(row(o, any(n.startswith("metadata") for n in names))) for o in observations]
    labels = _labels(observations)
    if not names:
        names = _varying(cells)
    known = dict.fromkeys(name for of_one in cells for name in of_one)
    for name in names:
        if name not in known:
            raise UnknownColumn(f"There is no column {name!r}. {did_you_mean(name, known)}")
    columns = [[of_one.get(name) for of_one in cells] for name in names]
    if len(names) == 2:
        x, y = (_floats(name, column) for name, column in zip(names, columns, strict=True))
        svg = points(x, y, labels, names[0], names[1], log=log)
        return Chart(svg, f"Chart of {names[1]} over {names[0]} of {len(cells)} observations")
    svg = parallel(list(zip(names, columns, strict=True)), labels)
    return Chart(svg, f"Chart of {', '.join(names)} of {len(cells)} observations")


def _series(observations: Sequence[Observation], name: str, log: bool) -> Chart:
    name = name.removeprefix("metrics.")
    drawn, known = [], dict[str, None]()
    for number, (o, label) in enumerate(zip(observations, _labels(observations), strict=True)):
        held = series_of(o.series_path())
        known.update(dict.fromkeys(held))
        if name in held:
            drawn.append(Line(label, colour(number), *held[name]))
    if not drawn:
        raise UnknownColumn(
            f"None of {len(observations)} observations has a metric {name!r}. "
            f"{did_you_mean(name, known)} For a column, name two: plot('config.lr', 'result')."
        )
    svg = lines(drawn, "step", name, log=log, legend=len(drawn) <= _LEGEND)
    return Chart(svg, f"Chart of {name} of {len(drawn)} observations")


def _varying(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The config fields that differ, and the first number of the results."""
    names = dict.fromkeys(name for of_one in cells for name in of_one)
    config = [n for n in names if n.startswith("config.") and _differs(n, cells)]
    results = [n for n in names if n.startswith(("result", "metrics."))]
    numbers = [n for n in results if any(_is_number(of_one.get(n)) for of_one in cells)]
    if not config or not numbers:
        raise UnknownColumn(
            f"{len(cells)} observations have no config field that differs, or no number as a "
            "result: there is nothing to plot. Name the columns: plot('config.lr', 'result.loss')."
        )
    return [*config, numbers[0]]


def _labels(observations: Sequence[Observation]) -> list[str]:
    """What tells each observation from the others: what differs in its config, and its id."""
    configs = [
        {n.removeprefix("config."): v for n, v in row(o) if n.startswith("config.")}
        for o in observations
    ]
    names = list(dict.fromkeys(name for config in configs for name in config))
    told = [name for name in names if _differs(name, configs)][:_TOLD]
    return [
        " ".join([*(f"{n}={short_repr(c.get(n), 20)}" for n in told), f"({o.id[-6:]})"])
        for o, c in zip(observations, configs, strict=True)
    ]


def _differs(name: str, cells: Sequence[dict[str, Any]]) -> bool:
    return len({repr(of_one.get(name)) for of_one in cells}) > 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool


def _floats(name: str, column: Sequence[Any]) -> list[float]:
    if not any(_is_number(value) for value in column):
        raise UnknownColumn(f"Column {name!r} holds no numbers to plot: {short_repr(column, 80)}.")
    return [as_float(value) if _is_number(value) else math.nan for value in column]
