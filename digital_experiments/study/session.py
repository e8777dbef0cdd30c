"""One running of a study: its plan, the runs that are missing, and their end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from digital_experiments.callbacks import Callback, GitInfo
from digital_experiments.callbacks.seed import SEEDS
from digital_experiments.errors import CallbackWarning, DigitalExperimentsWarning
from digital_experiments.executors import executor_of
from digital_experiments.experiment import Experiment
from digital_experiments.faults import warn_user
from digital_experiments.ids import new_id
from digital_experiments.many.calls import Call
from digital_experiments.observation import Observation
from digital_experiments.options import listens
from digital_experiments.retention import Retention
from digital_experiments.study.hypotheses import checked_choice
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import CONFIRMATION, Plan, config_mark, plain_config, seed_of

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

STRATEGIES = ("rerun", "resume")
_SEED = "seed"
_log = logging.getLogger("digital_experiments")
_warned: set[str] = set()


class Session:
    """One running of a study: its plan, what is still to be run, what has come of it."""

    explored: Sequence[str] = ()
    """Of a confirmation the plans whose seeds it must not use, as ``<study>/<id>``; first of all
    the one that it confirms."""

    def __init__(self, study: Study, strategy: str, progress: Any, how: dict[str, Any]) -> None:
        checked_choice("strategy", strategy, STRATEGIES)
        self.study = study
        self.strategy = strategy
        self.progress = progress
        self.how = how
        self.conditions = study.conditions
        self.experiment = study.seeded()
        self.done: list[Replicate] = []
        self.plan: Plan | None = None

    def runs(self) -> Iterator[Replicate]:
        """Write the plan, then make the runs that are missing."""
        study = self.study
        self.plan, known = self._planned()
        plan = self.plan
        self.done = [one for one in known if one.observation.status == "completed"]
        there = {(one.treatment, one.number) for one in self.done}
        missing = [
            (name, number)
            for number in range(plan.replicates)
            for name in self.conditions
            if (name, number) not in there
        ]
        _warn_of_threads(study)
        _tell(self._listeners(), "study_start", study)
        _log.info("study %s: %d runs to make, plan %s", study.name, len(missing), plan.id)
        calls = _Counted(self._calls(plan, missing), len(missing))
        made = self.experiment._many(
            calls, study.executor, study.workers, progress=self.progress, **self.how
        )
        for place, observation in made:
            name, number = missing[place]
            one = Replicate(name, number, seed_of(plan.seed, number), observation)
            self.done.append(one)
            if observation.status != "completed":
                _log.info(
                    "study %s: replicate %s of %s %s", study.name, number, name, observation.status
                )
            yield one

    def outcome(self) -> Outcome:
        """What came of it, once all runs have ended."""
        assert self.plan is not None
        study, plan = self.study, self.plan
        plans = study.plans
        completed = sum(one.observation.status == "completed" for one in self.done)
        plans.end(plan, completed)
        version = next(n for n, known in enumerate(plans.all(), 1) if known.id == plan.id)
        if study.retention is not None:
            self._retain(study.retention)
        outcome = Outcome(study, plan, version, self.done, study.hypotheses)
        _log.info("study %s: %d of %d runs completed", study.name, completed, plan.size)
        _tell(reversed(self._listeners()), "study_end", outcome)
        return outcome

    def _retain(self, retention: Retention) -> None:
        study = self.study
        newest = [plan for plan in study.plans.all() if plan.kind != "search"][::-1]
        versions = [[o.id for o in study.runs_of(plan.id)] for plan in newest]
        retention.apply(study.plans.root, versions)

    def _listeners(self) -> list[Callback]:
        return [*self.experiment.callbacks]

    def _calls(self, plan: Plan, runs: Sequence[tuple[str, int]]) -> Iterator[Call]:
        """The calls of runs, with their seeds, and what their metadata tell of the study."""
        takes_seed = self.study.takes_seed
        told = {"name": plan.study, "plan": plan.id, "digest": plan.digest}
        parts = {name: {**told, "treatment": name} for name in self.conditions}
        whole = {name: self.study.complete(c) for name, c in self.conditions.items()}
        seeds = plan.seeds
        for name, number in runs:
            config, bound = self.conditions[name], whole[name]
            if takes_seed:
                config, bound = {**config, _SEED: seeds[number]}, {**bound, _SEED: seeds[number]}
            facts = {"seed": seeds[number], "study": {**parts[name], "replicate": number}}
            yield Call((), config, None, facts, bound)

    def _planned(self) -> tuple[Plan, list[Replicate]]:
        """The plan, written, and what is known of its runs already."""
        plans = self.study.plans
        newest = next((p for p in reversed(plans.all()) if p.kind == self._kind), None)
        old = newest if self.strategy == "resume" else None
        plan = self._new_plan(old)
        if old is not None and self._may_continue(old, plan):
            if _same(old, plan):
                return old, self.study.replicates_of(old)
            plan = self._new_plan(old, [*old.continues, old.id])
        elif old is not None:
            _log.info("study %s: nothing of plan %s can be used", self.study.name, old.id)
        plans.write(plan)
        return plan, self.study.replicates_of(plan) if plan.continues else []

    @property
    def _kind(self) -> str:
        return CONFIRMATION if self.explored else "study"

    def _may_continue(self, old: Plan, plan: Plan) -> bool:
        shared = [name for name in plan.keys if name in old.keys]
        same = all(old.keys[name] == plan.keys[name] for name in shared)
        return same and old.seed == plan.seed and old.fingerprint == plan.fingerprint

    def _new_plan(self, old: Plan | None, continues: Sequence[str] = ()) -> Plan:
        study = self.study
        seed = study.seed
        if seed is None:
            seed = old.seed if old is not None else secrets.randbelow(SEEDS)
        return Plan(
            id=new_id(),
            study=study.name,
            kind=self._kind,
            conditions={name: plain_config(c) for name, c in self.conditions.items()},
            keys={name: config_mark(c) for name, c in self.conditions.items()},
            replicates=study.replicates,
            seed=seed,
            hypotheses=[h.to_plain() for h in study.hypotheses],
            correction=study.correction,
            fingerprint=self.experiment.fingerprint,
            description=study.description,
            git=git_state(self.experiment),
            continues=list(continues),
            explored=list(self.explored),
        )


class _Counted:
    """What gives things one after another, and how many there are."""

    def __init__(self, things: Iterator[Any], count: int) -> None:
        self._things = things
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        return self._things

    def __length_hint__(self) -> int:
        return self._count


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
    """Say once that threads share the generators that are seeded."""
    shares = executor_of(study.executor, study.workers if isinstance(study.executor, str) else None)
    if shares.shares_interpreter and not study.takes_seed and study.name not in _warned:
        _warned.add(study.name)
        warn_user(
            f"Threads share the global generators of random numbers, so that the seeds of "
            f"{study.name!r} do not tell what its runs draw. Give {study.experiment.name!r} a "
            "parameter `seed` and draw from numpy.random.default_rng(seed), or use "
            "executor='process'.",
            DigitalExperimentsWarning,
        )


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
