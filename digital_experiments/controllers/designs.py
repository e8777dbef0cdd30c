"""Points that fill a space evenly, and the same config again and again."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from digital_experiments.controllers.base import Controller, checked_count, not_tried


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both included; whole ones if both ends are."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The number at a share of the way from the low to the high end."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + share * (high - low))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        if isinstance(self.low, int) and isinstance(self.high, int):
            whole = round(value) if self.log else self.low + int(share * (self.high - self.low + 1))
            return min(whole, self.high)
        return value


def checked_range(name: str, dimension: Any) -> Range | list[Any]:
    """What a dimension says: ``(low, high)``, ``(low, high, "log")``, or a list of values.

    Raises
    ------
    TypeError, ValueError
        For what is none of these.
    """
    if isinstance(dimension, list) and dimension:
        return dimension
    if not isinstance(dimension, tuple) or len(dimension) not in (2, 3):
        raise TypeError(
            f"Dimension {name!r} must be (low, high), (low, high, 'log') or a list of values, "
            f"not {dimension!r}."
        )
    low, high, *scale = dimension
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (low, high))
    if not numbers or not -math.inf < low < high < math.inf:
        raise ValueError(f"Dimension {name!r} must go from a low to a high number: {dimension!r}.")
    if scale not in ([], ["log"]) or (scale and low <= 0):
        raise ValueError(
            f"Dimension {name!r} may say 'log' after two numbers above 0, not {dimension!r}."
        )
    return Range(low, high, bool(scale))


class _Design(Controller):
    """Points of a design in the unit cube, stretched to the dimensions."""

    def __init__(self, *, seed: int | None = None, **dimensions: Any) -> None:
        if not dimensions:
            raise ValueError(f"{type(self).__name__} needs a dimension, such as lr=(1e-4, 1.0).")
        self.dimensions = {name: checked_range(name, value) for name, value in dimensions.items()}
        self.seed = seed
        self._given: Iterator[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.dimensions.items())
        return f"{type(self).__name__}(seed={self.seed}, {shown})"

    @abstractmethod
    def _shares(self, count: int) -> Any:
        """So many points of the unit cube, an array with a row for each."""

    def points(self, count: int) -> list[dict[str, Any]]:
        """So many configs of the design; with a seed always the same.

        Parameters
        ----------
        count : int
            How many.
        """
        try:
            rows = self._shares(checked_count(count)).tolist()
        except ModuleNotFoundError as problem:
            raise ModuleNotFoundError(
                "Designs are made by SciPy: pip install 'digital-experiments[scipy]'."
            ) from problem
        return [self._config(row) for row in rows]

    def _config(self, shares: Sequence[float]) -> dict[str, Any]:
        pairs = zip(self.dimensions.items(), shares, strict=True)
        return {name: _value(dimension, share) for (name, dimension), share in pairs}

    def suggest(self, experiment: Any) -> dict[str, Any] | None:
        """The next point of a design of a thousand."""
        if self._given is None:
            self._given = iter(self.points(1000))
        return next(self._given, None)

    @property
    def _resumes(self) -> bool:  # type: ignore[override] # only a seed makes the same points again
        """Whether points that are done already are not run again."""
        return self.seed is not None

    def _plan(
        self, experiment: Any, n: int | None, overloads: dict[str, Any]
    ) -> Iterable[dict[str, Any]]:
        """A design of ``n`` points, as a whole better spread than ``n`` single ones."""
        tried = getattr(experiment, "tried", ()) if self._resumes else ()
        count = 1 if n is None else n
        return islice(not_tried(self.points(len(tried) + count), tried), count)


class LatinHypercube(_Design):
    """A Latin hypercube: each of ``n`` equal parts of each dimension has one point.

    With a seed the points are always the same, so the same line runs only those that are not
    done yet.

    Parameters
    ----------
    seed : int, optional
        Makes the points repeatable.
    **dimensions
        ``(low, high)``, ``(low, high, "log")``, whole numbers where both ends are, or a list.

    References
    ----------
    McKay, Beckman and Conover, "A comparison of three methods for selecting values of input
    variables in the analysis of output from a computer code", Technometrics 21, 1979.

    Examples
    --------
    >>> from digital_experiments.controllers import LatinHypercube
    >>> points = LatinHypercube(seed=1, x=(0.0, 1.0), n=(1, 4)).points(4)
    >>> sorted(int(p["x"] * 4) for p in points), sorted(p["n"] for p in points)
    ([0, 1, 2, 3], [1, 2, 3, 4])
    """

    def _shares(self, count: int) -> Any:
        from scipy.stats.qmc import LatinHypercube as Sampler

        return Sampler(len(self.dimensions), rng=self.seed).random(count)


class Sobol(_Design):
    """Points of a scrambled Sobol sequence: evenly spread however many there are.

    Best are 8, 16, 32... points. Otherwise as :class:`LatinHypercube`.

    References
    ----------
    Sobol, "On the distribution of points in a cube and the approximate evaluation of
    integrals", USSR Computational Mathematics and Mathematical Physics 7, 1967; scrambled after
    Owen, "Scrambling Sobol and Niederreiter-Xing points", Journal of Complexity 14, 1998.

    Examples
    --------
    >>> from digital_experiments.controllers import Sobol
    >>> points = Sobol(seed=1, x=(0.0, 1.0), kind=["a", "b"]).points(8)
    >>> [p["kind"] for p in points].count("a")
    4
    """

    def _shares(self, count: int) -> Any:
        from scipy.stats.qmc import Sobol as Sampler

        power = max(count - 1, 0).bit_length()
        return Sampler(len(self.dimensions), rng=self.seed).random_base2(power)[:count]


def _value(dimension: Range | list[Any], share: float) -> Any:
    if isinstance(dimension, Range):
        return dimension.at(share)
    return dimension[min(int(share * len(dimension)), len(dimension) - 1)]


class Repeat(Controller):
    """The same config ``n`` times, or each of several.

    Parameters
    ----------
    n : int
        How often.
    *configs : dict
        Which; one without anything, the defaults, if none is given.

    Examples
    --------
    >>> import random
    >>> from digital_experiments import experiment
    >>> from digital_experiments.controllers import Repeat
    >>> @experiment
    ... def roll(sides=6):
    ...     return random.randint(1, sides)
    >>> Repeat(3, {"sides": 6}, {"sides": 20}).control(roll)
    >>> len(roll.observations())
    6
    """

    def __init__(self, n: int, *configs: dict[str, Any]) -> None:
        self.n = checked_count(n)
        self.configs = configs or ({},)
        self._given = self._all()

    def _all(self) -> Iterator[dict[str, Any]]:
        return (dict(config) for _ in range(self.n) for config in self.configs)

    def suggest(self, experiment: Any) -> dict[str, Any] | None:
        """The next of them."""
        return next(self._given, None)

    def _plan(
        self, experiment: Any, n: int | None, overloads: dict[str, Any]
    ) -> Iterable[dict[str, Any]]:
        """All of them, or ``n`` at most."""
        return islice(self._all(), n)

    def _count(self, n: int | None) -> int:
        """How many there are, or are asked for."""
        whole = self.n * len(self.configs)
        return whole if n is None else min(n, whole)
