"""What a study asks: of which experiment, under which conditions, how often, to show what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from io import IOBase
from types import GeneratorType
from typing import Any, Self

from digital_experiments.callbacks import Callback, Seed
from digital_experiments.callbacks.seed import checked_seed
from digital_experiments.errors import DigitalExperimentsWarning, InvalidStudy, did_you_mean
from digital_experiments.experiment import Experiment
from digital_experiments.faults import warn_user
from digital_experiments.followed import follower_of
from digital_experiments.ids import check_name
from digital_experiments.many.driver import chosen_executor
from digital_experiments.many.travel import check_travels, unfit_of
from digital_experiments.retention import Retention, checked_retention
from digital_experiments.study.hypotheses import (
    ALL,
    BASELINE,
    Hypothesis,
    as_hypothesis,
    checked_choice,
)
from digital_experiments.study.plans import Plans
from digital_experiments.study.statistics import (
    CORRECTIONS,
    NEEDS_SCIPY,
    NO_MARGINS,
)
from digital_experiments.study.treatments import (
    Treatment,
    as_treatments,
    copied,
    with_own_containers,
)
from digital_experiments.study.verdicts import smallest_p_for
from digital_experiments.views import plain_number, type_name

_SEED = "seed"


class Design:
    """The part of a study that says what it asks; see :class:`Study`. It runs nothing."""

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
        if isinstance(getattr(experiment, "__func__", None), Experiment):
            raise TypeError(
                "A method can't be studied: have a function make its instance, and call it. "
                f"{experiment!r:.200}"
            )
        if not isinstance(experiment, Experiment):
            raise TypeError(
                f"Study expects an experiment, not {experiment!r}: decorate the function with "
                "@experiment."
            )
        named = isinstance(baseline, Mapping) and all(isinstance(key, str) for key in baseline)
        if baseline is not None and not named:
            raise InvalidStudy(f"baseline must be a dict of config values, not {baseline!r}.")
        if not isinstance(callbacks, Iterable):
            raise TypeError(f"callbacks must be a list of Callback objects, not {callbacks!r}.")
        self.experiment = experiment
        self.baseline = with_own_containers(baseline or {})
        self.treatments = as_treatments(treatments)
        self.replicates = checked_number("replicates", replicates)
        self.seed = None if seed is None else checked_seed(seed)
        self.hypotheses = tuple(distinct(hypotheses))
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

    def with_(self, **changes: Any) -> Self:
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
        return type(self)(**{**given, **changes})

    def treat(self, name: str | Treatment, apply: Any = None, /, **config: Any) -> Self:
        """The same study with one treatment more, or another of that name.

        Parameters
        ----------
        name : str or Treatment
            What it is called; or a treatment as it is.
        apply : dict, callable or Treatment, optional
            What it does, if that is not said by ``config``.
        **config
            Config values.
        """
        if config and (apply is not None or isinstance(name, Treatment)):
            raise TypeError("What a treatment does is said once: by a dict, or by its values.")
        if isinstance(name, Treatment):
            made = name if apply is None else Treatment(name.name, apply)
        elif isinstance(apply, Treatment):
            made = Treatment(name, apply.apply)
        else:
            made = Treatment(name, config if apply is None else apply)
        return self.with_(treatments={**self.treatments, made.name: made})

    def expect(self, hypothesis: Any, **how: Any) -> Self:
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

    def replicate(self, replicates: int) -> Self:
        """The same study with another number of replicates."""
        return self.with_(replicates=replicates)

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """The config of each condition, defaults included, the baseline first.

        Raises
        ------
        InvalidStudy
            If one can't be made.
        """
        found, problems = self.configs()
        if problems:
            raise InvalidStudy(_all_of(problems))
        return found

    def configs(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The configs of the conditions, and what is wrong with them."""
        found: dict[str, dict[str, Any]] = {}
        problems: list[str] = []
        for name in (BASELINE, *self.treatments):
            subject = name if name == BASELINE else f"treatment {name!r}"
            try:
                found[name] = self.condition(name)
            except Exception as problem:  # of a function of the user's, too
                problems.append(f"{subject}: {told_of(problem)}")
        return found, problems

    def condition(self, name: str) -> dict[str, Any]:
        """The config of one condition.

        Raises
        ------
        InvalidStudy
            If it does not fit the function.
        """
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
        if self.takes_seed and _SEED in config:
            raise InvalidStudy("it sets 'seed', which the study gives: Study(seed=...)")
        self._check_fits(config)
        return self._with_defaults(config)

    def _check_fits(self, config: Mapping[str, Any]) -> None:
        """See that the function takes a config, and can be given it again and again.

        Raises
        ------
        InvalidStudy
            If not.
        """
        experiment = self.experiment
        for name, value in config.items():
            if not isinstance(name, str):
                raise InvalidStudy(f"the names of config values are texts, not {name!r}")
            if not experiment._bind.accepts(name) and not self._takes_more:
                raise InvalidStudy(
                    f"{experiment.name!r} has no parameter {name!r}. "
                    + did_you_mean(name, experiment._bind.names)
                )
            if isinstance(value, (GeneratorType, IOBase)):
                raise InvalidStudy(
                    f"its {name!r}, a {type_name(type(value))}, gives what it has only once, and "
                    "each replicate needs it: give a list, or what it is made from"
                )
        try:
            self.complete(self._with_defaults(config))
        except TypeError as problem:
            raise InvalidStudy(f"it does not fit {experiment.name!r}: {problem}") from None

    def complete(self, config: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """The config that a run has, with a seed if the function takes one.

        Raises
        ------
        TypeError
            If the config does not fit the function.
        """
        return self.experiment.complete(self.with_seed(config, seed))

    def with_seed(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The parameters of a run, its own to change, with a seed if the function takes one."""
        own = copied(config, self.experiment._bind._defaults)
        return {**own, _SEED: seed} if self.takes_seed else own

    @property
    def _takes_more(self) -> bool:
        """Whether the function takes parameters that it does not name."""
        signature = self.experiment._bind.signature
        kinds = signature.parameters.values() if signature else []
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in kinds)

    def validate(self) -> Self:
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
        configs, problems = self.configs()
        if find_spec("scipy") is None:
            problems.append(NEEDS_SCIPY)
        names = [BASELINE, *self.treatments]
        for hypothesis in self.hypotheses:
            try:
                hypothesis.check(names)
            except InvalidStudy as problem:
                problems.append(str(problem))
            if hypothesis.test == "fisher" and hypothesis.margin:
                problems.append(f"{hypothesis.name!r}: {NO_MARGINS}")
            if (ALL in hypothesis.conditions or hypothesis.verifier) and not self.treatments:
                problems.append(f"{hypothesis.name!r} is about treatments, of which there are none")
        try:
            chosen = chosen_executor(self.experiment, self.executor, self.workers)
            if chosen.travels:
                check_travels(self.experiment)
                problems += _unfit(configs)
        except (ValueError, TypeError, ModuleNotFoundError) as problem:
            problems.append(f"executor: {problem}")
        if problems:
            raise InvalidStudy(_all_of(problems))
        self._warn_of_too_few()
        return self

    def _warn_of_too_few(self) -> None:
        """Warn of hypotheses that could not be shown whatever is found."""
        asked = [h for h in self.hypotheses if h.verifier is None]
        treatments = list(self.treatments)
        total = sum(len(hypothesis.for_each(treatments)) for hypothesis in asked)
        count, times = self.replicates, total if self.correction == "holm" else 1
        for hypothesis in asked:
            least = smallest_p_for(hypothesis, hypothesis.right, (count, count))
            if count > 1 and min(1.0, least * times) > hypothesis.alpha:
                among = f" among {total}" if times > 1 else ""
                warn_user(
                    f"With {count} replicates the smallest p-value for {hypothesis.name!r}{among} "
                    f"is {min(1.0, least * times):.2g}, above alpha = {hypothesis.alpha:g}: it "
                    "can't be shown.",
                    DigitalExperimentsWarning,
                )

    def treatment(self, name: str) -> Treatment:
        """The treatment of a name.

        Raises
        ------
        InvalidStudy
            If there is none.
        """
        if name not in self.treatments:
            hint = did_you_mean(name, self.treatments)
            raise InvalidStudy(f"There is no treatment {name!r}. {hint}")
        return self.treatments[name]

    def seeded(self) -> Experiment[..., Any]:
        """The experiment with the study's callbacks, and one that seeds, if it has none.

        Each replicate is a run of its own, so a cache is not asked; and files are kept by version,
        not by run.
        """
        own = [*self.experiment._options["callbacks"], *self.callbacks]
        if not any(isinstance(callback, Seed) for callback in own):
            own.append(Seed())
        options: dict[str, Any] = {"callbacks": own, "cache": False, "retention": None}
        folder = self.experiment.root
        if follower_of(str(folder)) is None:  # a relative one is not looked up again
            options["root"] = folder
        return self.experiment.with_(**options)

    @property
    def plans(self) -> Plans:
        """The plans of this study in the experiment's store."""
        return Plans(str(self.experiment.root), self.name, self.experiment.name)

    def __repr__(self) -> str:
        treatments = ", ".join(self.treatments) or "no treatments"
        return f"Study({self.name}: baseline, {treatments}; {self.replicates} replicates)"


_PARAMETERS = (
    *("experiment", "baseline", "treatments", "replicates", "seed", "hypotheses", "name"),
    *("description", "executor", "workers", "callbacks", "correction", "retention"),
)


def checked_number(name: str, number: object) -> int:
    """How many there are to be of something.

    Raises
    ------
    ValueError
        If it is not a whole number above 0.
    """
    whole = plain_number(number) if type(number) is not int else number
    if type(whole) is not int or whole < 1:
        raise ValueError(f"{name} must be a number, 1 or more, not {number!r}.")
    return whole


def listed(hypotheses: Any) -> Iterable[Any]:
    """Hypotheses, where one may be given without a list."""
    if hypotheses is None:
        return ()
    if not callable(hypotheses) and not isinstance(hypotheses, (Hypothesis, Iterable)):
        raise TypeError(f"hypotheses must be texts or functions, not {hypotheses!r}.")
    single = isinstance(hypotheses, (str, Hypothesis, Mapping)) or callable(hypotheses)
    return [hypotheses] if single else hypotheses


def distinct(hypotheses: Any) -> list[Hypothesis]:
    """Hypotheses, each once: what is asked twice is no second test; the last ranker holds."""
    found: dict[Hypothesis, Hypothesis] = {}
    for one in map(as_hypothesis, listed(hypotheses)):
        if one not in found or one.ranker is not None:
            found[one] = one
    return list(found.values())


def told_of(problem: Exception) -> str:
    """What is wrong, with the kind of an error that is not told for people to read."""
    if isinstance(problem, InvalidStudy):
        return str(problem)
    return f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__


def _unfit(configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with conditions that have to be sent to workers."""
    for name, config in configs.items():
        unfit = unfit_of(config)
        if unfit is not None:
            yield f"{name!r}: its {unfit[0]!r} can't be sent to a worker, because {unfit[1]}"


def _all_of(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return f"The study can't be run. {problems[0]}"
    return "The study can't be run:\n" + "\n".join(f"  - {problem}" for problem in problems)
