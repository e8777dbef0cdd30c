"""Who suggests which config to run next. Knows experiments' observations; never how they run."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from digital_experiments.errors import RunsFailedWarning
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations


class Searchable(Protocol):
    """What a controller asks of an experiment."""

    def imap(  # noqa: D102
        self,
        configs: Any,
        executor: Any,
        workers: int | None,
        *,
        resume: bool = ...,
        ahead: int | None = ...,
    ) -> Iterator[Observation]: ...
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

    def control(
        self,
        experiment: Searchable,
        n: int | None = None,
        *,
        executor: Any = "serial",
        workers: int | None = None,
        **overloads: Any,
    ) -> None:
        """Run what is suggested.

        Parameters
        ----------
        experiment : Experiment
            What to run.
        n : int, optional
            How many runs at most; one by default.
        executor, workers
            Where, and how many at once: as for :meth:`Experiment.map`. Several at once are
            suggested before those before them have ended.
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
        configs = ({**config, **overloads} for config in islice(suggested, count))
        run_all(experiment, configs, executor, workers)


def run_all(
    experiment: Searchable,
    configs: Iterable[dict[str, Any]],
    executor: Any,
    workers: int | None,
    resume: bool = False,
) -> None:
    """Run configs; one that fails does not keep the others from being run."""
    total = 0
    failed: list[Observation] = []
    for observation in experiment.imap(configs, executor, workers, resume=resume):
        total += 1
        if observation.status != "completed":
            failed.append(observation)
    warn_failed(failed, total)


def warn_failed(failed: list[Observation], total: int) -> None:
    """Tell of the runs that did not complete, if there are any."""
    if failed:
        warnings.warn(
            f"{len(failed)} of {total} runs failed, the last as {failed[-1].outcome()}. They are "
            "recorded with their tracebacks: observations(status='failed').",
            RunsFailedWarning,
            stacklevel=4,
        )


def checked_count(n: int) -> int:
    """Return ``n`` if it can be a number of runs."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
        raise ValueError(f"n must be a number of runs, 0 or more, not {n!r}.")
    return n
