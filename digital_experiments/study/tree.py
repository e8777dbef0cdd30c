"""The runs of a study as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from digital_experiments.errors import did_you_mean
from digital_experiments.facts import duration_text
from digital_experiments.provenance import text, tree_of

if TYPE_CHECKING:
    from rich.tree import Tree

    from digital_experiments.study.outcome import Outcome, Replicate

_SHORT = 6  # last characters of an id
_LEVELS = ("treatment", "replicate", "step")


def tree(outcome: Outcome, levels: str) -> Tree:
    """The tree, whose levels stand in the order that is asked for."""
    from rich.tree import Tree

    if not isinstance(levels, str):
        raise ValueError(f"levels must be such as 'treatment > replicate > step', not {levels!r}.")
    asked = [level.strip() for level in levels.split(">")]
    for level in asked:
        if level not in _LEVELS:
            raise ValueError(f"There is no level {level!r}. {did_you_mean(level, _LEVELS)}")
    steps = asked[-1] == "step"
    groups = asked[:-1] if steps else asked
    if not groups or len(set(asked)) < len(asked) or "step" in groups:
        raise ValueError(f"levels must be such as 'treatment > replicate > step', not {levels!r}.")
    root = Tree(text(outcome.title, "bold"))
    _grow(root, list(outcome.replicates), groups, steps)
    return root


def _grow(root: Tree, some: list[Replicate], groups: list[str], steps: bool) -> None:
    level, *below = groups
    parts: dict[Any, list[Replicate]] = {}
    for one in some:
        parts.setdefault(one.treatment if level == "treatment" else one.number, []).append(one)
    for key, members in parts.items():
        if not below and len(members) == 1:
            root.add(_run(key if level == "treatment" else f"replicate {key}", members[0], steps))
            continue
        branch = root.add(text(f"{_named(level, key)}{_told(members)}"))
        if below:
            _grow(branch, members, below, steps)
        elif steps:
            other = "replicate" if level == "treatment" else "treatment"
            for one in members:
                name = one.number if level == "treatment" else one.treatment
                branch.add(_run(_named(other, name), one, steps))


def _named(level: str, key: Any) -> str:
    return str(key) if level == "treatment" else f"replicate {key}"


def _told(members: list[Replicate]) -> str:
    failed = sum(one.observation.status != "completed" for one in members)
    seconds = sum(one.observation.duration or 0.0 for one in members)
    missed = f", {failed} did not complete" if failed else ""
    return f" · {len(members)} runs{missed} · {duration_text(seconds)}"


def _run(name: str, one: Replicate, steps: bool) -> Tree:
    """One run, with its steps below it if they are asked for."""
    run = one.observation
    made = tree_of(f"{name} · seed {one.seed} · {run.id[-_SHORT:]}", run.status, run.metadata)
    if not steps:
        made.children.clear()
    return made
