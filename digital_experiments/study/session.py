"""One running of a study: its plan, the runs that are missing, and their end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

from digital_experiments.callbacks import Callback, GitInfo
from digital_experiments.callbacks.code import plain_function
from digital_experiments.callbacks.seed import SEEDS
from digital_experiments.errors import (
    CallbackWarning,
    DigitalExperimentsWarning,
    did_you_mean,
)
from digital_experiments.experiment import Experiment
from digital_experiments.faults import warn_user
from digital_experiments.ids import new_id
from digital_experiments.many.calls import Call, Counted
from digital_experiments.many.driver import checked_tally, chosen_executor
from digital_experiments.observation import Observation
from digital_experiments.options import call_kind, listens
from digital_experiments.study.hypotheses import checked_choice
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import (
    CONFIRMATION,
    SEARCH,
    Plan,
    config_mark,
    plain_config,
)
from digital_experiments.study.treatments import is_plain

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

STRATEGIES = ("rerun", "resume")
_SEED = "seed"
_log = logging.getLogger("digital_experiments")
_warned: set[str] = set()
_HOW = ("retries", "timeout")
_OWN = frozenset({"default_rng", "Generator", "Random", "RandomState", "SeedSequence", "PRNGKey"})


class Session:
    """One running of a study: its plan, what is still to be run, what has come of it.

    Parameters
    ----------
    study : Study
        What is run.
    strategy : {"rerun", "resume"}
        Whether runs that were made before count.
    progress : bool, str or tuple
        As for :meth:`Experiment.map`.
    how : dict
        ``retries`` and ``timeout``.
    explored : list of str
        Of a confirmation the plans whose seeds it must not use, as ``<study>/<id>``; first of all
        the one that it confirms.
    begun : Plan, optional
        Of a confirmation the plan that it goes on with.
    """

    def __init__(
        self,
        study: Study,
        strategy: str,
        progress: Any,
        how: dict[str, Any],
        explored: Sequence[str] = (),
        begun: Plan | None = None,
    ) -> None:
        checked_choice("strategy", strategy, STRATEGIES)
        self.study = study
        self.strategy = strategy
        self.progress = progress
        self.how = checked_how(study, how, "study")
        checked_tally(progress)
        self.explored = explored
        self.begun = begun
        self.conditions = study.conditions
        self.experiment = study.seeded()
        self.done: list[Replicate] = []
        self.plan: Plan | None = None

    def run(self, stopped: Event | None = None) -> Outcome:
        """Make all runs, and give what came of them; no further one once ``stopped`` is set."""
        for _ in self._made():
            if stopped is not None and stopped.is_set():
                raise InterruptedError("Nobody waits for the study any more.")
        return self.outcome()

    def stream(self) -> Iterator[Replicate]:
        """Make all runs, and give each when it ends; then end."""
        yield from self._made()
        self.outcome()

    def _made(self) -> Iterator[Replicate]:
        """Write the plan, then make the runs that are missing."""
        study = self.study
        if call_kind(study.experiment.function) == "coroutine":
            refuse_in_loop("await study.arun(...), or await outcome.aconfirm(...)")
        self.plan, known = self._planned()
        plan = self.plan
        self.done = [one for one in known if one.observation.status == "completed"]
        there = {(one.treatment, one.number) for one in self.done}
        missing = [
            (name, number, seed)
            for number, seed in enumerate(plan.seeds)
            for name in self.conditions
            if (name, number) not in there
        ]
        _warn_of_threads(study)
        _tell(self._listeners(), "study_start", study)
        _log.info("study %s: %d runs to make, plan %s", study.name, len(missing), plan.id)
        calls = Counted(self._calls(plan, missing), len(missing))
        made = self.experiment._many(
            calls, study.executor, study.workers, progress=self.progress, **self.how
        )
        tells = _log.isEnabledFor(logging.INFO)
        for place, observation in made:
            one = Replicate(*missing[place], observation)
            self.done.append(one)
            if tells:
                _log_run(study.name, one, len(self.done), plan.size)
            yield one

    def outcome(self) -> Outcome:
        """What came of it, once all runs have ended."""
        assert self.plan is not None
        study, plan = self.study, self.plan
        plans = study.plans
        completed = sum(one.observation.status == "completed" for one in self.done)
        plans.end(plan, completed, last=max((one.observation.id for one in self.done), default=""))
        version = plans.number(plan)
        if plan.kind == CONFIRMATION and completed < plan.size:
            plans.look(plan, completed)  # who has the outcome sees it
        remove_old_files(study)
        outcome = Outcome(study, plan, version, self.done)
        _log.info("study %s: %d of %d runs completed", study.name, completed, plan.size)
        _tell(reversed(self._listeners()), "study_end", outcome)
        return outcome

    def _listeners(self) -> list[Callback]:
        return [*self.experiment.callbacks]

    def _calls(self, plan: Plan, runs: Sequence[tuple[str, int, int]]) -> Iterator[Call]:
        """The calls of runs, with their seeds, and what their metadata tell of the study."""
        takes_seed, with_seed = self.study.takes_seed, self.study.with_seed
        told = {"name": plan.study, "plan": plan.id, "digest": plan.digest}
        parts = {name: {**told, "treatment": name} for name in self.conditions}
        plain = {name: c for name, c in self.conditions.items() if is_plain(c)}
        whole = {name: self.study.complete(c) for name, c in plain.items()}
        for name, number, seed in runs:
            config, bound = self.conditions[name], whole.get(name)
            if bound is None:
                config = with_seed(config, seed)  # a run may change what it is given
            elif takes_seed:
                config, bound = {**config, _SEED: seed}, {**bound, _SEED: seed}
            facts = {"seed": seed, "study": {**parts[name], "replicate": number}}
            yield Call((), config, None, facts, bound)

    def _planned(self) -> tuple[Plan, list[Replicate]]:
        """The plan, written, and what is known of its runs already."""
        plans = self.study.plans
        old = self.begun
        known = [old] if old is not None else []
        if self.strategy == "resume" and not self.explored:
            known = [p for p in reversed(plans.all()) if p.kind == self._kind]
        plan = self._new_plan()
        usable = [one for one in known if self._may_continue(one, plan)]
        if usable:
            newest = usable[0]
            plan = replace(plan, seed=newest.seed)
            if _same(newest, plan):
                return newest, self.study.replicates_of(newest)
            ids = (id for p in usable if p.seed == plan.seed for id in (p.id, *p.continues))
            plan = replace(plan, continues=list(dict.fromkeys(ids)))
        elif known:
            self._warn_of_nothing(known[0], plan)
        plans.write(plan)
        return plan, self.study.replicates_of(plan) if plan.continues else []

    def _warn_of_nothing(self, newest: Plan, plan: Plan) -> None:
        """Say why no run that was made before is used."""
        if newest.fingerprint != plan.fingerprint:
            why = (
                "the code is another now; an object at module level that changes when it is used "
                "counts as code"
            )
        elif self.study.seed not in (None, newest.seed):
            why = f"its seed was {newest.seed}"
        else:
            why = "none of its conditions is the same"
        warn_user(
            f"Study {self.study.name!r} begins anew: of the newest version, {newest.id}, nothing "
            f"can be used, as {why}.",
            DigitalExperimentsWarning,
        )

    @property
    def _kind(self) -> str:
        return CONFIRMATION if self.explored else "study"

    def _may_continue(self, old: Plan, plan: Plan) -> bool:
        """Whether runs of a plan may be part of another."""
        same = any(old.keys.get(name) == key for name, key in plan.keys.items())
        is_seeded_so = self.study.seed in (None, old.seed)
        return same and is_seeded_so and old.fingerprint == plan.fingerprint

    def _new_plan(self) -> Plan:
        study = self.study
        return new_plan(
            study,
            self.experiment,
            self.conditions,
            kind=self._kind,
            replicates=study.replicates,
            seed=study.seed,
            hypotheses=[h.to_plain() for h in study.hypotheses],
            correction=study.correction,
            explored=list(self.explored),
        )


def remove_old_files(study: Study) -> None:
    """Remove files of older versions, if the study asks for that; searches are counted apart.

    A run is of the newest version that it is part of.
    """
    retention = study.retention or study.experiment._options["retention"]
    if retention is None:
        return
    plans, by_plan = study.plans.all(), study.runs_by_plan()
    for searches in (False, True):
        seen: set[str] = set()
        versions: list[list[str]] = []
        for plan in reversed([plan for plan in plans if (plan.kind == SEARCH) is searches]):
            if searches:
                runs = by_plan.get(plan.id, [])
            else:
                runs = [one.observation for one in study.replicates_of(plan, by_plan)]
            if any(run.status == "completed" for run in runs):
                versions.append([run.id for run in runs if run.id not in seen])
                seen.update(run.id for run in runs)
        retention.apply(study.plans.root, versions)


def new_plan(
    study: Study,
    experiment: Experiment[..., Any],
    conditions: Mapping[str, Mapping[str, Any]],
    *,
    seed: int | None,
    **parts: Any,
) -> Plan:
    """A plan of a study as it stands now; without a seed one is drawn."""
    return Plan(
        id=new_id(),
        study=study.name,
        experiment=experiment.name,
        conditions={name: plain_config(config) for name, config in conditions.items()},
        keys={name: config_mark(config) for name, config in conditions.items()},
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
        fingerprint=experiment.fingerprint,
        description=study.description,
        git=git_state(experiment),
        **parts,
    )


def _log_run(study: str, one: Replicate, done: int, size: int) -> None:
    told = (study, done, size, one.number, one.treatment, one.observation.status)
    _log.info("study %s: %d of %d: replicate %d of %s %s", *told)


def checked_how(study: Study, how: dict[str, Any], what: str) -> dict[str, Any]:
    """How runs are to be made, beside where.

    Raises
    ------
    TypeError, ValueError
        For what is none of it, or can't be.
    """
    for name in how:
        if name not in _HOW:
            raise TypeError(f"A {what} is not run by {name!r}. {did_you_mean(name, _HOW)}")
    chosen_executor(study.experiment, study.executor, study.workers, **how)
    return how


def git_state(experiment: Experiment[..., Any]) -> dict[str, Any]:
    """The commit that the code stands at, and whether it was changed since."""
    observation = Observation("", {}, None, {})
    for callback in experiment.callbacks:
        if isinstance(callback, GitInfo):
            try:
                callback.end(observation)
            except Exception as problem:  # the runs tell of it
                return {"problem": str(problem)}
    facts = observation.metadata.get("environment", {}).get("git") or {}
    return {key: facts[key] for key in ("branch", "commit", "remote", "dirty") if key in facts}


def _same(one: Plan, other: Plan) -> bool:
    """Whether two plans ask for the same runs, to show the same."""
    parts = ("keys", "replicates", "hypotheses", "correction")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def _warn_of_threads(study: Study) -> None:
    """Say once that runs which take turns share the generators that are seeded."""
    chosen = chosen_executor(study.experiment, study.executor, study.workers)
    shares = chosen.shares_interpreter or chosen.awaits or chosen.draws_too
    if shares and study.name not in _warned and not _draws_from_its_own(study):
        _warned.add(study.name)
        name = study.experiment.name
        what = "Have it draw" if study.takes_seed else "Give it a parameter `seed` and draw"
        warn_user(
            f"Threads and coroutines share the global generators of random numbers, and Dask's "
            f"workers draw from them: what {name!r} draws from `random` or `numpy.random` can't be "
            f"repeated. {what} from "
            "numpy.random.default_rng(seed), or use executor='process'.",
            DigitalExperimentsWarning,
        )


def _draws_from_its_own(study: Study) -> bool:
    """Whether a function makes a generator of its own, as far as its code tells."""
    inner = plain_function(study.experiment.function)
    return study.takes_seed and inner is not None and not _OWN.isdisjoint(inner.__code__.co_names)


def refuse_in_loop(awaited: str) -> None:
    """Refuse to begin where an event loop runs that would have to wait.

    Raises
    ------
    RuntimeError
        There; it says what to write.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"An event loop runs here: write `{awaited}`.")


def _tell(callbacks: Iterable[Callback], hook: str, what: Any) -> None:
    for callback in callbacks:
        if not listens(callback, hook):
            continue
        try:
            getattr(callback, hook)(what)
        except Exception as problem:  # of the user's
            warn_user(
                f"Callback {type(callback).__name__}.{hook} raised {type(problem).__name__}: "
                f"{problem}. The study goes on without it.",
                CallbackWarning,
            )
