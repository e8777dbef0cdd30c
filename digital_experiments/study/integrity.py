"""Whether a verdict rests on what was planned before the first run. Runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import UnknownColumn
from digital_experiments.ids import utc_text
from digital_experiments.selection import select
from digital_experiments.store.query import Query, as_lists
from digital_experiments.study.hypotheses import Hypothesis
from digital_experiments.study.plans import Plan, Plans, all_plans
from digital_experiments.study.verdicts import Verdict

if TYPE_CHECKING:
    from digital_experiments.experiment import Experiment
    from digital_experiments.study.outcome import Replicate

VALID = "valid"
REUSED = "reused data"
CODE = "code changed"
CHANGED = "plan changed"
UNREGISTERED = "not pre-registered"
INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Integrity:
    """Whether the runs of a study are those that its plan asked for.

    Attributes
    ----------
    status : str
        ``valid``; or, the gravest first: ``plan changed``, the plan's file was altered after the
        first run; ``reused data``, runs that had been seen before the plan was made are part of
        it; ``code changed``; ``incomplete``. Of a single verdict also ``not pre-registered``: its
        hypothesis is not in the plan.
    reasons : list of str
        What was found, and when somebody looked before all runs had completed.
    """

    status: str
    reasons: list[str]

    @classmethod
    def of(
        cls, plans: Plans, plan: Plan, replicates: Sequence[Replicate], seen: Set[int] = frozenset()
    ) -> Integrity:
        """What the plan and the runs tell; ``seen`` are seeds of other runs before the plan."""
        found: list[tuple[str, str]] = []
        mine = [one for one in replicates if _part(one, "plan") == plan.id]
        changed = sum(_part(one, "digest") != plan.digest for one in mine)
        if changed:
            found.append((CHANGED, f"{changed} runs were made by another text of the plan"))
        old = [one for one in replicates if one.observation.id < plan.id]
        if old:
            found.append((REUSED, f"{len(old)} runs were made before the plan"))
        explored, missing = _explored(plans, plan)
        used = {s for other in explored for s in other.seeds} | seen
        again = {one.seed for one in replicates} & used
        if again:
            found.append((REUSED, f"{len(again)} seeds were used by runs before the plan"))
        codes = {one.observation.facts.get("fingerprint") for one in replicates}
        if codes - {plan.fingerprint}:
            found.append((CODE, "some runs were made by other code than the plan"))
        if explored and explored[0].fingerprint != plan.fingerprint:
            found.append((CODE, "the code is not that of what is to be confirmed"))
        if missing:
            found.append((REUSED, f"{missing} plans that it must not share seeds with are gone"))
        done = sum(one.observation.status == "completed" for one in replicates)
        if done < plan.size:
            found.append((INCOMPLETE, f"{done} of {plan.size} runs have completed"))
        reasons = [reason for _, reason in found]
        tried = _tried(plans, plan)
        if tried:
            reasons.append(f"{tried} earlier confirmations of the same were begun")
        for look in plans.looks(plan):
            when = utc_text(look["time"])[:16].replace("T", " ")
            reasons.append(f"looked at after {look['completed']} of {look['planned']} runs, {when}")
        return cls(found[0][0] if found else VALID, reasons)

    def __bool__(self) -> bool:
        return self.status == VALID

    def __str__(self) -> str:
        return f"{self.status}: {'; '.join(self.reasons)}" if self.reasons else self.status


def judged(
    found: Sequence[Verdict], integrity: Integrity, planned: Sequence[Hypothesis]
) -> list[Verdict]:
    """Verdicts with what is to be held against each."""
    return [
        replace(
            verdict, integrity=integrity.status if verdict.hypothesis in planned else UNREGISTERED
        )
        for verdict in found
    ]


def _part(one: Replicate, name: str) -> object:
    study = one.observation.facts.get("study")
    return study.get(name) if isinstance(study, dict) else None


def _explored(plans: Plans, plan: Plan) -> tuple[list[Plan], int]:
    """The plans whose seeds a confirmation must not use, the one that it confirms first.

    And how many of them are not there any more.
    """
    found, missing = [], 0
    for name in plan.explored:
        study, _, id = str(name).rpartition("/")
        try:
            found.append(Plans(plans.root, study, plan.experiment).read(id))
        except (OSError, ValueError):  # DamagedRecord is a ValueError
            missing += 1
    return found, missing


def _tried(plans: Plans, plan: Plan) -> int:
    """How many earlier plans were to confirm the same."""
    if not plan.explored:
        return 0
    others = all_plans(plans.root, plan.experiment)
    return sum(
        other.id < plan.id
        and other.explored[:1] == plan.explored[:1]
        and other.id not in plan.continues
        for other in others
    )


def seeds_used(
    experiment: Experiment[..., Any], besides: Collection[str], before: str | None = None
) -> set[int]:
    """The seeds of all runs of an experiment but those of some plans, up to an id."""
    names = ["id", "metadata.seed", "metadata.study.plan"]
    query = Query(experiment.backend.index, select(None, experiment=experiment.name))
    try:
        table = as_lists(query.table(names))
    except UnknownColumn:  # no run has been seeded, or none belongs to a plan
        return set()
    rows = zip(*(table[name] for name in names), strict=True)
    return {
        seed
        for id, seed, plan in rows
        if type(seed) is int and plan not in besides and (before is None or id < before)
    }
