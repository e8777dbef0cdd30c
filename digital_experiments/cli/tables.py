"""Observations in a terminal: as a table, one by one, as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from digital_experiments.charts import sparkline
from digital_experiments.cli.common import console, name_of, short_id, size_text
from digital_experiments.facts import duration_text, shown
from digital_experiments.series import series_of
from digital_experiments.store.claims import sweepers
from digital_experiments.stored import StoredExperiment
from digital_experiments.views import short_repr

if TYPE_CHECKING:
    from digital_experiments.observation import Observation

SHOWN = 20
_CELL = 40
_COLOURS = {
    "completed": "green",
    "failed": "red",
    "interrupted": "yellow",
    "pruned": "cyan",
    "timeout": "yellow",
    "running": "cyan",
    "lost": "magenta",
}
_WORD = {
    "completed": "✓",
    "failed": "✗ failed",
    "interrupted": "! interrupted",
    "pruned": "✂ pruned",
    "timeout": "! timeout",
    "running": "▸ running",
    "lost": "? lost",
}


def print_table(
    table: dict[str, list[Any]], stores: Sequence[StoredExperiment], names: list[str] | None
) -> None:
    """Columns side by side, as many as have room; then what is the same in all."""
    from rich.table import Table

    """Columns side by side, as many as have room; then what is the same in all."""
    count = len(next(iter(table.values()), []))
    same: dict[str, Any] = {}
    if names is None:
        table, same = _folded(table, count)
    texts = {name: [_text(name, v) for v in values] for name, values in table.items()}
    wide = console().width - 2
    made = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    left = []
    for name, values in texts.items():
        need = max(len(name), *map(len, values)) if values else len(name)
        if wide < need and made.columns and names is None:
            left.append(name)
            continue
        wide -= need + 2
        made.add_column(
            _heading(name), justify=_side(table[name]), overflow="ellipsis", no_wrap=True
        )
    kept = [name for name in texts if name not in left]
    for row in zip(*(texts[name] for name in kept), strict=True):
        made.add_row(*(_styled(name, text) for name, text in zip(kept, row, strict=True)))
    out = console()
    out.print(made)
    _print_footnote(out, stores, count, same, left)


def _print_footnote(
    out: Any,
    stores: Sequence[StoredExperiment],
    count: int,
    same: dict[str, Any],
    left: list[str],
) -> None:
    from rich.text import Text

    uri = stores[0].uri
    place = uri if len(stores) == 1 else f"{len(stores)} stores in {os.path.dirname(uri)}"
    lines = [f"{count:,} shown of {sum(map(_total, stores)):,} in {place}"]
    if same:
        lines.append(
            "the same in all: " + ", ".join(f"{k} = {_text(k, v)}" for k, v in same.items())
        )
    if left:
        lines.append("not shown, for want of room (--columns): " + ", ".join(left))
    for line in lines:
        out.print(Text(line, style="dim"), soft_wrap=True)


def _total(store: StoredExperiment) -> int:
    return sum(kind.count for kind in store.backend.index.kinds.values())


def _folded(table: dict[str, list[Any]], count: int) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Columns that differ, and what is the same in all rows; empty ones are left out."""
    kept, same = {}, {}
    for name, values in table.items():
        if (name in ("tags", "note") and not any(values)) or _is_empty(values):
            continue
        if name == "status" and set(values) == {"completed"}:
            continue
        if name.startswith("config.") and count > 2 and all(v == values[0] for v in values):
            same[name] = values[0]
            continue
        kept[name] = values
    return kept, same


def _is_empty(values: list[Any]) -> bool:
    return all(value is None for value in values)


def _heading(name: str) -> str:
    return {"start": "started", "duration": "took"}.get(name, name)


def _side(values: Iterable[Any]) -> Any:
    number = all(isinstance(v, (int, float, type(None))) for v in values)
    return "right" if number else "left"


def _text(name: str, value: Any) -> str:
    """A cell as a person reads it."""
    if value is None:
        return ""
    if name in _TEXTS:
        return _TEXTS[name](value)
    if isinstance(value, list) and name == "tags":
        return " ".join(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text: str = value if isinstance(value, str) else short_repr(value, _CELL)
    line = " ".join(text.split())
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"


def local_time(start: str) -> str:
    """A moment in the time zone of the reader."""
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(start).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return start


_TEXTS: dict[str, Callable[[Any], str]] = {
    "id": short_id,
    "status": lambda status: _WORD.get(status, status),
    "start": local_time,
    "duration": duration_text,
}


def _styled(name: str, text: str) -> Any:
    from rich.text import Text

    word = text.rpartition(" ")[2]
    colour = _COLOURS.get("completed" if text == "✓" else word) if name == "status" else None
    return Text(text, style=colour or ("cyan" if name == "id" else ""))


def print_observation(observation: Observation, code: bool, environment: bool) -> None:
    """One observation in a terminal."""
    from rich.pretty import Pretty
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    out = console()
    facts = observation.facts
    timing = facts.get("timing") or {}
    start = timing.get("total", timing).get("start")
    lines: list[tuple[str, Any]] = [
        ("id", Text(observation.id, style="cyan")),
        ("experiment", facts.get("experiment")),
        ("status", Text(observation.status, style=_COLOURS.get(observation.status, ""))),
        ("started", local_time(start) if start else None),
        ("took", None if observation.duration is None else duration_text(observation.duration)),
        ("tags", " ".join(observation.tags)),
        ("note", observation.note),
        ("parents", " ".join(facts.get("parents") or ())),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in lines:
        if value:
            table.add_row(
                Text(name, style="bold"), value if isinstance(value, Text) else Text(value)
            )
    table.add_row("", "")
    for name, value in observation.shown("config").items():
        table.add_row(Text(f"config.{name}", style="bold"), Pretty(value, max_length=10))
    for name, value in observation.params.items():
        table.add_row(Text(f"params.{name}", style="bold"), Pretty(value, max_length=10))
    if observation.features:
        table.add_row(Text("features", style="bold"), Text(" ".join(observation.features)))
    if observation.error is None:
        table.add_row(
            Text("result", style="bold"), Pretty(observation.shown("result"), max_length=20)
        )
    out.print(table)
    _print_series(out, observation)
    if observation.error is not None:
        out.print(Text("\n" + str(observation.error.get("traceback", "")).rstrip(), style="red"))
    _print_files(out, observation)
    metadata = observation.metadata if code or environment else {}
    if environment:
        out.print(Pretty(metadata.get("environment"), max_string=400))
    if code and isinstance(metadata.get("code"), str):
        out.print(Syntax(metadata["code"], "python", background_color="default"))


def _print_series(out: Any, observation: Observation) -> None:
    """What the run logged as numbers, each series as a few bars."""
    from rich.table import Table

    summary = observation.summary
    if not summary:
        return
    series = series_of(observation.series_path())
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", "", "last", "min", "max", "points"):
        table.add_column(name, justify="left" if name in ("metric", "") else "right")
    for name, facts in summary.items():
        if not isinstance(facts, dict):
            continue
        values = [shown(facts.get(end)) for end in ("last", "min", "max", "count")]
        table.add_row(name, sparkline(series[name][1].tolist() if name in series else []), *values)
    out.print(table)
    out.print()


def _print_files(out: Any, observation: Observation) -> None:
    from rich.text import Text

    files = [p for p in sorted(observation.dir.rglob("*")) if p.is_file()]
    if files:
        plural = "" if len(files) == 1 else "s"
        title = f"\n{len(files)} file{plural} in {observation.dir}"
        out.print(Text(title, style="bold"), soft_wrap=True)
    for path in files[:SHOWN]:
        out.print(Text(f"  {path.relative_to(observation.dir)}  {size_text(path.stat().st_size)}"))
    if len(files) > SHOWN:
        out.print(f"  ... and {len(files) - SHOWN} more")


def in_flight_table(stores: Iterable[StoredExperiment]) -> Any:
    """The runs that live or were lost, of several stores."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for name in ("store", "id", "", "for", "cpu", "memory", "config", "metrics"):
        table.add_column(name, justify="right" if name in ("for", "cpu", "memory") else "left")
    counts = {"running": 0, "lost": 0}
    for store in stores:
        for observation in store.observations(status=list(counts)):
            counts[observation.status] += 1
            used = observation.facts.get("resources") or {}
            metrics = observation.summary
            table.add_row(
                name_of(store),
                Text(short_id(observation.id), style="cyan"),
                Text(_WORD[observation.status], style=_COLOURS[observation.status]),
                duration_text(observation.duration or 0),
                f"{used.get('cpu_percent', 0):.0f} %",
                size_text(int(used.get("rss_bytes", 0))),
                Text(short_repr(observation.shown("config"), _CELL)),
                Text(" ".join(f"{k}={shown(v.get('last'))}" for k, v in list(metrics.items())[:3])),
            )
    table.caption = f"{counts['running']} running, {counts['lost']} lost"
    return table


def sweepers_table(stores: Iterable[StoredExperiment]) -> Any:
    """Who resumes sweeps on several stores."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for name in ("store", "host", "pid", "", "for", "completed", "failed", "at work on"):
        table.add_column(name, justify="left" if name in ("store", "host", "") else "right")
    count = 0
    for store in stores:
        for one in sweepers(str(store.root)):
            count += 1
            status = "running" if one.lives else "lost"
            table.add_row(
                name_of(store),
                Text(one.host),
                str(one.pid),
                Text(_WORD[status], style=_COLOURS[status]),
                duration_text(time.time() - one.since),
                f"{one.ended.get('completed', 0):,}",
                f"{one.ended.get('failed', 0):,}",
                f"{one.held:,}",
            )
    table.caption = f"{count} process{'' if count == 1 else 'es'} at work on sweeps"
    return table
