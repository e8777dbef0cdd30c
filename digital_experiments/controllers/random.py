"""Values drawn at random, each parameter on its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from digital_experiments.controllers.base import Controller, not_tried


class RandomSearch(Controller):
    """Draws each parameter from a sequence or a distribution, independently.

    Parameters
    ----------
    seed : int, optional
        Makes the draws repeatable. A function with a parameter of that name gets it through
        ``control(experiment, seed=...)``.
    **dimensions : sequence or distribution
        A sequence to choose from with equal chances, or any object with a method
        ``rvs(random_state=...)``, such as the distributions of :mod:`scipy.stats`.

    Raises
    ------
    TypeError
        If a dimension is neither.
    ValueError
        If a sequence is empty.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> from digital_experiments.controllers import RandomSearch
    >>> from scipy.stats import uniform
    >>> @experiment
    ... def scale(a, b):
    ...     return a * b
    >>> RandomSearch(seed=1, a=uniform(0, 1), b=[1, 2, 3]).control(scale, n=10)
    >>> len(scale.observations())
    10
    """

    def __init__(self, *, seed: int | None = None, **dimensions: Any) -> None:
        self.dimensions = dimensions
        self.seed = seed
        self._begin()

    def _begin(self) -> None:
        """Draw from the beginning."""
        self._random = random.Random(self.seed)  # noqa: S311 - a search keeps no secret
        self._draws = {name: self._draw(name, values) for name, values in self.dimensions.items()}

    def _draw(self, name: str, values: Any) -> Callable[[], Any]:
        """How to draw from a dimension."""
        if hasattr(values, "rvs"):
            return _distribution_draw(values, self._random)
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
            raise TypeError(
                f"Dimension {name!r} must be a sequence of values, or have a method rvs as the "
                f"distributions of scipy.stats have; it is {values!r}."
            )
        if not values:
            raise ValueError(f"Dimension {name!r} has no value to choose from.")
        return lambda: self._random.choice(values)

    def _plan(
        self, experiment: Any, n: int | None, overloads: dict[str, Any]
    ) -> Iterable[dict[str, Any]]:
        """New draws; a search that goes on passes over those that its seed has made before."""
        tried = getattr(experiment, "tried", None)
        if tried is not None and self.seed is not None:
            self._begin()
            draws = iter(lambda: self.suggest(experiment), None)
            return islice(not_tried(draws, tried), 1 if n is None else n)
        return super()._plan(experiment, n, overloads)

    def suggest(self, experiment: Any) -> dict[str, Any]:
        """A new draw."""
        return {name: draw() for name, draw in self._draws.items()}


def _distribution_draw(distribution: Any, source: random.Random) -> Callable[[], Any]:
    """Draws as Python numbers, from one generator of the distribution's own."""
    try:
        from numpy.random import default_rng
    except ImportError:  # an object of the user's, which has no need of NumPy
        return lambda: _number(distribution.rvs())
    generator = default_rng(source.getrandbits(64))

    def draw() -> Any:
        try:
            return _number(distribution.rvs(random_state=generator))
        except TypeError:  # it takes no random_state: then a seed can't bind it
            return _number(distribution.rvs())

    return draw


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
