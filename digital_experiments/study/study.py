"""A plan over one experiment: treatments, replicates, seeds, hypotheses - and what came of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks.seed import SEEDS, checked_seed
from digital_experiments.errors import InvalidStudy
from digital_experiments.ids import new_id
from digital_experiments.many.awaiting import awaited
from digital_experiments.options import call_kind
from digital_experiments.study.hypotheses import BASELINE
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.session import Session, refuse_in_loop
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
        refuse_in_loop("await study.arun(...)")
        session = self._session(
            treatments, hypotheses, replicates, strategy, executor, workers, progress, **how
        )
        return session.run()

    async def arun(self, *args: Any, **how: Any) -> Outcome:
        """As :meth:`run`, to be awaited: other coroutines run meanwhile.

        If it is cancelled, no further run is begun; ``strategy="resume"`` goes on from there.
        """
        return await awaited(self._session(*args, **how).run)

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
        session = self._session(
            treatments, hypotheses, replicates, strategy, executor, workers, progress, **how
        )
        return session.stream()

    def _session(
        self,
        treatments: Any = None,
        hypotheses: Any = None,
        replicates: int | None = None,
        strategy: str = "rerun",
        executor: Any = None,
        workers: int | None = None,
        progress: bool | str | tuple[str, str] = True,
        **how: Any,
    ) -> Session:
        """One running of the study, as it is asked for."""
        asked = self.asked(treatments, hypotheses, replicates, executor, workers)
        return Session(asked, strategy, progress, how)

    def asked(
        self,
        treatments: Any = None,
        hypotheses: Any = None,
        replicates: Any = None,
        executor: Any = None,
        workers: Any = None,
    ) -> Study:
        """The study with what was said for one running of it, once that has been validated."""
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
            if not self.experiment._bind.accepts(_DATA):
                raise InvalidStudy(
                    f"{self.experiment.name!r} is no pipeline, nor has it a parameter 'data': "
                    "data= has nothing to replace."
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
        """What a condition is called, and its config."""
        baseline = self._with_defaults(self.baseline)
        if treatment is None or treatment == BASELINE:
            return BASELINE, baseline
        if isinstance(treatment, str):
            treatment = self.treatment(treatment)
        elif isinstance(treatment, Mapping):
            treatment = Treatment("given", treatment)
        if not isinstance(treatment, Treatment):
            raise InvalidStudy(
                f"A treatment is a Treatment, its name, or a dict of config values, not "
                f"{treatment!r}."
            )
        return treatment.name, treatment.config(baseline)

    def _call(self, config: dict[str, Any], seed: int, study: dict[str, Any]) -> Any:
        import asyncio

        if self.takes_seed and "seed" in config:
            raise InvalidStudy(
                "The config sets 'seed': give it to apply(..., seed=...), or to the study."
            )
        try:
            self._check_fits(config)
        except InvalidStudy as problem:
            raise InvalidStudy(f"The config does not fit: {problem}") from None
        is_coroutine = call_kind(self.experiment.function) == "coroutine"
        if is_coroutine:
            refuse_in_loop("await asyncio.to_thread(study.apply, ...)")
        seeded = self.seeded()
        facts = {"fingerprint": seeded.fingerprint, "seed": seed, "study": study}
        token = assigned.set(Assignment(seeded, new_id(), facts))
        try:
            value = seeded(**self.with_seed(config, seed))
            return asyncio.run(value) if is_coroutine else value
        finally:
            assigned.reset(token)

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
            How many configs are tried in all; those of an earlier call count. Of those the runs
            that are missing, or have failed, are made before others are tried.
        replicates_per_trial : int
            How often each is run, with the study's seeds.
        objective : str or callable, optional
            The metric whose mean is looked at; or a function of the
            :class:`~digital_experiments.Observations` of a trial, whose number is called
            ``result.objective``. By default what the controller is for, or else the first number
            of the result.
        direction : {"max", "min"}, optional
            Which is best; by default as the controller or the metric's name says.
        **how
            ``executor``, ``workers``, ``progress``, ``retries`` and ``timeout``, as for
            :meth:`run`.

        Returns
        -------
        Treatment
            The best; its ``score`` is the mean. Give it to :meth:`apply` or :meth:`treat`.
        """
        from digital_experiments.study.optimise import best_of

        refuse_in_loop("await study.aoptimise(...)")
        return best_of(self, controller, trials, replicates_per_trial, objective, direction, how)

    async def aoptimise(
        self,
        controller: Any,
        trials: int,
        replicates_per_trial: int = 1,
        objective: str | Callable[[Any], float] | None = None,
        direction: str | None = None,
        **how: Any,
    ) -> Treatment:
        """As :meth:`optimise`, to be awaited: other coroutines run meanwhile.

        If it is cancelled, no further run is begun; the same line goes on from there.
        """
        from digital_experiments.study.optimise import best_of

        asked = (self, controller, trials, replicates_per_trial, objective, direction, how)
        return await awaited(partial(best_of, *asked))

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
