"""Confirmations: what was found is tested again, on runs that nobody has seen."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence, Set
from threading import Event
from typing import TYPE_CHECKING, Any

from digital_experiments.callbacks.seed import SEEDS, checked_seed
from digital_experiments.errors import InvalidStudy
from digital_experiments.study.design import checked_number
from digital_experiments.study.hypotheses import ALL, BASELINE, Hypothesis
from digital_experiments.study.integrity import seeds_used
from digital_experiments.study.outcome import Outcome
from digital_experiments.study.plans import (
    CONFIRMATION,
    Plan,
    all_plans,
    config_mark,
    seed_of,
)
from digital_experiments.study.session import Session

if TYPE_CHECKING:
    from digital_experiments.study.study import Study


def confirmed(
    explored: Outcome,
    hypotheses: Sequence[Hypothesis],
    replicates: int,
    seed: int | None,
    name: str | None,
    how: Mapping[str, Any],
    stopped: Event | None = None,
) -> Outcome:
    """See :meth:`Outcome.confirm`."""
    if not hypotheses:
        raise InvalidStudy(
            "confirm needs a hypothesis, such as 'high.accuracy > baseline.accuracy'."
        )
    plan, study = explored.plan, explored.study
    name = name or f"{plan.study}-{CONFIRMATION}"
    if name == plan.study:
        raise InvalidStudy(f"The confirmation of {name!r} needs another name than its own.")
    options = dict(how)
    strategy = options.pop("strategy", "rerun")
    count = checked_number("replicates", replicates)
    known = all_plans(study.plans.root, study.experiment.name)
    begun = _begun(known, name, plan, hypotheses, seed) if strategy == "resume" else None
    own = set() if begun is None else {begun.id, *begun.continues}
    others = [other for other in known if other.id not in own and other.id != plan.id]
    used = {seed for other in (plan, *others) for seed in other.seeds}
    used |= seeds_used(study.experiment, own)
    asked = _conditions(explored, hypotheses).with_(
        hypotheses=hypotheses,
        replicates=count,
        seed=_seed(used, count, seed if begun is None else begun.seed),
        name=name,
    )
    asked = asked.asked(
        executor=options.pop("executor", None), workers=options.pop("workers", None)
    )
    seen = [f"{other.study}/{other.id}" for other in (plan, *others)]
    progress = options.pop("progress", True)
    return Session(asked, strategy, progress, options, seen, begun).run(stopped)


def _begun(
    known: Sequence[Plan],
    name: str,
    explored: Plan,
    hypotheses: Sequence[Hypothesis],
    seed: int | None,
) -> Plan | None:
    """The newest plan that was to confirm the same, under the same name and by the same seed."""
    found, asked = f"{explored.study}/{explored.id}", [h.to_plain() for h in hypotheses]
    for plan in reversed(known):
        same = plan.study == name and plan.explored[:1] == [found] and plan.hypotheses == asked
        if same and seed in (None, plan.seed):
            return plan
    return None


def _seed(seeds: Set[int], count: int, seed: int | None) -> int:
    """What seeds are made from that have not been used."""
    if seed is not None:
        if seeds & {seed_of(checked_seed(seed), number) for number in range(count)}:
            raise InvalidStudy(
                f"seed={seed} leads to seeds that earlier runs have used: leave it out."
            )
        return seed
    while True:
        drawn = secrets.randbelow(SEEDS)
        if not seeds & {seed_of(drawn, number) for number in range(count)}:
            return drawn


def _conditions(explored: Outcome, hypotheses: Sequence[Hypothesis]) -> Study:
    """A study of the conditions that are asked about, as they were explored.

    Raises
    ------
    InvalidStudy
        If one can't be made as it was.
    """
    study, plan = explored.study, explored.plan
    named = {condition for h in hypotheses for condition in h.conditions}
    every = ALL in named or any(h.verifier is not None for h in hypotheses)
    for hypothesis in hypotheses:
        hypothesis.check(list(plan.conditions))
    chosen = [n for n in plan.conditions if n != BASELINE and (every or n in named)]
    now, _ = study.configs()
    as_now = {name for name in plan.keys if _is_same(now.get(name), plan, name)}
    if {BASELINE, *chosen} <= as_now:
        return study.with_(treatments={name: study.treatments[name] for name in chosen})
    for name in (BASELINE, *chosen):
        if not _is_same(plan.conditions[name], plan, name):
            raise InvalidStudy(
                f"{name!r} is not now what was explored, {plan.conditions[name]!r}: make a study "
                "with that condition, and confirm by its load()."
            )
    treatments = {name: plan.conditions[name] for name in chosen}
    return study.with_(baseline=plan.conditions[BASELINE], treatments=treatments)


def _is_same(config: Mapping[str, Any] | None, plan: Plan, name: str) -> bool:
    return config is not None and config_mark(config) == plan.keys.get(name)
