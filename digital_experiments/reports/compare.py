"""Several observations on one page that needs no network."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from digital_experiments.charts import Line, colour, lines
from digital_experiments.facts import (
    MISSING,
    Facts,
    Row,
    facts_of,
    metric_rows,
    rows_of,
    shown,
)
from digital_experiments.files import save
from digital_experiments.logged import PLOTLY
from digital_experiments.observation import Observation
from digital_experiments.reports.code import Side, side_by_side
from digital_experiments.series import series_of
from digital_experiments.views import printable

T = TypeVar("T")

_TITLES = {
    "run": "Run",
    "config": "Config",
    "result": "Result",
    "metrics": "Metrics",
    "params": "Params",
    "features": "Features",
    "dicts": "Dicts",
    "timing": "Timing",
    "resources": "Resources",
    "git": "Git",
    "packages": "Packages",
    "system": "System",
}
_IN_HEAD = ("experiment", "variant", "status")
_FOLDED = ("packages", "system")  # of one run
_MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_ROWS = 50  # of a table
_TEXT = 20_000  # characters of a text
_POINTS = 300_000  # of all lines together
_HEIGHT = 720  # pixels of the frame in a notebook


class Section(NamedTuple):
    """A part of the table: its title, and its rows."""

    title: str
    rows: list[Row]

    @property
    def same(self) -> int:
        """How many rows are equal in all runs."""
        return sum(row.same for row in self.rows)


class Version(NamedTuple):
    """One text of the code: who ran it, the text, and its differences from the first."""

    runs: list[int]
    text: str
    changes: list[Side]


class Report:
    """Observations side by side, as a page. Made by :func:`compare`.

    Attributes
    ----------
    observations : list of Observation
        Those that are compared.
    """

    def __init__(
        self, observations: Sequence[Observation], best: Mapping[str, str], title: str | None
    ) -> None:
        self.observations = list(observations)
        self.title = title
        self._best = best
        self._page: str | None = None

    @property
    def html(self) -> str:
        """The page: one text that needs nothing else."""
        if self._page is None:
            self._page = _page(self.observations, self._best, self.title)
        return self._page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file.

        Parameters
        ----------
        path
            Where to; folders that are missing are made.

        Returns
        -------
        pathlib.Path
            The file.
        """
        return save(path, self.html.encode())

    def _repr_html_(self) -> str:
        from html import escape

        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" '
            f'style="width:100%;height:{_HEIGHT}px;border:0"></iframe>'
        )

    def __repr__(self) -> str:
        ids = ", ".join(o.id[-6:] for o in self.observations)
        return f"Report({ids}): show it in a notebook, or .save('report.html')"


def compare(
    *observations: Observation | Iterable[Observation],
    best: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Report:
    """Lay observations side by side: what differs stands out, what is equal is folded away.

    Parameters
    ----------
    *observations : Observation, or lists of them
        One or more, of any experiments and stores; the order is kept.
    best : dict, optional
        ``"min"`` or ``"max"`` by the name of a metric: which value is marked as best. By
        default the smallest of what is called loss or error, the largest of all others.
    title : str, optional
        The title of the page.

    Returns
    -------
    Report
        Shows itself in a notebook; :meth:`Report.save` writes one file.

    Raises
    ------
    TypeError, ValueError
        For what is no observation; for none at all.

    Notes
    -----
    Nothing in the observations is run: values that were pickled show by their views, and all
    text is escaped. Figures of Plotly are interactive where plotly is installed.

    Examples
    --------
    >>> from digital_experiments import compare, experiment
    >>> @experiment
    ... def square(x):
    ...     return x * x
    >>> [square(3), square(4)]
    [9, 16]
    >>> compare(square.observations()).save("report.html").name
    'report.html'
    """
    found: list[Observation] = []
    for item in observations:
        some = [item] if isinstance(item, Observation) else item
        if not isinstance(some, Iterable) or isinstance(some, (str, bytes)):
            raise TypeError(f"compare expects observations, not {item!r}. Ids go to load(id).")
        found.extend(some)
    for observation in found:
        if not isinstance(observation, Observation):
            raise TypeError(f"compare expects observations, not {observation!r}.")
    if best is not None and not isinstance(best, Mapping):
        raise TypeError(f"best must be a dict such as {{'loss': 'min'}}, not {best!r}.")
    for name, end in (best or {}).items():
        if end not in ("min", "max"):
            raise ValueError(f"best[{name!r}] must be 'min' or 'max', not {end!r}.")
    if not found:
        raise ValueError("compare expects at least one observation; there are none.")
    return Report(found, best or {}, title)


def _page(observations: Sequence[Observation], best: Mapping[str, str], title: str | None) -> str:
    from digital_experiments.pages import template

    facts = [facts_of(observation) for observation in observations]
    names = list(dict.fromkeys(str(of["run"].get("experiment", "runs")) for of in facts))
    page = template("compare.html").render(
        title=title or ", ".join(names),
        runs=[_head(o, of, n) for n, (o, of) in enumerate(zip(observations, facts, strict=True))],
        sections=_sections(facts, best),
        galleries=_galleries(observations),
        series=_series(observations),
        versions=_versions(facts),
        plotly=_plotly(observations),
        shown=shown,
        missing=MISSING,
    )
    return printable(page)


def _head(observation: Observation, facts: Facts, number: int) -> dict[str, Any]:
    return {
        "id": observation.id,
        "short": observation.id[-6:],
        "colour": colour(number),
        "status": observation.status,
        "experiment": facts["run"].get("experiment", ""),
        "variant": facts["run"].get("variant", ""),
        "traceback": (observation.error or {}).get("traceback"),
    }


def _sections(facts: Sequence[Facts], best: Mapping[str, str]) -> list[Section]:
    found = []
    for section, title in _TITLES.items():
        rows = metric_rows(facts, best) if section == "metrics" else rows_of(facts, section)
        rows = [row for row in rows if section != "run" or row.name not in _IN_HEAD]
        if len(facts) == 1 and section not in _FOLDED:
            rows = [row._replace(same=False) for row in rows]
        if rows:
            found.append(Section(title, rows))
    return found


def _galleries(observations: Sequence[Observation]) -> list[tuple[str, list[Row]]]:
    """Texts, tables, images and figures, a row for each name."""
    texts = [_each(o.texts(), lambda text: ("text", text[:_TEXT])) for o in observations]
    tables = [_each(o.tables(), _table) for o in observations]
    images = [_each(o.images(), lambda path: ("image", _uri(path))) for o in observations]
    figures = [_each(o.figures(), _figure) for o in observations]
    made = (("Figures", figures), ("Images", images), ("Tables", tables), ("Texts", texts))
    galleries = []
    for title, held in made:
        names = dict.fromkeys(name for of_one in held for name in of_one)
        rows = [_gallery_row(name, [of_one.get(name) for of_one in held]) for name in names]
        if rows:
            galleries.append((title, rows))
    return galleries


def _gallery_row(name: str, values: list[Any]) -> Row:
    return Row(name, values, len(values) > 1 and all(value == values[0] for value in values))


def _each(held: Mapping[str, T], shown: Callable[[T], tuple[str, Any]]) -> dict[str, Any]:
    """Each thing as a cell; of one that can't be read the reason."""
    cells = {}
    for name in held:
        try:
            cells[name] = shown(held[name])
        except (OSError, ValueError, LookupError) as problem:
            cells[name] = "text", f"It can't be read: {problem}"
    return cells


def _table(table: Any) -> tuple[str, dict[str, Any]]:
    import pandas

    if not isinstance(table.index, pandas.RangeIndex):
        table = table.set_axis(table.columns.map(str), axis=1).reset_index()
    head = table.head(_ROWS)
    rows = [[shown(value) for value in row] for row in head.itertuples(index=False, name=None)]
    more = len(table) - len(head)
    return "table", {"columns": [str(c) for c in table.columns], "rows": rows, "more": more}


def _figure(paths: Sequence[Path]) -> tuple[str, Any]:
    plotly = [path for path in paths if path.name.endswith(PLOTLY)]
    if plotly:
        return "plotly", _script_safe(plotly[0].read_text(encoding="utf-8"))
    return "image", _uri(paths[0])


def _script_safe(text: str) -> str:
    """JSON that can stand in a script element, or nothing if it is none."""
    try:
        text = json.dumps(json.loads(text))
    except ValueError:
        return "null"
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _uri(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_MIME[path.suffix.lower()]};base64,{data}"


def _series(observations: Sequence[Observation]) -> list[tuple[str, str]]:
    """A chart for each series, of all runs that logged it."""
    held = [series_of(observation.series_path()) for observation in observations]
    names = dict.fromkeys(name for of_one in held for name in of_one)
    most = _POINTS // max(1, sum(map(len, held)))
    charts = []
    for name in names:
        drawn = [
            Line(o.id[-6:], colour(n), *of_one[name])
            for n, (o, of_one) in enumerate(zip(observations, held, strict=True))
            if name in of_one
        ]
        if any(len(line.x) > 1 for line in drawn):
            charts.append((name, lines(drawn, "step", "", most=most)))
    return charts


def _versions(facts: Sequence[Facts]) -> list[Version]:
    by_text: dict[str, list[int]] = {}
    for number, of_one in enumerate(facts):
        text = of_one["code"].get("code")
        if text:
            by_text.setdefault(text, []).append(number)
    first = next(iter(by_text), "")
    return [
        Version(runs, text, side_by_side(first, text) if text != first else [])
        for text, runs in by_text.items()
    ]


def _plotly(observations: Sequence[Observation]) -> str | None:
    """The script that draws figures of Plotly, if there are any and it is installed."""
    paths = (path for o in observations for some in o.figures().values() for path in some)
    if not any(path.name.endswith(PLOTLY) for path in paths):
        return None
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        return None
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
