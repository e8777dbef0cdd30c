"""Who suggests which config to run next. Knows experiments' observations; never how they run."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Protocol

from digital_experiments.errors import RunsFailedWarning
from digital_experiments.observations import Observations


class Searchable(Protocol):
    """What a controller asks of an experiment."""

    @property
    def __call__(self) -> Callable[..., Any]: ...  # noqa: D102
    def observations(self) -> Observations: ...  # noqa: D102
    def complete(self, config: dict[str, Any]) -> dict[str, Any]: ...  # noqa: D102


class Controller(ABC):
    """Suggests configs, one after another, and runs them.

    Suggestions
        :meth:`suggest` returns a new dict of parameters each time, or None when there is
        nothing left to do.
    State
        What was done is in the experiment's observations, not in the controller: another
        session goes on where this one stopped.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> from digital_experiments.controllers import Controller
    >>> class Count(Controller):
    ...     def suggest(self, experiment):
    ...         return {"x": len(experiment.observations())}
    >>> @experiment
    ... def square(x):
    ...     return x * x
    >>> Count().control(square, n=3)
    >>> [o.result for o in square.observations()]
    [0, 1, 4]
    """

    @abstractmethod
    def suggest(self, experiment: Any) -> dict[str, Any] | None:
        """The config to run next, or None if there is none."""

    def control(self, experiment: Searchable, n: int | None = None, **overloads: Any) -> None:
        """Run what is suggested.

        Parameters
        ----------
        experiment : Experiment
            What to run.
        n : int, optional
            How many runs at most; one by default.
        **overloads
            Parameters that every run gets, whatever was suggested.

        Raises
        ------
        ValueError
            If ``n`` is negative.
        TypeError
            If a config does not fit the function's signature.

        Warns
        -----
        RunsFailedWarning
            At the end, if runs raised an exception. They are recorded, and the others are made.
        """
        count = checked_count(1 if n is None else n)
        suggested = iter(lambda: self.suggest(experiment), None)
        run_all(experiment, ({**config, **overloads} for config in islice(suggested, count)))


def run_all(experiment: Searchable, configs: Iterable[dict[str, Any]]) -> None:
    """Run configs one after another; one that fails does not keep the others from being run."""
    total, failures = 0, []
    for config in configs:
        experiment.complete(config)  # what does not fit the signature is told before it is run
        total += 1
        try:
            experiment(**config)
        except Exception as problem:
            failures.append(f"{type(problem).__name__}: {problem}")
    if failures:
        warnings.warn(
            f"{len(failures)} of {total} runs failed, the last with {failures[-1]}. They are "
            "recorded with their tracebacks: observations(status='failed').",
            RunsFailedWarning,
            stacklevel=3,
        )


def checked_count(n: int) -> int:
    """Return ``n`` if it can be a number of runs."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
        raise ValueError(f"n must be a number of runs, 0 or more, not {n!r}.")
    return n
