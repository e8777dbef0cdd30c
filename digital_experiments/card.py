"""One observation as a card for a notebook: what it was, what came of it, its pictures."""

from __future__ import annotations

import base64
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING

from digital_experiments.charts import Line, colour, lines
from digital_experiments.facts import facts_of, shown
from digital_experiments.series import series_of
from digital_experiments.views import printable

if TYPE_CHECKING:
    from digital_experiments.observation import Observation

_SECTIONS = ("run", "config", "result", "metrics", "params", "features")
_PICTURES = 4
_CELL = "text-align:left;padding:1px 12px 1px 0;vertical-align:top"


def card(observation: Observation) -> str:
    """The card as HTML; every text in it is escaped."""
    facts = facts_of(observation)
    facts["metrics"] = {
        name: value.get("last") if isinstance(value, dict) else value
        for name, value in facts["metrics"].items()
    }
    columns = "".join(_column(name, facts[name]) for name in _SECTIONS if facts[name])
    error = (observation.error or {}).get("traceback")
    trace = f'<pre style="overflow:auto;max-height:16em">{escape(error)}</pre>' if error else ""
    page = (
        f"<div><b>{escape(observation.id)}</b>"
        f'<div style="display:flex;flex-wrap:wrap;gap:4px 36px">{columns}</div>{trace}'
        '<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">'
        f"{_pictures(observation)}</div></div>"
    )
    return printable(page)


def _column(title: str, fields: dict[str, object]) -> str:
    rows = "".join(
        f'<tr><td style="{_CELL};opacity:.65">{escape(name)}</td>'
        f'<td style="{_CELL}">{escape(shown(value))}</td></tr>'
        for name, value in fields.items()
    )
    return f'<div><small style="opacity:.65">{title}</small><table>{rows}</table></div>'


def _pictures(observation: Observation) -> str:
    charts = [
        lines([Line(name, colour(n), *points)], "step", name)
        for n, (name, points) in enumerate(series_of(observation.series_path()).items())
        if len(points[0]) > 1
    ]
    images = [paths[0] for paths in observation.figures().values()]
    images = [path for path in (*images, *observation.images().values()) if path.suffix == ".png"]
    drawn = [f'<div style="width:460px">{chart}</div>' for chart in charts[:_PICTURES]]
    for path in images[:_PICTURES]:
        with suppress(OSError):
            data = base64.b64encode(path.read_bytes()).decode()
            drawn.append(f'<img style="max-width:360px" src="data:image/png;base64,{data}">')
    return "".join(drawn)
