"""A list of observations: select, rank, tabulate, show. Opens no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from digital_experiments.columns import frame, in_order
from digital_experiments.config import same_value
from digital_experiments.errors import UnknownColumn, did_you_mean
from digital_experiments.observation import Observation
from digital_experiments.rows import number as cell_number
from digital_experiments.rows import row
from digital_experiments.values import decode
from digital_experiments.views import printable, short_repr

if TYPE_CHECKING:
    import pandas

    from digital_experiments.charts import Chart
    from digital_experiments.importance import Importance

_ROWS_SHOWN = 20
_STYLE = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums",
    "text-align:left;padding:2px 10px;border-bottom:1px solid currentColor;white-space:nowrap",
    "text-align:left;padding:2px 10px;white-space:nowrap",
)


class Observations(list[Observation]):
    """A list of observations, oldest first, that can be filtered, ranked and tabulated.

    Parameters
    ----------
    observations
        What it holds.
    hidden
        How many observations of the same experiment were left out, by the reason why.

    Examples
    --------
    >>> from digital_experiments import Observation
    >>> runs = Observations(Observation(str(x), {"x": x}, {"loss": 4 - x}, {}) for x in range(3))
    >>> runs.best("result.loss", "min")
    Observation(2, {'x': 2} → {'loss': 2})
    >>> runs.filter(x=1)
    [Observation(1, {'x': 1} → {'loss': 3})]
    """

    def __init__(
        self, observations: Iterable[Observation] = (), hidden: dict[str, int] | None = None
    ) -> None:
        super().__init__(observations)
        self.hidden = {reason: count for reason, count in (hidden or {}).items() if count}

    @overload
    def __getitem__(self, index: SupportsIndex) -> Observation: ...
    @overload
    def __getitem__(self, index: slice) -> Observations: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Observation | Observations:
        found = super().__getitem__(index)
        return found if isinstance(found, Observation) else Observations(found)

    def filter(
        self, predicate: Callable[[Observation], bool] | None = None, /, **config: Any
    ) -> Observations:
        """Those for which ``predicate`` holds and whose config has the values given.

        Parameters
        ----------
        predicate
            Called with each observation; None for all.
        **config
            Values of config fields. ``1`` finds ``1.0``, but not True; arrays and frames are
            compared by their content.

        Raises
        ------
        UnknownColumn
            If no observation has a config field of such a name.
        """
        for name in config if self else ():
            if not any(name in o.plain("config") for o in self):
                known = dict.fromkeys(key for o in self for key in o.plain("config"))
                raise UnknownColumn(f"No config has a field {name!r}. {did_you_mean(name, known)}")
        return Observations(
            o for o in self if (predicate is None or predicate(o)) and has_values(o, config)
        )

    def best(self, column: str = "result", direction: str = "max") -> Observation:
        """The observation with the largest, or smallest, number in a column.

        Parameters
        ----------
        column : str
            As in the table: ``result``, ``result.accuracy``, ``config.lr``,
            ``metadata.timing.duration``.
        direction : {"max", "min"}
            Which end is best.

        Returns
        -------
        Observation
            The earliest of those that share the best number; NaN never wins.

        Raises
        ------
        UnknownColumn
            If no observation has a number there.
        """
        if direction not in ("max", "min"):
            raise ValueError(f"direction must be 'max' or 'min', not {direction!r}.")
        numbers = [(number, o) for o in self if (number := cell_number(o, column)) is not None]
        if not numbers:
            known = dict.fromkeys(c for o in self for c, _ in row(o) if c != "id")
            raise UnknownColumn(
                f"None of {len(self)} observations has a number in column {column!r}. "
                + did_you_mean(column, known)
            )
        choose = max if direction == "max" else min
        return choose(numbers, key=lambda pair: pair[0])[1]

    def to_dataframe(
        self, include_metadata: bool = False, normalising_sep: str = "."
    ) -> pandas.DataFrame:
        """One row an observation, one column a field.

        Parameters
        ----------
        include_metadata : bool
            Whether to add columns ``metadata.<...>``.
        normalising_sep : str
            What joins the parts of a column's name.

        Returns
        -------
        pandas.DataFrame
            Columns ``id``, ``result`` or ``result.<field>``, ``config.<field>``. Values that
            are not plain data show by their view: their fields, or else their repr.
        """
        rows = [dict(row(o, include_metadata, normalising_sep)) for o in self]
        columns = in_order(c for r in rows for c in r) or ["id"]
        return frame({c: [r.get(c) for r in rows] for c in columns})

    def plot(self, *names: str, log: bool = False) -> Chart:
        """Draw series over each other, a column over another, or all against the result.

        Parameters
        ----------
        *names : str
            One name: a metric, whose series are drawn over each other. Two: columns of the
            table, the second over the first. None, or more: parallel coordinates, by default
            of the config fields that differ and the first number of the result.
        log : bool
            Whether the y axis is logarithmic.

        Returns
        -------
        Chart
            Shows itself in a notebook; ``.save("chart.svg")``.

        Raises
        ------
        UnknownColumn
            If there is no such metric or column, or no number in it.

        Examples
        --------
        >>> from digital_experiments import Observation
        >>> runs = Observations(Observation(str(x), {"x": x}, 4 - x, {}) for x in range(3))
        >>> runs.plot("config.x", "result")
        Chart of result over config.x of 3 observations
        """
        from digital_experiments.plots import plot

        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"plot expects names of metrics or columns, not {name!r}.")
        return plot(self, names, log)

    def importance(self, column: str = "result", direction: str = "max") -> Importance:
        """Which fields of the config matter for being among the best in a column.

        Parameters
        ----------
        column : str
            As in the table: ``result``, ``result.accuracy``, ``metrics.loss``.
        direction : {"max", "min"}
            Which end is best.

        Returns
        -------
        Importance
            A mapping of the fields to shares that add up to 1, the largest first.

        Raises
        ------
        UnknownColumn, ValueError
            If there is no such column; if fewer than four observations have a number there, or
            no field of the config differs.
        ModuleNotFoundError
            If Optuna is missing.

        References
        ----------
        Watanabe, Bansal and Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance
        in arbitrary subspaces", IJCAI 2023; by Optuna.

        Examples
        --------
        >>> from digital_experiments import Observation
        >>> runs = Observations(
        ...     Observation(str(n), {"lr": n / 40, "seed": n * 7 % 40}, -(n - 20) ** 2, {})
        ...     for n in range(40)
        ... )
        >>> list(runs.importance())
        ['lr', 'seed']
        """
        from digital_experiments.importance import importance

        return importance(self, column, direction)

    def _repr_html_(self) -> str:
        import html

        rows = [_html_row(o) for o in self[-_ROWS_SHOWN:]]
        columns = in_order(c for r in rows for c in r)
        if all(o.status == "completed" for o in self):
            columns = [column for column in columns if column != "status"]
        table, head, cell = _STYLE
        header = "".join(f'<th style="{head}">{html.escape(c)}</th>' for c in columns)
        body = "".join(
            "<tr>"
            + "".join(f'<td style="{cell}">{html.escape(r.get(c, ""))}</td>' for c in columns)
            + "</tr>"
            for r in rows
        )
        page = (
            f'<div style="overflow-x:auto"><table style="{table}"><thead><tr>{header}</tr></thead>'
            f"<tbody>{body}</tbody></table></div><small>{html.escape(self.footnote())}</small>"
        )
        return printable(page)

    def footnote(self) -> str:
        """How many there are, how many are shown, and how many are hidden and why."""
        total = len(self)
        plural = "" if total == 1 else "s"
        shown = f", the last {_ROWS_SHOWN} shown" if total > _ROWS_SHOWN else ""
        text = f"{total} observation{plural}{shown}"
        if self.hidden:
            why = ", ".join(f"{count} {reason}" for reason, count in self.hidden.items())
            text += f" · hidden: {why} (status=None, current_code_only=False shows all)"
        return text


def has_values(observation: Observation, config: dict[str, Any]) -> bool:
    """Whether fields of its config have some values: of any type, compared by their content."""
    if not config:
        return True
    recorded = observation.plain("config")
    return all(
        name in recorded and same_value(decode(recorded[name], observation.values), value)
        for name, value in config.items()
    )


def _html_row(observation: Observation) -> dict[str, str]:
    cells = {
        name: value for name, value in row(observation) if name != "result" or value is not None
    }
    shown = {name: _cell(value) for name, value in cells.items()}
    marks = {"tags": ", ".join(observation.tags), "note": observation.note or ""}
    shown.update((name, text) for name, text in marks.items() if text)
    done = observation.status == "completed"
    return {**shown, "status": observation.status if done else observation.outcome()}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else short_repr(value, 60)
