"""Whether a verdict rests on what was planned before the first run. Runs nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import StoreNotFound, UnknownColumn
from digital_experiments.ids import utc_text
from digital_experiments.selection import select
from digital_experiments.store.layout import TRASH
from digital_experiments.store.query import Query, as_lists
from digital_experiments.stores import open_experiment
from digital_experiments.study.hypotheses import Hypothesis
from digital_experiments.study.plans import SEARCH, Plan, Plans, all_plans
from digital_experiments.study.seen import REUSED, UNREGISTERED, VALID, Before, questions
from digital_experiments.study.verdicts import Verdict

if TYPE_CHECKING:
    from digital_experiments.experiment import Experiment
    from digital_experiments.study.outcome import Replicate

CODE = "code changed"
CHANGED = "plan changed"
INCOMPLETE = "incomplete"
_GRAVEST_FIRST = (CHANGED, REUSED, CODE, INCOMPLETE)


@dataclass(frozen=True)
class Integrity:
    """Whether the runs of a study are those that its plan asked for.

    Attributes
    ----------
    status : str
        ``valid``; or, the gravest first: ``plan changed``, the plan's file was altered after the
        first run; ``reused data``, runs that had been seen before the plan was made are part of
        it, or took the place of others that were deleted; ``code changed``; ``incomplete``. Of a
        single verdict also ``not pre-registered``: its hypothesis is not in the plan, or came
        after others had run the same with the same seeds.
    reasons : list of str
        What was found, and when somebody looked before all runs had completed.
    """

    status: str
    reasons: list[str]

    @classmethod
    def of(
        cls,
        plans: Plans,
        plan: Plan,
        replicates: Sequence[Replicate],
        seen: Set[int] = frozenset(),
        gone: int = 0,
        deleted: int = 0,
    ) -> Integrity:
        """What the plan and the runs tell.

        ``seen`` are seeds of other runs before the plan; ``gone`` is of how many plans there are
        runs only; ``deleted`` is how many completed runs of this one are in the trash.
        """
        found: list[tuple[str, str]] = []
        ending = plans.ending(plan)
        mine = [one for one in replicates if _part(one, "plan") == plan.id]
        changed = sum(_part(one, "digest") != plan.digest for one in mine)
        if changed and plan.kind != SEARCH:  # of which trials are shown as conditions
            found.append((CHANGED, f"{changed} runs were made by another text of the plan"))
        old = [one for one in replicates if one.observation.id < plan.id]
        if old:
            found.append((REUSED, f"{len(old)} runs were made before the plan"))
        if ending is not None and ending["completed"] >= ending["planned"]:
            last = ending.get("last") or "~"  # after all ids
            anew = sum(one.observation.id > last for one in mine)
            if anew and not deleted:
                found.append((REUSED, f"{anew} runs took the place of others that were deleted"))
        done = sum(one.observation.status == "completed" for one in replicates)
        if deleted:  # and made again, unless it is incomplete
            why = f"{deleted} runs of it that had completed were deleted"
            found.append((REUSED if done >= plan.size else INCOMPLETE, why))
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
        if done < plan.size:
            found.append((INCOMPLETE, f"{done} of {plan.size} runs have completed"))
        reasons = [reason for _, reason in found]
        tried = _tried(plans, plan)
        if tried:
            times = "once" if tried == 1 else f"{tried} times"
            reasons.append(f"a confirmation of the same was begun {times} before")
        if gone > missing:
            reasons.append(f"of {gone - missing} other versions there are runs, and no plan")
        for look in plans.looks(plan):
            when = utc_text(look["time"])[:16].replace("T", " ")
            reasons.append(f"looked at after {look['completed']} of {look['planned']} runs, {when}")
        said = {status for status, _ in found}
        return cls(next((status for status in _GRAVEST_FIRST if status in said), VALID), reasons)

    def __bool__(self) -> bool:
        return self.status == VALID

    def __str__(self) -> str:
        return f"{self.status}: {'; '.join(self.reasons)}" if self.reasons else self.status


def judged(
    found: Sequence[Verdict],
    integrity: Integrity,
    planned: Sequence[Hypothesis],
    before: Before | None = None,
) -> list[Verdict]:
    """Verdicts with what is to be held against each."""
    told = []
    for verdict in found:
        status, why = integrity.status, ""
        if verdict.hypothesis not in planned:
            status = UNREGISTERED
        elif status == VALID and before is not None:
            status, why = before.status(verdict)
        reason = "; ".join(filter(None, (verdict.reason, why)))
        told.append(replace(verdict, integrity=status, reason=reason))
    return told


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
    """How many earlier plans were to confirm some of the same, by whatever test."""
    if not plan.explored:
        return 0
    asked = _topics(plan)
    return sum(
        other.kind == plan.kind
        and other.id < plan.id
        and other.id not in plan.continues
        and not asked.isdisjoint(_topics(other))
        for other in all_plans(plans.root, plan.experiment)
    )


def _topics(plan: Plan) -> set[str]:
    """What is asked of which configs, without how."""
    plain = [
        {**told, "test": "permutation", "paired": None, "alpha": 0.05} for told in plan.hypotheses
    ]
    return questions(plan, plain)


def plans_gone(experiment: Experiment[..., Any], root: str) -> int:
    """Of how many plans of an experiment there are runs only."""
    query = Query(experiment.backend.index, select(None, experiment=experiment.name))
    try:
        named = as_lists(query.table(["metadata.study.plan"]))["metadata.study.plan"]
    except UnknownColumn:  # no run belongs to a plan
        return 0
    known = {plan.id for plan in all_plans(root, experiment.name)}
    return len({id for id in named if isinstance(id, str)} - known)


def runs_deleted(root: str, plan: Plan) -> int:
    """How many runs of a plan that had completed are in a store's trash."""
    trash = f"{root}/{TRASH}"
    if not os.path.isdir(trash):
        return 0
    try:
        found = open_experiment(trash).observations(where=f"metadata.study.plan == '{plan.id}'")
    except (LookupError, StoreNotFound):  # no run of any plan is there
        return 0
    return len(found)


def seeds_used(
    experiment: Experiment[..., Any], besides: Collection[str], before: str | None = None
) -> set[int]:
    """The seeds of all runs of an experiment but those of some plans, up to an id."""
    query = Query(experiment.backend.index, select(None, experiment=experiment.name))
    found = set[int]()
    for name in ("metadata.seed", "config.seed"):  # a plain call may be given its seed
        columns = ["id", name, "metadata.study.plan"]
        try:
            table = as_lists(query.table(columns))
        except UnknownColumn:  # no run has been seeded, or none belongs to a plan
            continue
        for id, seed, plan in zip(*(table[column] for column in columns), strict=True):
            if type(seed) is int and plan not in besides and (before is None or id < before):
                found.add(seed)
    return found
