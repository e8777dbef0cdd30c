"""What two observations differ in, as an object and as text."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from digital_experiments.facts import facts_of, metric_rows, rows_of, shown
from digital_experiments.observation import Observation
from digital_experiments.views import printable

if TYPE_CHECKING:
    from rich.text import Text

_SECTIONS = (
    *("config", "outcome", "result", "metrics", "params", "features", "dicts"),
    *("git", "packages", "system"),
)

Pairs = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Difference:
    """What differs between two observations; what is equal is left out.

    Attributes
    ----------
    ids : tuple of str
        The two.
    sections : dict of dict
        The two values of each field, by section: ``config``, ``outcome`` (status and error),
        ``result``, ``metrics``, ``params``, ``features``, ``dicts``, ``git``, ``packages``,
        ``system``; each is an attribute too. ``—`` stands where one has no such field.
    code : str
        The unified diff of the code.
    """

    ids: tuple[str, str]
    sections: dict[str, Pairs] = field(default_factory=dict)
    code: str = ""

    def __getattr__(self, name: str) -> Pairs:
        if name in _SECTIONS:
            return self.sections.get(name, {})
        raise AttributeError(name)

    def __bool__(self) -> bool:
        return bool(self.sections or self.code)

    def __rich__(self) -> Text:
        """Red for the first, green for the second."""
        from rich.text import Text

        text = Text()
        text.append(f"- {self.ids[0]}\n", "red")
        text.append(f"+ {self.ids[1]}\n", "green")
        if not self:
            text.append("the same config, result, metrics, code, packages and git", "dim")
        for section, pairs in self.sections.items():
            text.append(f"\n{section}\n", "bold")
            width = max(map(len, pairs))
            for name, (one, other) in pairs.items():
                text.append(f"  {name:<{width}}  ")
                text.append(shown(one), "red")
                text.append(" → ")
                text.append(f"{shown(other)}\n", "green")
        if self.code:
            text.append("\ncode\n", "bold")
        for line in self.code.splitlines():
            styles = {"+": "green", "-": "red", "@": "cyan"}
            text.append(f"  {line}\n", styles.get(line[:1], ""))
        text.rstrip()
        return text

    def __repr__(self) -> str:
        return printable(self.__rich__().plain)

    def _repr_html_(self) -> str:
        import html

        colours = {"red": "#d33f49", "green": "#2a9d5c", "cyan": "#00a3ad"}
        text = self.__rich__()
        parts, at = [], 0
        for span in text.spans:
            parts.append(html.escape(text.plain[at : span.start]))
            style = str(span.style)
            css = f"color:{colours[style]}" if style in colours else "font-weight:bold"
            inner = html.escape(text.plain[span.start : span.end])
            parts.append(f'<span style="{css}">{inner}</span>')
            at = span.end
        parts.append(html.escape(text.plain[at:]))
        body = printable("".join(parts))
        return f'<pre style="overflow-x:auto">{body}</pre>'


def diff(one: Observation, other: Observation) -> Difference:
    """What differs between two observations: config, result, metrics, code, packages, git.

    Parameters
    ----------
    one, other : Observation
        The two; they may be of different experiments and stores.

    Returns
    -------
    Difference
        False if nothing differs. Times, durations and resources always do, and are left out.

    Raises
    ------
    TypeError
        For what is no observation.

    Examples
    --------
    >>> from digital_experiments import diff, experiment
    >>> @experiment
    ... def square(x):
    ...     return x * x
    >>> [square(3), square(4)]
    [9, 16]
    >>> diff(*square.observations()).config
    {'x': (3, 4)}
    """
    for observation in (one, other):
        if not isinstance(observation, Observation):
            raise TypeError(f"diff expects two observations, not {observation!r}.")
    facts = [facts_of(one), facts_of(other)]
    sections = {}
    for section in _SECTIONS:
        rows = metric_rows(facts, {}) if section == "metrics" else rows_of(facts, section)
        pairs = {row.name: (row.values[0], row.values[1]) for row in rows if not row.same}
        if pairs:
            sections[section] = pairs
    before, after = (of_one["code"].get("code", "").splitlines() for of_one in facts)
    code = "\n".join(difflib.unified_diff(before, after, one.id, other.id, lineterm=""))
    return Difference((one.id, other.id), sections, code)
