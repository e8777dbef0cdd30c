"""An outcome as text for a terminal, and as HTML for a notebook and a page."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from digital_experiments.charts import number
from digital_experiments.facts import duration_text
from digital_experiments.study.plans import CONFIRMATION
from digital_experiments.study.seen import VALID
from digital_experiments.study.verdicts import Verdict
from digital_experiments.views import printable

if TYPE_CHECKING:
    from digital_experiments.study.outcome import Outcome

_METRICS = 4  # in a table of conditions
_WIDTH = 120  # characters
_NONE = "—"
_LARGE = 1e6  # from here on numbers are told by their power of ten
_NAMES = 3  # of hypotheses for one note


class Table(NamedTuple):
    """A table of texts: its heads, its rows, and which columns are numbers."""

    heads: list[str]
    rows: list[list[str]]
    numbers: frozenset[int]


def text(outcome: Outcome) -> str:
    """All of it, as a terminal shows it."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(
        file=StringIO(), width=_WIDTH, color_system=None, highlight=False, force_jupyter=False
    )
    console.print(Text(lead(outcome)))
    for table in (conditions(outcome), verdict_table(outcome)):
        if not table.rows:
            continue
        made = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for n, head in enumerate(table.heads):
            is_number = n in table.numbers
            made.add_column(Text(head), justify="right" if is_number else "left", overflow="fold")
        for row in table.rows:
            made.add_row(*map(Text, row))
        console.print()
        console.print(made)
    for note in notes(outcome):
        console.print(Text(f"\n{note}"))
    shown = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO above
    return printable("\n".join(line.rstrip() for line in shown.splitlines()))


def lead(outcome: Outcome) -> str:
    """What it is, in a line."""
    plan = outcome.plan
    kind = "" if plan.kind == "study" else f", a {plan.kind}"
    done = len(outcome.replicates) - len(outcome.errors)
    failed = f", {len(outcome.errors)} did not" if outcome.errors else ""
    conditions, replicates = len(plan.conditions), plan.replicates
    return (
        f"Study {plan.study}, version {outcome.version}{kind}: {_counted(conditions, 'condition')} "
        f"x {_counted(replicates, 'replicate')}, seed {plan.seed}. {done} of {plan.size} runs "
        f"completed{failed}."
    )


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def conditions(outcome: Outcome) -> Table:
    """The mean of each metric by condition, with its interval at 95 %."""
    summary = outcome.summary()
    metrics = outcome.metric_names[:_METRICS]
    told = {(row["treatment"], row["metric"]): row for row in summary.to_dict("records")}
    rows = []
    for name in outcome.plan.conditions:
        count = len(outcome._of(name))
        row = [name, str(count)]
        for metric in metrics:
            of_it = told[name, metric]
            ends = (of_it["mean"], of_it["low"], of_it["high"])
            some = f", of {of_it['count']}" if 0 < of_it["count"] < count else ""
            row.append(_interval(*ends, is_time=metric == "duration") + some)
        rows.append(row)
    heads = ["condition", "n", *(" ".join(metric.split()) for metric in metrics)]
    return Table(heads, rows, frozenset(range(1, len(heads))))


def _interval(mean: float, low: float, high: float, is_time: bool = False) -> str:
    if math.isnan(mean):
        return _NONE
    if is_time:
        return duration_text(mean)
    if math.isnan(low):
        return number(mean)
    if low == high == mean:
        return number(mean)
    digits = _digits(high - low, mean)
    largest = max(map(abs, (mean, low, high)))
    told = [_rounded(value, digits, largest < _LARGE) for value in (mean, low, high)]
    return "{} ({} to {})".format(*told)


def _rounded(value: float, digits: int, plain: bool = True) -> str:
    """A number with so many digits; ``plain`` without a power of ten.

    >>> _rounded(1490.3, 3), _rounded(0.12345, 3), _rounded(1.5e9, 3, plain=False)
    ('1490', '0.123', '1.5e+09')
    """
    rounded = float(f"{value:.{digits}g}") + 0.0  # no -0
    return f"{rounded:.{max(digits, 7) if plain else digits}g}"


def _digits(width: float, value: float) -> int:
    """How many digits of a value its interval leaves worth telling."""
    ratio = abs(value) / width if width and math.isfinite(width) else 0.0
    return min(8, max(3, math.ceil(math.log10(ratio)) + 2)) if ratio else 4


def verdict_table(outcome: Outcome) -> Table:
    """A row for each verdict."""
    found = outcome.verdicts
    heads = ["hypothesis", "difference", "Hedges g", "p", "corrected", "verdict", "integrity"]
    rows = [[v.name, *_found(v), v.text, v.integrity] for v in found]
    numbers = {1, 2, 3, 4}
    if all(v.integrity == VALID for v in found):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    if all(v.p_corrected == v.p for v in found):
        heads, rows = heads[:4] + heads[5:], [row[:4] + row[5:] for row in rows]
        numbers = {1, 2, 3}
    return Table(heads, rows, frozenset(numbers))


def _found(verdict: Verdict) -> list[str]:
    comparison = verdict.comparison
    p_values = [_p_text(verdict.p), _p_text(verdict.p_corrected)]
    if comparison is None:
        return [_NONE, _NONE, *p_values]
    difference = _interval(comparison.difference, comparison.low, comparison.high)
    g = comparison.hedges_g
    return [difference, _NONE if g is None else f"{g:.2f}", *p_values]


def _p_text(p: float | None) -> str:
    if p is None:
        return _NONE
    return f"{p:.3f}" if p >= 0.0995 else f"{p:.2g}"


def notes(outcome: Outcome) -> list[str]:
    """What there is to know besides."""
    by_reason: dict[str, list[str]] = {}
    for verdict in outcome.verdicts:
        if verdict.reason:
            by_reason.setdefault(verdict.reason, []).append(verdict.name)
    found = [f"{_few(names)}: {_sentence(reason)}" for reason, names in by_reason.items()]
    integrity = outcome.integrity
    is_shown = all(v.integrity == VALID for v in outcome.verdicts)
    if outcome.hypotheses and (
        integrity.reasons or (outcome.plan.kind == CONFIRMATION and is_shown)
    ):
        found.append(f"Integrity: {_sentence(str(integrity))}")
    more = len(outcome.metric_names) - _METRICS
    if more > 0:
        named = _counted(more, "more metric")
        found.append(f"{named}: summary() and to_dataframe() have all.")
    by_error: dict[str, int] = {}
    for observation in outcome.errors:
        told = observation.outcome()
        by_error[told] = by_error.get(told, 0) + 1
    found += [f"{count} x {told}" for told, count in list(by_error.items())[:5]]
    return found


def _few(names: list[str]) -> str:
    """Some names, the first three in words."""
    more = len(names) - _NAMES
    return "; ".join(names[:_NAMES]) + (f"; and {more} more" if more > 0 else "")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def fragment(outcome: Outcome) -> str:
    """What a notebook shows."""
    parts = [f"<p>{escape(lead(outcome))}</p>"]
    if any(map(outcome.has_numbers, outcome.metric_names)):
        parts.append(outcome.plot().svg)
    parts += [
        _html_table(table) for table in (conditions(outcome), verdict_table(outcome)) if table.rows
    ]
    parts += [f"<p><small>{escape(note)}</small></p>" for note in notes(outcome)]
    return printable("".join(parts))


_STYLES = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6em 0",
    "padding:3px 12px;border-bottom:1px solid currentColor;white-space:nowrap;text-align:",
    "padding:3px 12px;white-space:nowrap;text-align:",
)


def _html_table(table: Table) -> str:
    whole, head, cell = _STYLES

    def side(n: int) -> str:
        return "right" if n in table.numbers else "left"

    heads = "".join(
        f'<th style="{head}{side(n)}">{escape(told)}</th>' for n, told in enumerate(table.heads)
    )
    rows = "".join(
        "<tr>"
        + "".join(f'<td style="{cell}{side(n)}">{_cell(told)}</td>' for n, told in enumerate(row))
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div style="overflow-x:auto"><table style="{whole}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(told: str) -> str:
    return f"<b>{told}</b>" if told == "supported" else escape(told)


def page(outcome: Outcome) -> str:
    """A page that needs nothing else."""
    from digital_experiments.pages import template

    plan = outcome.plan
    told = template("study.html").render(
        title=plan.study,
        lead=lead(outcome),
        description=plan.description,
        tables=[
            (title, table)
            for title, table in (
                ("Verdicts", verdict_table(outcome)),
                ("Conditions", conditions(outcome)),
            )
            if table.rows
        ],
        plots=[
            (metric, outcome.plot(metric).svg)
            for metric in outcome.metric_names[:_METRICS]
            if outcome.has_numbers(metric)
        ],
        notes=notes(outcome),
        plan=_plan_rows(outcome),
    )
    return printable(told)


def _plan_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """The plan as it was written before the first run."""
    plan = outcome.plan
    rows = [("plan", f"{plan.id}, made {plan.made[:19].replace('T', ' ')} UTC")]
    rows += [
        (name, ", ".join(f"{k}={v!r}" for k, v in config.items()))
        for name, config in plan.conditions.items()
    ]
    rows.append(("replicates", f"{plan.replicates}, seeds from {plan.seed}"))
    for told in plan.hypotheses:
        how = "not paired" if told.get("paired") is False else "paired"
        rows.append(
            ("hypothesis", f"{told['text']} ({told['test']}, {how}, alpha {told['alpha']:g})")
        )
    if plan.hypotheses:
        rows.append(("correction", plan.correction or "none"))
    if plan.explored:
        others = len(plan.explored) - 1
        rows.append(("confirms", plan.explored[0] + (f"; {others} more seen" if others else "")))
    rows.append(("code", plan.fingerprint))
    if plan.git:
        rows.append(("git", ", ".join(f"{key} {value}" for key, value in plan.git.items())))
    return rows
