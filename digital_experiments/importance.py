"""Which fields of the config matter for a result. Optuna does the statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from digital_experiments.charts import Chart, bars
from digital_experiments.config import config_key
from digital_experiments.errors import UnknownColumn, did_you_mean
from digital_experiments.rows import row

if TYPE_CHECKING:
    from digital_experiments.observation import Observation

_FEWEST = 4
_WIDTH = 30  # characters


class Importance(Mapping[str, float]):
    """How much each field of the config matters: shares that add up to 1, the largest first.

    Shows itself in a notebook as bars; :meth:`plot` gives the picture.
    """

    def __init__(self, column: str, shares: Mapping[str, float], count: int) -> None:
        self.column = column
        self.count = count
        self._shares = dict(sorted(shares.items(), key=lambda item: -item[1]))

    def __getitem__(self, name: str) -> float:
        return self._shares[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)

    def __repr__(self) -> str:
        width = max(map(len, self))
        lines = [
            f"{name:<{width}}  {share:4.0%}  {'█' * round(share * _WIDTH)}".rstrip()
            for name, share in self.items()
        ]
        return "\n".join([f"importance for {self.column}, of {self.count} observations", *lines])

    def plot(self) -> Chart:
        """The shares as bars."""
        text = f"Chart of the importance of {len(self)} fields for {self.column}"
        return Chart(bars(list(self), list(self.values()), f"importance for {self.column}"), text)

    def _repr_html_(self) -> str:
        return self.plot().svg


def importance(observations: Sequence[Observation], column: str, direction: str) -> Importance:
    """See :meth:`Observations.importance`."""
    if direction not in ("max", "min"):
        raise ValueError(f"direction must be 'max' or 'min', not {direction!r}.")
    cells = [dict(row(o, column.startswith("metadata"))) for o in observations]
    known = dict.fromkeys(name for of_one in cells for name in of_one)
    if column not in known:
        raise UnknownColumn(f"There is no column {column!r}. {did_you_mean(column, known)}")
    told = [c for c in cells if _is_number(c.get(column))]
    names = [name for name in known if name.startswith("config.") and _varies(name, told)]
    if len(told) < _FEWEST or not names:
        raise ValueError(
            f"{len(told)} observations have a number in {column!r}, and {len(names)} config fields "
            f"differ in them: at least {_FEWEST} and one are needed."
        )
    return Importance(column, _shares(told, names, column, direction), len(told))


def _shares(
    cells: Sequence[dict[str, Any]], names: Sequence[str], column: str, direction: str
) -> dict[str, float]:
    try:
        import optuna
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "Importance is worked out by Optuna: pip install 'digital-experiments[optuna]'."
        ) from problem
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fields = {name: _Field(name, cells) for name in names}
    study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
    for of_one in cells:
        params = {name: field.place(of_one.get(name)) for name, field in fields.items()}
        distributions = {name: field.distribution for name, field in fields.items()}
        value = float(of_one[column])
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name.removeprefix("config."): float(share) for name, share in found.items()}


class _Field:
    """A field of the config as a parameter of Optuna's: numbers in a range, all else by kind."""

    def __init__(self, name: str, cells: Sequence[dict[str, Any]]) -> None:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        values: list[Any] = [of_one.get(name) for of_one in cells]
        self.numeric = all(map(_is_number, values))
        self.distribution: Any
        if self.numeric:
            low, high = min(values), max(values)
            log = low > 0 and high / low >= 100
            self.distribution = FloatDistribution(float(low), float(high), log=log)
        else:
            self.kinds = list(dict.fromkeys(map(_kind, values)))
            self.distribution = CategoricalDistribution(self.kinds)

    def place(self, value: Any) -> Any:
        return float(value) if self.numeric else _kind(value)


def _kind(value: Any) -> str:
    return config_key(value) if not isinstance(value, str) else value


def _is_number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and -float("inf") < value < float("inf")


def _varies(name: str, cells: Sequence[dict[str, Any]]) -> bool:
    return len({repr(of_one.get(name)) for of_one in cells}) > 1
