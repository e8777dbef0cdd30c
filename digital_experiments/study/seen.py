"""What runs have shown of a study's conditions before its plan was written. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from digital_experiments.observation import Observation
from digital_experiments.study.hypotheses import BASELINE, Column, Hypothesis
from digital_experiments.study.measures import RESULT
from digital_experiments.study.plans import Plan
from digital_experiments.study.verdicts import Verdict

VALID = "valid"
REUSED = "reused data"
UNREGISTERED = "not pre-registered"


class Before:
    """What earlier runs of the same code, with the same seeds, have shown of a study's conditions.

    Parameters
    ----------
    plan : Plan
        Of the study.
    others : list of Plan
        All plans of its experiment.
    runs : dict
        The runs of each, by its id.
    """

    def __init__(
        self, plan: Plan, others: Sequence[Plan], runs: Mapping[str, Sequence[Observation]]
    ) -> None:
        self.plan = plan
        self.seen: list[tuple[Plan, set[str]]] = []
        seeds = set(plan.seeds)
        for other in others:
            if other.id < plan.id and other.fingerprint == plan.fingerprint:
                made = [run for run in runs.get(other.id, ()) if _is_seen(run, seeds)]
                self.seen.append((other, {_key_of(run, other) for run in made}))

    def status(self, verdict: Verdict) -> tuple[str, str]:
        """What is to be held against a verdict, and why; valid if nothing is."""
        sides = verdict.sides or (None, None)
        named = {side.condition for side in sides if isinstance(side, Column)}
        named = (named or {verdict.treatment}) - {BASELINE} or {BASELINE}
        keys = {self.plan.keys[name][:_MARK] for name in named}
        first = next((other for other, seen in self.seen if keys <= seen), None)
        if first is None:
            return VALID, ""
        asked, before = (questions(plan) for plan in (self.plan, first))
        own = questions(self.plan, [verdict.hypothesis.to_plain()], named - {BASELINE})
        when = f"{first.kind} {first.study!r} had run the same with the same seeds on "
        when += first.made[:16].replace("T", " ")
        if not own <= before:
            return UNREGISTERED, f"it was asked after {when}"
        same = first.replicates == self.plan.replicates and first.correction == self.plan.correction
        if not before <= asked or not same:
            return REUSED, f"{when}, and asked for more, or for other replicates"
        return VALID, ""


_MARK = 12  # digits of a condition's key that a search's trials are named by


def _is_seen(run: Observation, seeds: Set[int]) -> bool:
    return run.status == "completed" and run.facts.get("seed") in seeds


def _key_of(run: Observation, plan: Plan) -> str:
    """What tells the condition of a run from others, whatever it is called."""
    name = str(run.facts["study"]["treatment"])
    return plan.keys.get(name, name.partition("-")[0])[:_MARK]


def questions(
    plan: Plan, hypotheses: Sequence[dict[str, Any]] | None = None, only: Set[str] = frozenset()
) -> set[str]:
    """What is asked of which configs, and how: the same for texts that say the same."""
    found = set()
    for told in plan.hypotheses if hypotheses is None else hypotheses:
        how = [told.get(part) for part in ("test", "paired", "alpha", "function")]
        asked = Hypothesis.of_plain(told)
        treatments = [name for name in plan.keys if name != BASELINE and (not only or name in only)]
        if "function" in told:
            found |= {repr([told["text"], plan.keys[name], *how]) for name in treatments}
            continue
        for _, left, right in asked.for_each(treatments):
            found.add(repr([*_statement(asked, left, right, plan.keys), *how]))
    return found


def _statement(
    asked: Hypothesis, left: Column, right: Column | float, keys: Mapping[str, str]
) -> list[Any]:
    """What a text says, by the configs in place of their names, the larger side first."""
    sides: list[Any] = [
        (keys.get(side.condition), side.metric.removeprefix(RESULT))
        if isinstance(side, Column)
        else side
        for side in (left, right)
    ]
    operator, margin = asked.operator.removesuffix("=") or "=", asked.margin
    if operator == "<":
        return [sides[1], ">", sides[0], 0.0 - margin]
    if operator in ("=", "!"):
        sides.sort(key=repr)
    return [sides[0], operator, sides[1], margin]
