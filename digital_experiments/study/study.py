"""A plan over one experiment: treatments, replicates, seeds, hypotheses - and what came of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks import Callback, Seed
from digital_experiments.callbacks.seed import SEEDS, checked_seed
from digital_experiments.errors import (
    DigitalExperimentsWarning,
    InvalidStudy,
    VersionNotFound,
    did_you_mean,
)
from digital_experiments.executors import executor_of
from digital_experiments.experiment import Experiment
from digital_experiments.faults import warn_user
from digital_experiments.ids import check_name, new_id
from digital_experiments.observation import Observation
from digital_experiments.options import call_kind
from digital_experiments.retention import Retention, checked_retention
from digital_experiments.selection import STATUSES
from digital_experiments.study.hypotheses import (
    ALL,
    BASELINE,
    Hypothesis,
    as_hypothesis,
    checked_choice,
)
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import CONFIRMATION, Plan, Plans, plain_config, seed_of
from digital_experiments.study.session import Session
from digital_experiments.study.statistics import CORRECTIONS, NEEDS_SCIPY, smallest_p
from digital_experiments.study.treatments import Treatment, as_treatments

_SEED = "seed"
_DATA = "data"


class Version(NamedTuple):
    """One time that a study was run.

    Attributes
    ----------
    number : int
        From 1.
    made : str
        When its plan was written, in UTC.
    kind : str
        ``study``, ``confirmation`` or ``search``.
    treatments : list of str
        Its conditions besides the baseline.
    replicates : int
        How many of each.
    seed : int
        What their seeds are made from.
    complete : bool
        Whether every run has completed.
    id : str
        Of its plan.
    """

    number: int
    made: str
    kind: str
    treatments: list[str]
    replicates: int
    seed: int
    complete: bool
    id: str


class Study:
    """What an experiment is to be asked: under which conditions, how often, to show what.

    A study is not changed: :meth:`treat`, :meth:`expect`, :meth:`replicate` and :meth:`with_`
    give another. Its runs are ordinary observations of the experiment.

    Parameters
    ----------
    experiment : Experiment
        What is run.
    baseline : dict, optional
        The config that treatments are compared with; what it leaves out has its default.
    treatments : dict or list of Treatment, optional
        By name, config values, or functions of the baseline's config.
    replicates : int
        How often each condition is run.
    seed : int, optional
        What the seeds are made from: replicate ``r`` of each condition has
        ``(seed + r * 31337) % 2**32``. By default drawn when the study is run, and kept.
    hypotheses : str, function, Hypothesis, or a list of them
        What is to be shown.
    name : str, optional
        By default the experiment's.
    description : str
        What it is for.
    executor, workers
        Where it runs, as for :meth:`Experiment.map`.
    callbacks : list of Callback
        Who listens to the runs and, by ``study_start`` and ``study_end``, to the whole.
    correction : {"holm", "benjamini-hochberg"} or None
        How p-values are corrected for the number of hypotheses.
    retention : Retention, optional
        Which files of earlier versions are kept; by default all.

    Raises
    ------
    InvalidStudy, InvalidHypothesis, TypeError, ValueError
        For what can't be, at once; :meth:`validate` looks at how it fits together.

    Examples
    --------
    >>> import random
    >>> from digital_experiments import Study, experiment
    >>> @experiment
    ... def throw(bias=0.0, seed=0):
    ...     return {"height": random.gauss(bias, 1.0)}
    >>> study = Study(throw, treatments={"biased": {"bias": 2.0}}, replicates=20, seed=1)
    >>> outcome = study.expect("biased.height > baseline.height").run()
    >>> outcome.verdicts[0].text
    'supported'
    """

    def __init__(
        self,
        experiment: Experiment[..., Any],
        baseline: Mapping[str, Any] | None = None,
        treatments: Any = None,
        replicates: int = 1,
        seed: int | None = None,
        hypotheses: Any = (),
        name: str | None = None,
        description: str = "",
        executor: Any = "serial",
        workers: int | None = None,
        callbacks: Sequence[Callback] = (),
        correction: str | None = "holm",
        retention: Retention | None = None,
    ) -> None:
        if not isinstance(experiment, Experiment):
            raise TypeError(
                f"Study expects an experiment, not {experiment!r}: decorate the function with "
                "@experiment."
            )
        if baseline is not None and not isinstance(baseline, Mapping):
            raise InvalidStudy(f"baseline must be a dict of config values, not {baseline!r}.")
        self.experiment = experiment
        self.baseline = dict(baseline or {})
        self.treatments = as_treatments(treatments)
        self.replicates = checked_replicates(replicates)
        self.seed = None if seed is None else checked_seed(seed)
        self.hypotheses = tuple(map(as_hypothesis, _listed(hypotheses)))
        self.name = check_name(name or experiment.name, "the name of a study")
        self.description = str(description)
        self.executor = executor
        self.workers = workers
        self.callbacks = tuple(callbacks)
        self.correction = correction
        self.retention = checked_retention(retention)
        if correction is not None:
            checked_choice("correction", correction, CORRECTIONS)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must hold Callback objects, not {callback!r}.")

    # -- deriving

    def with_(self, **changes: Any) -> Study:
        """The same study with some parameters of its own changed.

        Raises
        ------
        TypeError
            For a parameter that there is not.
        """
        given = {name: getattr(self, name) for name in _PARAMETERS}
        for name in changes:
            if name not in given:
                raise TypeError(f"A study has no {name!r}. {did_you_mean(name, given)}")
        return Study(**{**given, **changes})

    def treat(self, name: str, apply: Any = None, /, **config: Any) -> Study:
        """The same study with one treatment more, or another of that name.

        Parameters
        ----------
        name : str
            What it is called.
        apply : dict or callable, optional
            What it does, if that is not said by ``config``.
        **config
            Config values.
        """
        made = Treatment(name, config if apply is None else apply)
        return self.with_(treatments={**self.treatments, name: made})

    def expect(self, hypothesis: Any, **how: Any) -> Study:
        """The same study with one hypothesis more.

        Parameters
        ----------
        hypothesis : str, callable or Hypothesis
            What is to be shown: see :class:`Hypothesis`.
        **how
            ``test``, ``paired``, ``alpha``, ``interval``, ``name``; of a function also
            ``metrics`` and ``ranker``.
        """
        if how and isinstance(hypothesis, str):
            hypothesis = Hypothesis(hypothesis, **how)
        elif how and callable(hypothesis) and not isinstance(hypothesis, Hypothesis):
            hypothesis = Hypothesis(verifier=hypothesis, **how)
        elif how:
            raise TypeError("How it is tested is said where a Hypothesis is made.")
        return self.with_(hypotheses=(*self.hypotheses, as_hypothesis(hypothesis)))

    def replicate(self, replicates: int) -> Study:
        """The same study with another number of replicates."""
        return self.with_(replicates=replicates)

    # -- what is to be run

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """The config of each condition, defaults included, the baseline first.

        Raises
        ------
        InvalidStudy
            If one can't be made.
        """
        found, problems = self._conditions()
        if problems:
            raise InvalidStudy(_all_of(problems))
        return found

    def _conditions(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The configs of the conditions, and what is wrong with them."""
        found: dict[str, dict[str, Any]] = {}
        problems: list[str] = []
        for name in (BASELINE, *self.treatments):
            subject = name if name == BASELINE else f"treatment {name!r}"
            try:
                found[name] = self._condition(name)
            except Exception as problem:  # of a function of the user's, too
                problems.append(f"{subject}: {str(problem) or type(problem).__name__}")
        return found, problems

    def _condition(self, name: str) -> dict[str, Any]:
        if name == BASELINE:
            return self._whole(self.baseline)
        return self._whole(self.treatments[name].config(self._with_defaults(self.baseline)))

    @property
    def takes_seed(self) -> bool:
        """Whether the function has a parameter ``seed``."""
        return _SEED in self.experiment._bind.names

    def _with_defaults(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A config with the defaults of the function, without a seed of its own."""
        whole = {**self.experiment._bind.defaults, **config}
        if self.takes_seed and _SEED not in config:
            whole.pop(_SEED, None)
        return whole

    def _whole(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A config with the defaults, if it fits the function.

        Raises
        ------
        InvalidStudy
            If it does not.
        """
        experiment = self.experiment
        if self.takes_seed and _SEED in config:
            raise InvalidStudy("it sets 'seed', which the study gives: Study(seed=...)")
        for name in config:
            if not experiment._bind.accepts(name) and not self._takes_more:
                raise InvalidStudy(
                    f"{experiment.name!r} has no parameter {name!r}. "
                    + did_you_mean(name, experiment._bind.names)
                )
        whole = self._with_defaults(config)
        try:
            self.complete(whole)
        except TypeError as problem:
            raise InvalidStudy(f"it does not fit {experiment.name!r}: {problem}") from None
        return whole

    def complete(self, config: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """The config that a run has, with a seed if the function takes one.

        Raises
        ------
        TypeError
            If the config does not fit the function.
        """
        return self.experiment.complete(self.with_seed(config, seed))

    def with_seed(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The parameters of a run, with a seed if the function takes one."""
        return {**config, _SEED: seed} if self.takes_seed else dict(config)

    @property
    def _takes_more(self) -> bool:
        """Whether the function takes parameters that it does not name."""
        signature = self.experiment._bind.signature
        kinds = signature.parameters.values() if signature else []
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in kinds)

    def validate(self) -> Study:
        """See that the study can be run, and say all that is wrong with it.

        Returns
        -------
        Study
            This one.

        Raises
        ------
        InvalidStudy
            With a line for each thing that is wrong.

        Warns
        -----
        DigitalExperimentsWarning
            If a test could not come to a verdict with so few replicates.
        """
        _, problems = self._conditions()
        if find_spec("scipy") is None:
            problems.append(NEEDS_SCIPY)
        names = [BASELINE, *self.treatments]
        for hypothesis in self.hypotheses:
            try:
                hypothesis.check(names)
            except InvalidStudy as problem:
                problems.append(str(problem))
            if (ALL in hypothesis.conditions or hypothesis.verifier) and not self.treatments:
                problems.append(f"{hypothesis.name!r} is about treatments, of which there are none")
        try:
            executor_of(self.executor, self.workers if isinstance(self.executor, str) else None)
        except (ValueError, TypeError, ModuleNotFoundError) as problem:
            problems.append(f"executor: {problem}")
        if problems:
            raise InvalidStudy(_all_of(problems))
        for hypothesis in self.hypotheses:
            self._warn_of_too_few(hypothesis)
        return self

    def _warn_of_too_few(self, hypothesis: Hypothesis) -> None:
        if hypothesis.verifier is not None or self.replicates < 2:
            return
        side = "two-sided" if hypothesis.operator == "!=" else "greater"
        count = self.replicates
        least = smallest_p(hypothesis.test, hypothesis.paired is not False, count, count, side)
        if least > hypothesis.alpha:
            warn_user(
                f"With {count} replicates the smallest p-value for {hypothesis.name!r} is "
                f"{least:.2g}, above alpha = {hypothesis.alpha:g}: it can't be shown.",
                DigitalExperimentsWarning,
            )

    # -- running

    def run(
        self,
        treatments: Any = None,
        hypotheses: Any = None,
        replicates: int | None = None,
        strategy: str = "rerun",
        executor: Any = None,
        workers: int | None = None,
        progress: bool | str | tuple[str, str] = True,
        **how: Any,
    ) -> Outcome:
        """Run every replicate of every condition.

        Parameters
        ----------
        treatments, hypotheses, replicates
            In place of the study's own; treatments may be a list of the names of some.
        strategy : {"rerun", "resume"}
            ``resume`` goes on with the newest version, whose runs of equal conditions and code
            are not made again; more replicates, or treatments, extend it.
        executor, workers
            In place of the study's own.
        progress : bool, str or tuple
            As for :meth:`Experiment.map`.
        **how
            ``retries`` and ``timeout``, as for :meth:`Experiment.map`.

        Returns
        -------
        Outcome
            A run that fails is recorded and counted, and the rest goes on.

        Raises
        ------
        InvalidStudy
            For all that :meth:`validate` finds.
        RuntimeError
            In an event loop that runs: await :meth:`arun` there.
        """
        _refuse_in_loop()
        asked = self._asked(treatments, hypotheses, replicates, executor, workers)
        session = Session(asked, strategy, progress, how)
        for _ in session.runs():
            pass
        return session.outcome()

    async def arun(self, *args: Any, **how: Any) -> Outcome:
        """As :meth:`run`, to be awaited: other coroutines run meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.run, *args, **how)

    def stream(
        self,
        treatments: Any = None,
        hypotheses: Any = None,
        replicates: int | None = None,
        strategy: str = "rerun",
        executor: Any = None,
        workers: int | None = None,
        progress: bool | str | tuple[str, str] = False,
        **how: Any,
    ) -> Iterator[Replicate]:
        """As :meth:`run`, giving each replicate as its run ends.

        If it is not consumed to the end, ``strategy="resume"`` goes on from there.
        """
        asked = self._asked(treatments, hypotheses, replicates, executor, workers)
        session = Session(asked, strategy, progress, how)
        yield from session.runs()
        session.outcome()

    def _asked(
        self, treatments: Any, hypotheses: Any, replicates: Any, executor: Any, workers: Any
    ) -> Study:
        changes: dict[str, Any] = {}
        if treatments is not None:
            changes["treatments"] = self._chosen(treatments)
        if hypotheses is not None:
            changes["hypotheses"] = hypotheses
        if replicates is not None:
            changes["replicates"] = replicates
        if executor is not None:
            changes |= {"executor": executor, "workers": workers}
        elif workers is not None:
            changes["workers"] = workers
        return self.with_(**changes).validate()

    def _chosen(self, treatments: Any) -> Any:
        """Treatments, some of which may be given by their names."""
        if isinstance(treatments, Mapping) or not isinstance(treatments, Iterable):
            return treatments
        return [
            self.treatment(one) if isinstance(one, str) else one
            for one in ([treatments] if isinstance(treatments, str) else treatments)
        ]

    def treatment(self, name: str) -> Treatment:
        """The treatment of a name.

        Raises
        ------
        InvalidStudy
            If there is none.
        """
        if name == BASELINE:
            return _nothing()
        if name not in self.treatments:
            hint = did_you_mean(name, [BASELINE, *self.treatments])
            raise InvalidStudy(f"There is no treatment {name!r}. {hint}")
        return self.treatments[name]

    def apply(
        self,
        treatment: Treatment | str | Mapping[str, Any] | None = None,
        *,
        data: Any = None,
        seed: int | None = None,
        **overrides: Any,
    ) -> Any:
        """Make one run, which is recorded, and give the function's own value.

        Parameters
        ----------
        treatment : Treatment, str or dict, optional
            What to do otherwise than the baseline.
        data
            Of a pipeline, what replaces its first step.
        seed : int, optional
            The run's seed; by default drawn.
        **overrides
            Config values that go before all others.

        Raises
        ------
        InvalidStudy
            For a config that does not fit.
        """
        name, config = self._single(treatment)
        if data is not None:
            if not hasattr(self.experiment.function, "__parts__"):
                raise InvalidStudy(
                    f"{self.experiment.name!r} is no pipeline, so data= has nothing to replace: "
                    "give the data as a parameter."
                )
            overrides[_DATA] = data
        given = secrets.randbelow(SEEDS) if seed is None else checked_seed(seed)
        return self._call({**config, **overrides}, given, {"name": self.name, "treatment": name})

    def debug(self, treatment: Treatment | str | Mapping[str, Any] | None = None) -> Any:
        """Make the first replicate of a condition here, and raise what it raises.

        Parameters
        ----------
        treatment : Treatment, str or dict, optional
            The condition; by default the baseline.

        Returns
        -------
        Any
            What the function returns.
        """
        name, config = self._single(treatment)
        facts = {"name": self.name, "treatment": name, "replicate": 0, "debug": True}
        return self._call(
            config, secrets.randbelow(SEEDS) if self.seed is None else self.seed, facts
        )

    def _single(self, treatment: Any) -> tuple[str, dict[str, Any]]:
        if isinstance(treatment, str):
            treatment = self.treatment(treatment)
        elif treatment is None:
            treatment = _nothing()
        elif isinstance(treatment, Mapping):
            treatment = Treatment("given", treatment)
        name = BASELINE if treatment.name == _nothing().name else treatment.name
        return name, treatment.config(self._with_defaults(self.baseline))

    def _call(self, config: dict[str, Any], seed: int, study: dict[str, Any]) -> Any:
        import asyncio

        try:
            self.complete(config, seed)
        except TypeError as problem:
            raise InvalidStudy(f"The config does not fit: {problem}") from None

        seeded = self.seeded()
        facts = {"fingerprint": seeded.fingerprint, "seed": seed, "study": study}
        token = assigned.set(Assignment(seeded, new_id(), facts))
        try:
            value = seeded(**self.with_seed(config, seed))
            if call_kind(seeded.function) == "coroutine":
                return asyncio.run(value)
            return value
        finally:
            assigned.reset(token)

    def seeded(self) -> Experiment[..., Any]:
        """The experiment with the study's callbacks, and one that seeds, if it has none.

        Each replicate is a run of its own, so a cache is not asked.
        """
        own = [*self.experiment._options["callbacks"], *self.callbacks]
        if not any(isinstance(callback, Seed) for callback in own):
            own.append(Seed())
        return self.experiment.with_(callbacks=own, cache=False)

    # -- versions

    @property
    def plans(self) -> Plans:
        """The plans of this study in the experiment's store."""
        return Plans(str(self.experiment.root), self.name)

    def versions(self) -> list[Version]:
        """Every time that the study was run, the oldest first."""
        plans = self.plans
        found = []
        for number, plan in enumerate(plans.all(), 1):
            ending = plans.ending(plan)
            complete = ending is not None and ending["completed"] >= plan.size
            treatments = [name for name in plan.conditions if name != BASELINE]
            told = (plan.kind, treatments, plan.replicates, plan.seed, complete, plan.id)
            found.append(Version(number, plan.made, *told))
        return found

    def progress(self, version: int | None = None) -> tuple[int, int]:
        """How many runs of a version have completed, and of how many; opens no result.

        Raises
        ------
        VersionNotFound
            If there is no such version.
        """
        _, plan = self._plan(version)
        done = sum(o.observation.status == "completed" for o in self._replicates(plan))
        return done, plan.size

    def _plan(self, version: int | None) -> tuple[int, Plan]:
        plans = self.plans.all()
        if version is None and plans:
            return len(plans), plans[-1]
        if version is None or not 1 <= version <= len(plans):
            asked = f"no version {version}" if version is not None else "not been run yet"
            has = f"It has {len(plans)}." if plans else "It has none in this store."
            raise VersionNotFound(f"Study {self.name!r} has {asked}. {has}")
        return version, plans[version - 1]

    def load(self, version: int | None = None, hypotheses: Any = None) -> Outcome:
        """What came of a version.

        Parameters
        ----------
        version : int, optional
            By default the newest.
        hypotheses : optional
            What to test in place of what was planned.

        Raises
        ------
        VersionNotFound
            If there is no such version.

        Notes
        -----
        To look at a confirmation that has not ended is noted in it.
        """
        number, plan = self._plan(version)
        if plan.kind == "search":
            plan = self._with_trials(plan)
        found = self._replicates(plan)
        done = sum(one.observation.status == "completed" for one in found)
        if plan.kind == CONFIRMATION and done < plan.size:
            self.plans.look(plan, done)
        asked = (
            self._of_plan(plan) if hypotheses is None else map(as_hypothesis, _listed(hypotheses))
        )
        return Outcome(self, plan, number, found, list(asked))

    def _with_trials(self, plan: Plan) -> Plan:
        """The plan of a search with the trials that were made as its conditions."""
        conditions = dict[str, Any]()
        for run in self._runs_of(plan.id):
            conditions.setdefault(
                run.facts["study"]["treatment"], plain_config(run.shown("config"))
            )
        return replace(plan, conditions=conditions)

    def _of_plan(self, plan: Plan) -> list[Hypothesis]:
        """The hypotheses of a plan; functions are found among the study's."""
        found = []
        for told in plan.hypotheses:
            function = told.get("function")
            mine = next((h for h in self.hypotheses if h.to_plain() == told), None)
            if mine is not None:
                found.append(mine)
            elif function is None:
                found.append(Hypothesis(**told))
        return found

    def _replicates(self, plan: Plan) -> list[Replicate]:
        """The newest attempt at each replicate of a plan; one that completed before others."""
        found: dict[tuple[str, int], Observation] = {}
        for id in (*plan.continues, plan.id):
            for observation in self._runs_of(id):
                told = observation.facts["study"]
                key = (told["treatment"], told["replicate"])
                known = found.get(key)
                if known is None or known.status != "completed":
                    found[key] = observation
        return [
            Replicate(name, number, seed_of(plan.seed, number), observation)
            for (name, number), observation in found.items()
            if name in plan.conditions and number < plan.replicates
        ]

    def _runs_of(self, plan: str) -> Iterable[Observation]:
        try:
            return self.experiment.observations(
                current_code_only=False,
                status=list(STATUSES),
                where=f"metadata.study.plan == '{plan}'",
            )
        except LookupError:  # no run has begun
            return []

    def load_all(self) -> dict[str, tuple[int, Outcome]]:
        """Per condition the newest version that has completed runs of it, with its number."""
        found: dict[str, tuple[int, Outcome]] = {}
        for number in range(len(self.plans.all()), 0, -1):
            if self._plan(number)[1].kind == "search":
                continue
            outcome = self.load(number)
            for name in outcome.plan.conditions:
                if name not in found and not outcome.metrics(name).empty:
                    found[name] = (number, outcome)
        return found

    def artefacts(
        self,
        name: str,
        treatment: str = BASELINE,
        version: int | None = None,
        require_complete: bool = False,
    ) -> list[Path]:
        """The files of a name that a condition's replicates left, in their order.

        Given to another experiment as a parameter, such a path tells what that run came from:
        :attr:`Observation.inputs`.

        Parameters
        ----------
        name : str
            The file, below each run's own folder.
        treatment : str
            The condition.
        version : int, optional
            By default the newest.
        require_complete : bool
            Whether a version some of whose runs have not completed is refused.

        Raises
        ------
        FileNotFoundError
            If no replicate left it; with ``require_complete`` if one did not, or has not
            completed.
        VersionNotFound, UnknownColumn
            For a version or a condition that there is not.
        """
        outcome = self.load(version)
        outcome._of(treatment)
        runs = [one.observation for one in outcome.replicates if one.treatment == treatment]
        paths = [path for run in runs if (path := run.dir / name).exists()]
        planned = outcome.plan.replicates
        if require_complete and not (outcome.is_complete and len(paths) == planned):
            raise FileNotFoundError(
                f"{outcome.title} is not complete: {len(paths)} of {planned} replicates of "
                f"{treatment!r} have {name!r}, and {len(outcome.errors)} runs failed."
            )
        if not paths:
            left = sorted({path.name for run in runs for path in run.artefacts()})
            hint = did_you_mean(name, left)
            raise FileNotFoundError(f"No replicate of {treatment!r} has left {name!r}. {hint}")
        return paths

    artifacts = artefacts

    def confirmed(
        self,
        explored: Outcome,
        hypotheses: list[Hypothesis],
        replicates: int,
        seed: int | None,
        name: str | None,
        how: dict[str, Any],
    ) -> Outcome:
        """See :meth:`Outcome.confirm`."""
        named = {condition for h in hypotheses for condition in h.conditions}
        every = ALL in named or any(h.verifier is not None for h in hypotheses)
        chosen = {n: t for n, t in self.treatments.items() if every or n in named}
        known = Plans(self.plans.root, explored.plan.study).all()
        used = {s for plan in known for s in plan.seeds}
        count = checked_replicates(replicates)
        name = name or f"{explored.plan.study}-{CONFIRMATION}"
        strategy = how.pop("strategy", "rerun")
        if strategy == "resume" and seed is None:
            begun = Plans(self.plans.root, name).all()
            seed = next((p.seed for p in reversed(begun) if p.kind == CONFIRMATION), None)
        fresh = _fresh_seed(used, count) if seed is None else checked_seed(seed)
        if used & {seed_of(fresh, n) for n in range(count)}:
            raise InvalidStudy(
                f"seed={fresh} leads to seeds that {explored.title} has used: leave it out."
            )
        study = self.with_(
            treatments=chosen,
            hypotheses=hypotheses,
            replicates=count,
            seed=fresh,
            name=name,
        )
        asked = study._asked(None, None, None, how.pop("executor", None), how.pop("workers", None))
        session = Session(asked, strategy, how.pop("progress", True), how)
        others = [plan for plan in known if plan.id != explored.plan.id]
        session.explored = [f"{plan.study}/{plan.id}" for plan in (explored.plan, *others)]
        for _ in session.runs():
            pass
        return session.outcome()

    def optimise(
        self,
        controller: Any,
        trials: int,
        replicates_per_trial: int = 1,
        objective: str | Callable[[Any], float] | None = None,
        direction: str | None = None,
        **how: Any,
    ) -> Treatment:
        """Let a controller look for the best config, by the mean of some replicates of each.

        Parameters
        ----------
        controller : Controller
            What suggests configs: :class:`OptunaSearch`, :class:`GridSearch`, or another.
        trials : int
            How many configs are tried in all; those of an earlier call count.
        replicates_per_trial : int
            How often each is run, with the study's seeds.
        objective : str or callable, optional
            The metric whose mean is looked at; or a function of the
            :class:`~digital_experiments.Observations` of a trial. By default what the
            controller is for.
        direction : {"max", "min"}, optional
            Which is best; by default as the controller or the metric's name says.
        **how
            ``executor``, ``workers`` and the like, as for :meth:`run`.

        Returns
        -------
        Treatment
            The best; its ``score`` is the mean. Give it to :meth:`apply` or :meth:`treat`.
        """
        from digital_experiments.study.optimise import best_of

        return best_of(self, controller, trials, replicates_per_trial, objective, direction, how)

    async def aoptimise(self, *args: Any, **how: Any) -> Treatment:
        """As :meth:`optimise`, to be awaited."""
        import asyncio

        return await asyncio.to_thread(self.optimise, *args, **how)

    # -- files

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Study:
        """The study that a file describes.

        Parameters
        ----------
        path : path
            A YAML file; ``experiment: train.py:train`` says where the experiment is.

        Raises
        ------
        InvalidStudy
            If it can't be read; the message names the line.
        """
        from digital_experiments.study.yaml import read

        return read(path)

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The study as YAML, and, with a path, in a file.

        Raises
        ------
        InvalidStudy
            If something in it is no plain data, such as a function.
        """
        from digital_experiments.study.yaml import write

        return write(self, path)

    def __repr__(self) -> str:
        treatments = ", ".join(self.treatments) or "no treatments"
        return f"Study({self.name}: baseline, {treatments}; {self.replicates} replicates)"


_PARAMETERS = (
    *("experiment", "baseline", "treatments", "replicates", "seed", "hypotheses", "name"),
    *("description", "executor", "workers", "callbacks", "correction", "retention"),
)


def checked_replicates(replicates: object) -> int:
    """A number of replicates.

    Raises
    ------
    ValueError
        If it is not a whole number above 0.
    """
    if type(replicates) is not int or replicates < 1:
        raise ValueError(f"replicates must be a number, 1 or more, not {replicates!r}.")
    return replicates


def _listed(hypotheses: Any) -> Iterable[Any]:
    if hypotheses is None:
        return ()
    single = isinstance(hypotheses, (str, Hypothesis, Mapping)) or callable(hypotheses)
    return [hypotheses] if single else hypotheses


def _nothing() -> Treatment:
    return Treatment("nothing", {})


def _all_of(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return f"The study can't be run. {problems[0]}"
    return "The study can't be run:\n" + "\n".join(f"  - {problem}" for problem in problems)


def _fresh_seed(used: set[int], count: int) -> int:
    """A seed none of whose replicates has a seed that was used."""
    while True:
        seed = secrets.randbelow(SEEDS)
        if not used & {seed_of(seed, number) for number in range(count)}:
            return seed


def _refuse_in_loop() -> None:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("An event loop runs here: write `await study.arun(...)` in place of run.")
