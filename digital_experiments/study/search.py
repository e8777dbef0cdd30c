"""A search whose trials are replicated: what a controller is given in place of an experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.errors import InvalidStudy
from digital_experiments.many.calls import Planned
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.study.hypotheses import BASELINE
from digital_experiments.study.measures import measured, value_of
from digital_experiments.study.plans import SEARCH, Plan, config_mark, seed_of
from digital_experiments.study.session import new_plan
from digital_experiments.views import has_views

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

Objective = str | Callable[[Observations], float] | None

OBJECTIVE = "objective"
"""What the number of an objective that is a function is called."""

_SEED = "seed"
_PRUNED, _COMPLETED = "pruned", "completed"


class _Trial(NamedTuple):
    """Replicates of a trial that are to be made.

    Attributes
    ----------
    name : str
        The trial.
    config : dict
        Its config, as it was suggested.
    numbers : range or list of int
        Which replicates.
    """

    name: str
    config: dict[str, Any]
    numbers: Iterable[int]


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
    progress : bool, str or tuple
        As for :meth:`Experiment.map`.
    stopped : Event, optional
        Once it is set no further run is begun.

    Attributes
    ----------
    tried : list of dict
        The configs of the trials that were begun before.
    """

    def __init__(
        self,
        study: Study,
        replicates: int,
        objective: Objective,
        identity: str,
        how: Mapping[str, Any],
        progress: Any = True,
        stopped: Event | None = None,
    ) -> None:
        self.study = study
        self.experiment = study.seeded()
        self.name = study.name
        self.replicates = replicates
        self.objective = objective
        self.how = how
        self.progress = progress
        self.stopped = stopped or Event()
        self.is_written = False
        self.plan = self._planned(identity)
        self._runs: dict[str, dict[int, Observation]] = {}
        self._whole: dict[str, Observation] = {}
        for run in study.runs_of(self.plan.id):
            told = run.facts["study"]
            self._keep(told["treatment"], told["replicate"], run)
        configs = {name: _unseeded(self._first(name).config) for name in self._runs}
        self._tried = {
            name: config
            for name, config in configs.items()
            if self._is_done(name) or not has_views(config)  # a killed run may lack large values
        }
        self.tried = list(self._tried.values())
        self._names = Counter(name.partition("-")[0] for name in self._runs)

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

    # -- what was made --------------------------------------------------------------------------

    def observations(self, *, status: Any = _COMPLETED) -> Observations:
        """The trials that have ended so, each as one observation."""
        wanted = [status] if isinstance(status, str) else status
        ended = (self._trial(name) for name in self._runs if self._has_ended(name))
        return Observations(t for t in ended if wanted is None or t.status in wanted)

    def made(self) -> Observations:
        """The trials whose replicates have all completed, also those the objective failed for."""
        return Observations(self._trial(name) for name in self._runs if self._is_whole(name))

    @property
    def failed(self) -> Observation | None:
        """The last run that has failed, if one has."""
        runs = (run for of_one in self._runs.values() for run in of_one.values())
        failed = [run for run in runs if run.status not in (_COMPLETED, _PRUNED)]
        return max(failed, key=lambda run: run.id, default=None)

    def end(self) -> None:
        """Note how much of what was begun is done: what was pruned is."""
        if self.is_written:
            done = sum(map(self._is_done, self._runs))
            begun = self._names.total()
            self.study.plans.end(self.plan, done * self.replicates, begun * self.replicates)

    def _keep(self, trial: str, number: int, run: Observation) -> None:
        """Take note of a run, unless it is another attempt at what has been done."""
        runs = self._runs.setdefault(trial, {})
        known = runs.get(number)
        if known is None or known.status not in (_COMPLETED, _PRUNED):
            runs[number] = run
            self._whole.pop(trial, None)

    def _first(self, trial: str) -> Observation:
        runs = self._runs[trial]
        return runs[min(runs)]

    def _is_whole(self, trial: str) -> bool:
        runs = self._runs[trial].values()
        return len(runs) == self.replicates and all(run.status == _COMPLETED for run in runs)

    def _is_pruned(self, trial: str) -> bool:
        return any(run.status == _PRUNED for run in self._runs.get(trial, {}).values())

    def _is_done(self, trial: str) -> bool:
        return self._is_whole(trial) or self._is_pruned(trial)

    def _has_ended(self, trial: str) -> bool:
        return len(self._runs[trial]) == self.replicates or self._is_pruned(trial)

    # -- what is to be made ---------------------------------------------------------------------

    def finish(self, executor: Any, workers: int | None) -> None:
        """Make what is missing of the trials that were begun before, and again what failed."""
        missing = []
        for name, config in self._tried.items():
            is_made = any(run.status == "running" for run in self._runs[name].values())
            if not is_made and not self._is_done(name):
                runs = self._runs[name]
                undone = [n for n, run in runs.items() if run.status != _COMPLETED]
                for number in undone:
                    del runs[number]
                numbers = [n for n in range(self.replicates) if n not in runs]
                missing.append(_Trial(name, self.differences(config), numbers))
        if missing:
            for _ in self._made(missing, executor, workers):
                pass

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
        return self._made(
            self._begun(asked), executor, workers, self.progress if progress else False, ahead
        )

    def _pending(self, configs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        done = set(map(config_mark, self.tried))
        return (c for c in configs if config_mark(self.complete(c)) not in done)

    def _begun(self, configs: Iterable[dict[str, Any]]) -> Iterator[_Trial]:
        """Trials of configs, each begun when it is asked for."""
        for config in configs:
            mark = config_mark(self.complete(config))[:12]
            if not self.is_written:
                self.study.plans.write(self.plan)
                self.is_written = True
            self._names[mark] += 1
            yield _Trial(f"{mark}-{self._names[mark]}", config, range(self.replicates))

    def _made(
        self,
        trials: Iterable[_Trial],
        executor: Any,
        workers: int | None,
        progress: Any = False,
        ahead: int | None = None,
    ) -> Iterator[Observation]:
        asked: list[tuple[str, int]] = []
        given: set[str] = set()
        made = self.experiment._many(
            self._planned_runs(trials, asked),
            executor,
            workers,
            progress=progress,
            ahead=ahead,
            **self.how,
        )
        for place, observation in made:
            if self.stopped.is_set():
                raise InterruptedError("Nobody waits for the search any more.")
            name, number = asked[place]
            self._keep(name, number, observation)
            if self._has_ended(name) and name not in given:
                given.add(name)
                yield self._trial(name)

    def _planned_runs(
        self, trials: Iterable[_Trial], asked: list[tuple[str, int]]
    ) -> Iterator[Planned]:
        """The runs of trials, unless they were pruned meanwhile; takes note of which they are."""
        for name, config, numbers in trials:
            for number in numbers:
                if self._is_pruned(name):
                    break
                seed = seed_of(self.plan.seed, number)
                whole = self.study.with_seed(self._merged(config), seed)
                told: dict[str, Any] = {"name": self.plan.study, "plan": self.plan.id}
                told |= {"digest": self.plan.digest, "treatment": name, "replicate": number}
                asked.append((name, number))
                watch = getattr(config, "watch", None) if number == 0 else None
                yield Planned(whole, watch, {"seed": seed, "study": told})

    # -- a trial as one observation -------------------------------------------------------------

    def _trial(self, name: str) -> Observation:
        """The runs of a trial as one observation, whose numbers are their means."""
        known = self._whole.get(name)
        if known is None:
            known = self._whole[name] = self._mean_of(name)
        return known

    def _mean_of(self, name: str) -> Observation:
        runs = [run for _, run in sorted(self._runs[name].items())]
        first = self._first(name)
        config = _unseeded(first.config)
        undone = [run for run in runs if run.status != _COMPLETED]
        if undone:
            worst = next((run for run in undone if run.status == _PRUNED), undone[0])
            metadata = {"status": worst.status, "error": worst.error}
            return Observation(first.id, config, None, metadata)
        cells = [measured(run) for run in runs]
        means = {metric: _mean(cells, metric) for metric in cells[0]}
        result: Any = {metric: mean for metric, mean in means.items() if mean is not None}
        if callable(self.objective):
            try:
                result[OBJECTIVE] = float(self.objective(Observations(runs)))
            except Exception as problem:  # the user's
                told = {
                    "type": f"{type(problem).__name__} of the objective",
                    "message": str(problem),
                }
                return Observation(first.id, config, None, {"status": "failed", "error": told})
        logged = {}
        for series in first.summary:
            mean = result.pop(f"metrics.{series}", result.get(series))
            if mean is not None:
                logged[series] = {"last": mean}
        if "result" in result and not callable(self.objective):
            result = result["result"]
        return Observation(first.id, config, result, {"status": _COMPLETED, "metrics": logged})


def _mean(cells: list[dict[str, Any]], metric: str) -> float | None:
    import numpy

    values = [value for of_one in cells if (value := value_of(of_one, metric)) is not None]
    with numpy.errstate(all="ignore"):  # infinities may meet
        return float(numpy.mean(values)) if len(values) == len(cells) else None


def _unseeded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the seed, which the replicates of a trial differ in."""
    return {name: value for name, value in config.items() if name != _SEED}
