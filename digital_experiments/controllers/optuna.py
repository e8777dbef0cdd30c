"""Search by Optuna: what to try next, from all that is known. Optuna does the thinking."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from digital_experiments.config import recorded_key, same_value
from digital_experiments.controllers.base import Controller, Searchable
from digital_experiments.controllers.designs import Range, checked_range
from digital_experiments.controllers.pruning import (
    Pruning,
    is_reported,
    new_journal,
    remove,
    storage_of,
)
from digital_experiments.errors import RunsFailedWarning, UnknownColumn, did_you_mean
from digital_experiments.faults import warn_user
from digital_experiments.many.calls import Planned
from digital_experiments.observation import Observation
from digital_experiments.rows import row

if TYPE_CHECKING:
    import optuna

Space = Callable[["optuna.Trial"], dict[str, Any]]


class OptunaSearch(Controller):
    """Asks a study of Optuna for configs, and tells it what came of them.

    What the store already holds by the current code is told first, so that a search goes on where
    it stopped, and learns from runs that others have made.

    Parameters
    ----------
    maximise, minimise : str or list of str
        Columns of the table, such as ``result.accuracy``: one or more, of one or both.
    space : callable, optional
        Given a trial of Optuna, returns the config: for parameters that depend on each other.
    sampler : optuna.samplers.BaseSampler, optional
        By default Optuna's own choice.
    seed : int, optional
        Makes the default sampler repeatable, for runs one after another.
    pruner : optuna.pruners.BasePruner, optional
        Ends runs that are not worth going on, by a series that they log with
        :func:`log_metric`; their status is ``pruned``. For one goal only.
    prune_by : str, optional
        The name of that series, compared as the goal is; needed unless the goal is a metric.
    **dimensions
        ``(low, high)``, ``(low, high, "log")``, whole numbers where both ends are, or a list.

    Attributes
    ----------
    study : optuna.Study or None
        The study, once the search has begun.

    References
    ----------
    Akiba, Sano, Yanase, Ohta and Koyama, "Optuna: a next-generation hyperparameter optimization
    framework", KDD 2019.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> from digital_experiments.controllers import OptunaSearch
    >>> @experiment
    ... def hill(x):
    ...     return -(x - 0.5) ** 2
    >>> OptunaSearch(maximise="result", seed=1, x=(0.0, 1.0)).control(hill, n=20)
    >>> abs(hill.observations().best().config["x"] - 0.5) < 0.1
    True
    """

    _ahead = 0
    study: optuna.Study | None = None
    _journal: str | None = None

    def __init__(
        self,
        *,
        maximise: str | Sequence[str] = (),
        minimise: str | Sequence[str] = (),
        space: Space | None = None,
        sampler: Any = None,
        seed: int | None = None,
        pruner: Any = None,
        prune_by: str | None = None,
        **dimensions: Any,
    ) -> None:
        goals: dict[str, Any] = dict.fromkeys(_names(maximise), "maximize")
        goals.update(dict.fromkeys(_names(minimise), "minimize"))
        if not goals:
            raise ValueError("OptunaSearch needs maximise= or minimise=, such as 'result.loss'.")
        if (space is None) == (not dimensions):
            raise ValueError("OptunaSearch needs dimensions, such as lr=(1e-4, 1.0), or space=.")
        self.goals = goals
        (goal, wanted), *_ = goals.items()
        self._progress = (goal, "min" if wanted == "minimize" else "max")
        self.space = space
        self.dimensions = {name: checked_range(name, value) for name, value in dimensions.items()}
        self.sampler = sampler
        self.seed = seed
        if pruner is not None and not hasattr(pruner, "prune"):
            raise TypeError(
                f"pruner must be one of Optuna's, such as optuna.pruners.MedianPruner(), not "
                f"{pruner!r}."
            )
        self.pruner = pruner
        self.prune_by = None if pruner is None else _series(goals, prune_by)
        self._asked: dict[str, list[optuna.Trial]] = {}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.dimensions.items())
        return f"OptunaSearch({', '.join(self.goals)}; {shown or 'space'})"

    def suggest(self, experiment: Any) -> dict[str, Any]:
        """A config that is worth a try, by all observations there are now."""
        study = self._begin(experiment, {})
        return self._config(study.ask())

    def _plan(
        self, experiment: Searchable, n: int | None, overloads: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Configs that Optuna suggests, each by those that have ended before."""
        if self.pruner is not None:
            self._journal = new_journal(str(experiment.root))
        self.study = self._begin(experiment, overloads)
        self._asked = {}
        for _ in range(1 if n is None else n):
            trial = self.study.ask()
            config = self._config(trial)
            key = recorded_key(experiment.complete({**config, **overloads}))
            self._asked.setdefault(key, []).append(trial)
            yield self._watched(config, trial)

    def _watched(self, config: dict[str, Any], trial: optuna.Trial) -> dict[str, Any]:
        if self._journal is None or self.prune_by is None or self.study is None:
            return config
        name, number = self.study.study_name, trial._trial_id
        return Planned(config, Pruning(self._journal, name, number, self.prune_by, self.pruner))

    def _end(self) -> None:
        """Bring the study into memory, and remove the journal."""
        if self._journal is not None and self.study is not None:
            import optuna

            ended = [trial for trial in self.study.trials if trial.state.is_finished()]
            if ended and not any(trial.intermediate_values for trial in ended):
                warn_user(
                    f"Nothing could be pruned: no run has logged {self.prune_by!r}, which "
                    "prune_by= names.",
                    RunsFailedWarning,
                )
            self.study = optuna.create_study(
                directions=self.study.directions, sampler=self.study.sampler, pruner=self.pruner
            )
            self.study.add_trials(ended)
            remove(self._journal)
            self._journal = None

    def _told(self, observation: Observation) -> bool:
        """Tell the study what came of a trial; whether that was a number for each goal.

        Raises
        ------
        UnknownColumn
            If what is to be optimised is no column of a run that completed.
        """
        assert self.study is not None
        trial = self._asked[recorded_key(observation.config)].pop()
        values = self._values(observation)
        if values is not None:
            self.study.tell(trial, values)
            return True
        pruned = observation.status == "pruned"
        self.study.tell(trial, state=_states().PRUNED if pruned else _states().FAIL)
        return pruned

    def _begin(self, experiment: Searchable, overloads: dict[str, Any]) -> optuna.Study:
        """A study that knows what the store holds."""
        try:
            import optuna
        except ModuleNotFoundError as problem:
            raise ModuleNotFoundError(
                "OptunaSearch needs Optuna: pip install 'digital-experiments[optuna]'."
            ) from problem
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = self.sampler
        if sampler is None and self.seed is not None:
            several = len(self.goals) > 1
            kind = optuna.samplers.NSGAIISampler if several else optuna.samplers.TPESampler
            tried = getattr(experiment, "tried", ())  # the same seed would try the same again
            sampler = kind(seed=(self.seed + len(tried)) % 2**32)
        study = optuna.create_study(
            directions=list(self.goals.values()),
            sampler=sampler,
            pruner=self.pruner,
            storage=None if self._journal is None else storage_of(self._journal),
        )
        for observation in experiment.observations(status=["completed", "pruned"]):
            known = self._known(observation, overloads)
            if known is not None:
                study.add_trial(known)
        return study

    def _known(
        self, observation: Observation, overloads: dict[str, Any]
    ) -> optuna.trial.FrozenTrial | None:
        """An observation as a trial; None if it is none of this search."""
        import optuna

        config = observation.config
        pruned = observation.status == "pruned"
        values = None if pruned else self._numbers(observation)
        same = all(same_value(config.get(name), value) for name, value in overloads.items())
        if (values is None and not pruned) or not same:
            return None
        try:
            fixed = optuna.trial.FixedTrial(self._params(config))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of values out of their range
                told = self._config(fixed)
        except (ValueError, KeyError, TypeError, StopIteration):  # outside of the space
            return None
        if not all(same_value(config.get(name), value) for name, value in told.items()):
            return None
        try:
            return optuna.trial.create_trial(
                state=_states().PRUNED if pruned else _states().COMPLETE,
                params=fixed.params,
                distributions=fixed.distributions,
                values=values,
                intermediate_values=self._reported(observation),
            )
        except ValueError:  # a value is out of its range
            return None

    def _reported(self, observation: Observation) -> dict[int, float]:
        """What a run has logged of the series that pruning goes by."""
        if self.prune_by is None:
            return {}
        points = (point for point in observation.points() if point[0] == self.prune_by)
        return {int(step): float(value) for _, step, value, _ in points if is_reported(step)}

    def _params(self, config: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a trial that would give a config."""
        if self.space is not None:
            return config
        return {
            name: config[name] if isinstance(dimension, Range) else _place(dimension, config[name])
            for name, dimension in self.dimensions.items()
        }

    def _config(self, trial: Any) -> dict[str, Any]:
        if self.space is not None:
            return self.space(trial)
        return {name: _suggest(trial, name, d) for name, d in self.dimensions.items()}

    def _values(self, observation: Observation) -> list[float] | None:
        """What is to be optimised; None for a run that did not complete, or gave no number."""
        if observation.status != "completed":
            return None
        cells = dict(row(observation, any(name.startswith("metadata") for name in self.goals)))
        for name in self.goals:
            if name not in cells:
                raise UnknownColumn(f"There is no column {name!r}. {did_you_mean(name, cells)}")
        return self._numbers(observation)

    def _numbers(self, observation: Observation) -> list[float] | None:
        cells = dict(row(observation, any(name.startswith("metadata") for name in self.goals)))
        values = [cells.get(name) for name in self.goals]
        numbers = [float(v) for v in values if isinstance(v, (int, float)) and v == v]
        return numbers if len(numbers) == len(values) else None


def _names(goal: str | Sequence[str]) -> list[str]:
    return [goal] if isinstance(goal, str) else list(goal)


def _series(goals: dict[str, Any], named: str | None) -> str:
    """The series that pruning goes by."""
    if len(goals) > 1:
        raise ValueError("Optuna prunes searches for one goal only: leave pruner= out.")
    (goal,) = goals
    if named is None and not goal.startswith("metrics."):
        raise ValueError(
            f"pruner= needs prune_by=, the name of a series that the runs log, as {goal!r} is none."
        )
    return goal.removeprefix("metrics.") if named is None else named


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _suggest(trial: Any, name: str, dimension: Range | list[Any]) -> Any:
    if not isinstance(dimension, Range):
        return dimension[trial.suggest_categorical(name, list(range(len(dimension))))]
    low, high, log = dimension
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def _place(values: list[Any], value: Any) -> int:
    return next(n for n, one in enumerate(values) if same_value(one, value))
