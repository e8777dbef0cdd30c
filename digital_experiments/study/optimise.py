"""A search whose trials are replicated: what a controller is given in place of an experiment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from digital_experiments.config import config_key
from digital_experiments.digest import digest
from digital_experiments.errors import InvalidStudy, UnknownColumn, did_you_mean
from digital_experiments.facts import direction as usual_direction
from digital_experiments.many.calls import Planned
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.study.hypotheses import BASELINE
from digital_experiments.study.measures import measured, value_of
from digital_experiments.study.plans import SEARCH, Plan, config_mark, seed_of
from digital_experiments.study.session import checked_how, new_plan, remove_old_files
from digital_experiments.study.treatments import Treatment
from digital_experiments.views import PLAIN_SCALARS, short_repr, type_name

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

Objective = str | Callable[[Observations], float] | None

_SEED = "seed"
_OBJECTIVE = "objective"
_BEST = "best"
_FUNCTIONS = (FunctionType, BuiltinFunctionType, partial)
_DIRECTIONS = {"maximize": "max", "minimize": "min"}


def best_of(
    study: Study,
    controller: Any,
    trials: int,
    replicates: int,
    objective: Objective,
    direction: str | None,
    how: Mapping[str, Any],
) -> Treatment:
    """See :meth:`Study.optimise`."""
    for name, number in (("trials", trials), ("replicates_per_trial", replicates)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{name} must be a number, 1 or more, not {number!r}.")
    if direction not in (None, "max", "min"):
        raise ValueError(f"direction must be 'max' or 'min', not {direction!r}.")
    if not callable(getattr(controller, "control", None)):
        raise TypeError(
            f"optimise expects a controller, such as OptunaSearch(...), not {controller!r}."
        )
    if not (objective is None or isinstance(objective, str) or callable(objective)):
        raise TypeError(f"objective must be a metric or a function, not {objective!r}.")
    options = {"executor": study.executor, "workers": study.workers, **how}
    asked = study.asked(executor=options.pop("executor"), workers=options.pop("workers"))
    checked_how(options, "search")
    goal, end = _goal(controller, objective, direction)
    search = Search(asked, replicates, objective, _identity(controller), options)
    missing = trials - len(search.made())
    if missing > 0:
        controller.control(search, missing, executor=asked.executor, workers=asked.workers)
    found = search.made()
    if search.is_written:
        wanted = trials if search.begun >= missing else max(len(found), search.distinct)
        study.plans.end(search.plan, len(found) * replicates, wanted * replicates)
        remove_old_files(study)
    scored = [(o, value) for o in found if (value := _score(o, goal)) is not None]
    if not scored:
        _explain(found, goal)
    choose = min if end == "min" else max
    best, score = choose(scored, key=lambda pair: pair[1])
    treatment = Treatment(_BEST, search.differences(best.config))
    treatment.score = score
    return treatment


_identities: dict[int, tuple[Any, str]] = {}


def _identity(controller: Any) -> str:
    """What tells a controller from others: its kind, and what it was when it was first used."""
    known = _identities.get(id(controller))
    if known is None:
        known = _identities[id(controller)] = (controller, _identity_now(controller))
    return known[1]


def _identity_now(controller: Any) -> str:
    made_with = getattr(controller, "_made_with", None)
    if made_with is None:
        slots = getattr(type(controller), "__slots__", ())
        names = [slots] if isinstance(slots, str) else slots
        made_with = {n: getattr(controller, n) for n in names if hasattr(controller, n)}
        made_with |= getattr(controller, "__dict__", {})
    return f"{short_repr(controller, 200)} {digest(_content(made_with))}"


def _content(value: Any) -> Any:
    """What tells a value from others; of an object that may change with its use, its kind."""
    kind = type(value)
    if kind in (list, tuple, range):
        return [_content(item) for item in value]
    if kind is dict:
        return [[_content(key), _content(item)] for key, item in value.items()]
    if hasattr(value, "rvs"):  # a distribution, which may hold a generator too
        if hasattr(value, "dist"):
            return [value.dist.name, _content(value.args), _content(value.kwds)]
        return [type_name(kind), _content(getattr(value, "__dict__", {}))]
    if not (kind in PLAIN_SCALARS or kind.__module__ == "numpy" or isinstance(value, _FUNCTIONS)):
        return type_name(kind)
    try:
        return config_key(value)
    except TypeError:  # it can't be compared with others
        return type_name(kind)


def _goal(controller: Any, objective: Objective, direction: str | None) -> tuple[str | None, str]:
    """The column that is looked at, and which end of it is best."""
    goals = getattr(controller, "goals", None) or {}
    wanted = {_plain_name(name): _DIRECTIONS[told] for name, told in goals.items()}
    if objective is None:
        column = next(iter(goals), None)
    else:
        column = _OBJECTIVE if callable(objective) else objective
    name = _plain_name(column or "")
    return column, direction or wanted.get(name) or usual_direction(name)


def _plain_name(column: str) -> str:
    """A metric without what says where it is from."""
    return column.removeprefix("metrics.").removeprefix("result.")


def _score(trial: Observation, goal: str | None) -> float | None:
    """The finite number that a trial came to."""
    if trial.status != "completed":
        return None
    cells = measured(trial)
    if goal is None:
        value = next((v for name in cells if (v := value_of(cells, name)) is not None), None)
    else:
        value = value_of(cells, goal.removeprefix("metrics."))
    return value if value is not None and math.isfinite(value) else None


def _explain(trials: Observations, goal: str | None) -> None:
    """Say why there is nothing to choose from."""
    if not trials:
        raise InvalidStudy("No trial has completed all its replicates: see the failed runs.")
    failed = next((trial.error for trial in trials if trial.status != "completed"), None)
    if failed is not None:
        raise InvalidStudy(
            f"None of {len(trials)} trials has come to a number; their runs are kept. "
            f"{failed['type']} {failed['message']}"
        )
    if any(value_of(measured(trial), str(goal)) is not None for trial in trials):
        raise InvalidStudy(f"{goal!r} is not finite in any of {len(trials)} trials.")
    known = dict.fromkeys(name for trial in trials for name in measured(trial))
    raise UnknownColumn(f"No trial has a number in {goal!r}. {did_you_mean(str(goal), known)}")


class Search:
    """What a controller takes for an experiment: each of its runs is a trial of some replicates.

    Parameters
    ----------
    study : Study
        Whose experiment, baseline and seeds they have.
    replicates : int
        How many runs a trial is.
    objective : str or callable, optional
        A function adds what it gives to the trials' results, as ``objective``.
    identity : str
        What tells this search from others: it goes on where the same one stopped.
    how : dict
        ``retries`` and ``timeout``.

    Attributes
    ----------
    tried : int
        How many trials were asked for before.
    begun : int
        How many are asked for now.
    """

    def __init__(
        self,
        study: Study,
        replicates: int,
        objective: Objective,
        identity: str,
        how: Mapping[str, Any],
    ) -> None:
        self.study = study
        self.experiment = study.seeded()
        self.name = study.name
        self.replicates = replicates
        self.objective = objective
        self.how = how
        self.is_written = False
        self.plan = self._planned(identity)
        told = (run.facts["study"]["treatment"] for run in study.runs_of(self.plan.id))
        self.begun = 0
        self._names = Counter(name.partition("-")[0] for name in dict.fromkeys(told))
        self.tried = self._names.total()

    def _planned(self, identity: str) -> Plan:
        """The plan of the search that this one goes on with, or a new one."""
        study, plans = self.study, self.study.plans
        fingerprint = self.experiment.fingerprint
        baseline = study.conditions[BASELINE]
        for plan in reversed(plans.all()):
            if (
                plan.kind == SEARCH
                and plan.search == identity
                and plan.replicates == self.replicates
                and plan.fingerprint == fingerprint
                and plan.keys == {BASELINE: config_mark(baseline)}
                and study.seed in (None, plan.seed)
            ):
                self.is_written = True
                return plan
        return new_plan(
            study,
            self.experiment,
            {BASELINE: baseline},
            kind=SEARCH,
            replicates=self.replicates,
            seed=study.seed,
            hypotheses=[],
            correction=None,
            search=identity,
        )

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.experiment.root

    @property
    def distinct(self) -> int:
        """How many configs have been asked for."""
        return len(self._names)

    def complete(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config of a trial, with the baseline's values and defaults."""
        try:
            return _unseeded(self.study.complete(self._merged(config)))
        except TypeError as problem:
            name = self.experiment.name
            raise InvalidStudy(
                f"{name!r} can't be run with {dict(config)!r:.200}: {problem}"
            ) from None

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        if self.study.takes_seed and _SEED in config:
            raise InvalidStudy("A search can't vary 'seed', which the study gives each replicate.")
        return {**self.study.conditions[BASELINE], **config}

    def differences(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial's config has otherwise than the baseline."""
        usual = self.complete({})
        marks = {name: config_mark({name: value}) for name, value in usual.items()}
        return {k: v for k, v in config.items() if marks.get(k) != config_mark({k: v})}

    def observations(self, *, status: Any = "completed") -> Observations:
        """The trials whose replicates have all completed, each as one observation."""
        wanted = [status] if isinstance(status, str) else status
        if wanted is not None and "completed" not in wanted:
            return Observations()
        return Observations(trial for trial in self.made() if trial.status == "completed")

    def made(self) -> Observations:
        """The same, with those that the objective has failed for."""
        parts: dict[str, dict[int, Observation]] = {}
        for run in self.study.runs_of(self.plan.id):
            told = run.facts["study"]
            if run.status == "completed":
                parts.setdefault(told["treatment"], {}).setdefault(told["replicate"], run)
        whole = [runs for runs in parts.values() if len(runs) >= self.replicates]
        return Observations(self._trial(list(runs.values())) for runs in whole)

    def imap(
        self,
        configs: Any,
        executor: Any,
        workers: int | None,
        *,
        resume: bool = False,
        progress: Any = True,
        ahead: int | None = None,
    ) -> Iterator[Observation]:
        """Make the runs of trials, and give each trial when its last run has ended."""
        asked = self._pending(configs) if resume else iter(configs)
        numbers: list[str] = []
        ended: dict[str, list[Observation]] = {}
        made = self.experiment._many(
            self._runs(asked, numbers),
            executor,
            workers,
            progress=bool(progress),
            ahead=ahead,
            **self.how,
        )
        for place, observation in made:
            trial = numbers[place]
            ended.setdefault(trial, []).append(observation)
            if len(ended[trial]) == self.replicates:
                yield self._trial(ended.pop(trial))

    def _pending(self, configs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        done = {config_mark(trial.config) for trial in self.observations()}
        return (c for c in configs if config_mark(self.complete(c)) not in done)

    def _runs(self, configs: Iterable[dict[str, Any]], numbers: list[str]) -> Iterator[Planned]:
        """The replicates of trials; takes note of which trial each is of."""
        for config in configs:
            mark = config_mark(self.complete(config))[:12]
            if not self.is_written:
                self.study.plans.write(self.plan)
                self.is_written = True
            self._names[mark] += 1
            self.begun += 1
            trial = f"{mark}-{self._names[mark]}"
            for number in range(self.replicates):
                seed = seed_of(self.plan.seed, number)
                whole = self.study.with_seed(self._merged(config), seed)
                told: dict[str, Any] = {"name": self.plan.study, "plan": self.plan.id}
                told |= {"digest": self.plan.digest, "treatment": trial, "replicate": number}
                numbers.append(trial)
                watch = getattr(config, "watch", None) if number == 0 else None
                yield Planned(whole, watch, {"seed": seed, "study": told})

    def _trial(self, runs: Sequence[Observation]) -> Observation:
        """The runs of a trial as one observation, whose numbers are their means."""
        first = min(runs, key=lambda run: run.id)
        config = _unseeded(first.config)
        undone = next((run for run in runs if run.status != "completed"), None)
        if undone is not None:
            metadata = {"status": undone.status, "error": undone.error}
            return Observation(first.id, config, None, metadata)
        cells = [measured(run) for run in runs]
        means = {name: _mean(cells, name) for name in cells[0]}
        result: Any = {name: mean for name, mean in means.items() if mean is not None}
        if callable(self.objective):
            try:
                result[_OBJECTIVE] = float(self.objective(Observations(runs)))
            except Exception as problem:  # the user's
                told = {"type": type(problem).__name__, "message": f"of the objective: {problem}"}
                return Observation(first.id, config, None, {"status": "failed", "error": told})
        logged = {name: {"last": result[name]} for name in first.summary if name in result}
        if "result" in result and not callable(self.objective):
            result = result["result"]
        return Observation(first.id, config, result, {"status": "completed", "metrics": logged})


def _mean(cells: Sequence[Mapping[str, Any]], name: str) -> float | None:
    import numpy

    values = [value for of_one in cells if (value := value_of(of_one, name)) is not None]
    with numpy.errstate(all="ignore"):  # infinities may meet
        return float(numpy.mean(values)) if len(values) == len(cells) else None


def _unseeded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the seed, which the replicates of a trial differ in."""
    return {name: value for name, value in config.items() if name != _SEED}
