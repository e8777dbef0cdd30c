"""Every combination of the values given, each run once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, product
from typing import Any

from digital_experiments.config import config_key
from digital_experiments.controllers.base import Controller, Searchable, checked_count, run_all


class GridSearch(Controller):
    """Runs every combination of the values given that has not been run yet.

    A point is done when an observation of the current code completed with it; parameters that
    are not in the grid count with their defaults.

    Parameters
    ----------
    **dimensions : iterable
        The values of each parameter.

    Raises
    ------
    TypeError
        If a dimension is no iterable of values; a text is not one.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> from digital_experiments.controllers import GridSearch
    >>> @experiment
    ... def add(a, b=1):
    ...     return a + b
    >>> GridSearch(a=[1, 2], b=range(2)).control(add)
    >>> [o.result for o in add.observations()]
    [1, 2, 2, 3]
    >>> GridSearch(a=[1, 2], b=range(2)).control(add)
    >>> len(add.observations())
    4
    """

    def __init__(self, **dimensions: Iterable[Any]) -> None:
        for name, values in dimensions.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                raise TypeError(
                    f"Dimension {name!r} must be an iterable of values, not {values!r}. "
                    f"For one value, give a list: {name}=[{values!r}]."
                )
        self.dimensions = {name: list(values) for name, values in dimensions.items()}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={values!r}" for name, values in self.dimensions.items())
        return f"GridSearch({shown})"

    def suggest(self, experiment: Searchable) -> dict[str, Any] | None:
        """The first point that has not been run."""
        return next(self._pending(experiment, {}), None)

    def control(
        self,
        experiment: Searchable,
        n: int | None = None,
        *,
        executor: Any = "serial",
        workers: int | None = None,
        **overloads: Any,
    ) -> None:
        """Run all points that have not been run, or the first ``n`` of those.

        Several processes and machines may do so at once on one store: no point is run twice.

        Parameters
        ----------
        experiment : Experiment
            What to run.
        n : int, optional
            How many runs at most; all by default.
        executor, workers
            Where, and how many at once: as for :meth:`Experiment.map`.
        **overloads
            Parameters that every run gets, in place of the grid's.

        Warns
        -----
        RunsFailedWarning
            At the end, if runs raised an exception. They are recorded, and count as not done.
        """
        count = None if n is None else checked_count(n)
        if count is None:
            run_all(experiment, self._points(overloads), executor, workers, resume=True)
            return
        pending = islice(self._pending(experiment, overloads), count)
        run_all(experiment, pending, executor, workers, resume=True)

    def _points(self, overloads: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for values in product(*self.dimensions.values()):
            yield {**dict(zip(self.dimensions, values, strict=True)), **overloads}

    def _pending(
        self, experiment: Searchable, overloads: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Points not run yet; what was run is looked up once, when the first is asked for."""
        done = {config_key(o.config) for o in experiment.observations()}
        for config in self._points(overloads):
            key = config_key(experiment.complete(config))
            if key not in done:
                done.add(key)
                yield config
