"""A plan over one experiment: treatments, replicates, seeds, hypotheses - and what came of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks.seed import SEEDS, checked_seed
from digital_experiments.errors import InvalidStudy
from digital_experiments.ids import new_id
from digital_experiments.options import call_kind
from digital_experiments.study.design import checked_replicates, nothing
from digital_experiments.study.hypotheses import ALL, BASELINE, Hypothesis
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import CONFIRMATION, Plans, seed_of
from digital_experiments.study.session import Session
from digital_experiments.study.treatments import Treatment
from digital_experiments.study.versions import Versioned

_DATA = "data"


class Study(Versioned):
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
            treatment = nothing()
        elif isinstance(treatment, Mapping):
            treatment = Treatment("given", treatment)
        name = BASELINE if treatment.name == nothing().name else treatment.name
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
