"""Every combination of the values given, each run once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice, product
from typing import Any

from digital_experiments.config import config_key, recorded_key
from digital_experiments.controllers.base import Controller, Searchable


class GridSearch(Controller):
    """Runs every combination of the values given that has not been run yet.

    A point is done when an observation of the current code completed with it; parameters that
    are not in the grid count with their defaults. Several processes and machines may run the
    same grid at once on one store: no point is run twice.

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

    _resumes = True

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

    def _plan(
        self, experiment: Searchable, n: int | None, overloads: dict[str, Any]
    ) -> Iterable[dict[str, Any]]:
        """All points, or the first ``n`` of those that have not been run."""
        return self._points() if n is None else islice(self._pending(experiment, overloads), n)

    def _count(self, n: int | None) -> int:
        """How many points there are, or are asked for."""
        whole = math.prod(map(len, self.dimensions.values()))
        return whole if n is None else min(n, whole)

    def _points(self) -> Iterator[dict[str, Any]]:
        for values in product(*self.dimensions.values()):
            yield dict(zip(self.dimensions, values, strict=True))

    def _pending(
        self, experiment: Searchable, overloads: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Points not run yet; what was run is looked up once, when the first is asked for."""
        tried = getattr(experiment, "tried", ())  # of a search, what has failed there too
        done = {config_key(o.config) for o in experiment.observations()} | set(
            map(recorded_key, tried)
        )
        for config in self._points():
            key = recorded_key(experiment.complete({**config, **overloads}))
            if key not in done:
                done.add(key)
                yield config
