"""Who suggests which config to run next. Knows experiments' observations; never how they run."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

from digital_experiments.config import recorded_key
from digital_experiments.errors import RunsFailedWarning
from digital_experiments.many.calls import Counted
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
        progress: bool | tuple[str, str] = ...,
        ahead: int | None = ...,
    ) -> Iterator[Observation]: ...
    def observations(self, *, status: Any = ...) -> Observations: ...  # noqa: D102
    @property
    def root(self) -> Path: ...  # noqa: D102
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

    _resumes = False
    """Whether configs that are done already are not run again."""

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    _ahead: int | None = None
    """How many configs are planned ahead for each worker, as for :meth:`Experiment.imap`."""

    _progress: bool | tuple[str, str] = True
    """The column, and ``max`` or ``min``, whose best so far is shown."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep what it is made with: by that a search knows it again."""
        made = super().__new__(cls)
        object.__setattr__(made, "_made_with", (args, kwargs))  # also of a frozen one
        return made

    def __getstate__(self) -> object:
        """What is pickled: not what it was made with, which may be an iterator."""
        state = super().__getstate__()
        if not isinstance(state, dict):
            return state
        return {name: value for name, value in state.items() if name != "_made_with"}

    @abstractmethod
    def suggest(self, experiment: Any) -> dict[str, Any] | None:
        """The config to run next, or None if there is none."""

    def _plan(
        self, experiment: Any, n: int | None, overloads: dict[str, Any]
    ) -> Iterable[dict[str, Any]]:
        """The configs that :meth:`control` is to run; by default what is suggested.

        Parameters
        ----------
        experiment : Experiment
            What is to be run.
        n : int or None
            How many, if that was said.
        overloads : dict
            Parameters that every run gets, whatever is planned.
        """
        suggested = iter(lambda: self.suggest(experiment), None)
        return islice(suggested, 1 if n is None else n)

    def _count(self, n: int | None) -> int:
        """How many configs are planned, at most."""
        return 1 if n is None else n

    def _told(self, observation: Observation) -> bool:
        """Take note of a run that has ended; whether it did what it was for."""
        return observation.status in ("completed", "pruned")

    def _end(self) -> None:  # noqa: B027 # a hook that few need
        """All runs have ended, or are not waited for any more."""

    def control(
        self,
        experiment: Searchable,
        n: int | None = None,
        *,
        executor: Any = "serial",
        workers: int | None = None,
        **overloads: Any,
    ) -> None:
        """Run what is planned; a run that fails does not keep the others from being made.

        Parameters
        ----------
        experiment : Experiment
            What to run.
        n : int, optional
            How many runs at most; by default what the controller is for: all of a grid, one of
            what is suggested.
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
        planned = self._plan(experiment, None if n is None else checked_count(n), overloads)
        merged = (_with(config, overloads) for config in planned)
        configs = Counted(merged, self._count(n))
        ended = experiment.imap(
            configs,
            executor,
            workers,
            resume=self._resumes,
            ahead=self._ahead,
            progress=self._progress,
        )
        total = 0
        failed: list[Observation] = []
        try:
            for observation in ended:
                total += 1
                if not self._told(observation):
                    failed.append(observation)
        finally:
            self._end()
        if failed:
            last = failed[-1]
            text = f"{len(failed)} of {total} runs failed, the last as {last.outcome()}. They "
            text += "are recorded with their tracebacks: observations(status='failed')."
            if last.status == "completed":
                text = f"{len(failed)} of {total} runs gave nothing to go by: the last, {last.id}, "
                text += f"completed with {last.outcome()}, where a number was expected."
            warnings.warn(text, RunsFailedWarning, stacklevel=2)


def not_tried(
    suggested: Iterable[dict[str, Any]], tried: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Suggestions but for those that were tried before, each as often as it was."""
    known: Counter[str] | None = None
    for config in suggested:
        if known is None:
            known = Counter(_key({name: one.get(name) for name in config}) for one in tried)
        key = _key(config)
        if known[key]:
            known[key] -= 1
        else:
            yield config


def _key(config: dict[str, Any]) -> str:
    """What tells a config from others, or, where its values can't be compared, its look."""
    try:
        return recorded_key(config)
    except TypeError:
        return repr(config)


def _with(config: dict[str, Any], overloads: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise TypeError(f"suggest must give a dict of parameters, or None, not {config!r:.200}.")
    merged = copy(config)  # a config that is watched stays so
    merged.update(overloads)
    return merged


def checked_count(n: int) -> int:
    """Return ``n`` if it can be a number of runs."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
        raise ValueError(f"n must be a number of runs, 0 or more, not {n!r}.")
    return n
