"""What two observations differ in, as an object and as text."""

from __future__ import annotations

import difflib
import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digital_experiments.facts import MISSING, Facts, facts_of, metric_rows, rows_of, shown
from digital_experiments.observation import Observation
from digital_experiments.series import FILE as SERIES
from digital_experiments.views import printable

if TYPE_CHECKING:
    from rich.text import Text

_SECTIONS = (
    *("config", "outcome", "result", "metrics", "params", "features", "dicts"),
    *("git", "packages", "system"),
)
_SURROUNDINGS = ("git", "packages", "system")
_LONG = 120  # characters of a value

Pairs = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Difference:
    """What differs between two observations; what is equal is left out.

    Attributes
    ----------
    ids : tuple of str
        The two.
    sections : dict of dict
        The two values of each field, by section: ``config``, ``outcome`` (experiment, variant,
        status and error), ``result``, ``metrics``, ``params``, ``features``, ``dicts``, ``git``,
        ``packages``, ``system``, ``files``; each is an attribute too. ``—`` stands where one has
        no such field.
    code : str
        The unified diff of the code.
    """

    ids: tuple[str, str]
    sections: dict[str, Pairs] = field(default_factory=dict)
    code: str = ""

    def __getattr__(self, name: str) -> Pairs:
        if name in (*_SECTIONS, "files"):
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
                before, after = _texts(one, other)
                text.append(f"  {name:<{width}}  ")
                text.append(before, "red")
                text.append(" → ")
                text.append(f"{after}\n", "green")
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
    sections = {section: _pairs(facts, section) for section in _SECTIONS}
    sections["files"] = _files(one, other)
    texts = [of_one["code"].get("code", "").splitlines() for of_one in facts]
    code = _code(one.id, other.id, *texts) if all(texts) else ""
    found = {section: pairs for section, pairs in sections.items() if pairs}
    return Difference((one.id, other.id), found, code)


def _code(one: str, other: str, before: list[str], after: list[str]) -> str:
    return "\n".join(difflib.unified_diff(before, after, one, other, lineterm=""))


def _pairs(facts: Sequence[Facts], section: str) -> Pairs:
    if section in _SURROUNDINGS and not all(of_one[section] for of_one in facts):
        return {}  # a run that was lost has none
    if section != "metrics":
        return {r.name: (r.values[0], r.values[1]) for r in rows_of(facts, section) if not r.same}
    last = {row.name: row for row in metric_rows(facts, {})}
    rows = [
        row if last[row.name].same else last[row.name]
        for row in rows_of(facts, section)
        if not row.same
    ]
    return {row.name: (row.values[0], row.values[1]) for row in rows}


def _files(one: Observation, other: Observation) -> Pairs:
    """The files that only one has, or that differ; series always do, in their times."""
    held = [_held(observation) for observation in (one, other)]
    names = sorted({*held[0], *held[1]})
    pairs = {name: (held[0].get(name), held[1].get(name)) for name in names}
    return {
        name: (_size(a), _size(b))
        for name, (a, b) in pairs.items()
        if a is None or b is None or not filecmp.cmp(a, b, shallow=False)
    }


def _held(observation: Observation) -> dict[str, Path]:
    if not observation.artefacts():
        return {}
    paths = (path for path in observation.dir.rglob("*") if path.is_file())
    found = {path.relative_to(observation.dir).as_posix(): path for path in paths}
    return {name: path for name, path in found.items() if name != SERIES}


def _size(path: Path | None) -> Any:
    return MISSING if path is None else f"{path.stat().st_size:,} bytes"


def _texts(one: Any, other: Any) -> tuple[str, str]:
    """Two values in a line each, so that one sees what they differ in.

    >>> _texts(0.1 + 0.2, 0.3)
    ('0.30000000000000004', '0.3')
    >>> _texts("a" * 300 + "b", "a" * 300 + "c")
    ("…aaaaaaaaaab'", "…aaaaaaaaaac'")
    """
    texts = shown(one), shown(other)
    if texts[0] == texts[1] or any("\n" in text or len(text) > _LONG for text in texts):
        texts = repr(one), repr(other)
    if max(map(len, texts)) <= _LONG:
        return texts
    pairs = enumerate(zip(*texts, strict=False))
    same = next((n for n, (a, b) in pairs if a != b), min(map(len, texts)))
    start = max(0, same - 10)
    first, second = (("…" if start else "") + text[start : start + _LONG] for text in texts)
    return first, second
