"""What the runs of a study say to its hypotheses. Knows numbers and their names; no files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from digital_experiments.errors import did_you_mean
from digital_experiments.study.hypotheses import BASELINE, Column, Hypothesis
from digital_experiments.study.statistics import Comparison, compared, corrected

Metrics = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""The metrics of each condition's replicates that completed, by name."""

_ALTERNATIVES = {">": "greater", ">=": "greater", "<": "less", "<=": "less", "!=": "two-sided"}
_RESULT = "result."


@dataclass(frozen=True)
class Verdict:
    """What was found for a hypothesis, or for one of the treatments that it is about.

    Attributes
    ----------
    name : str
        The hypothesis.
    hypothesis : Hypothesis
        How it was asked for.
    treatment : str
        The condition on its left side; of a function the treatment.
    supported : bool or None
        Whether it was shown; None where no test could be made, for the ``reason``.
    p : float or None
        The p-value as the test gave it.
    p_corrected : float or None
        The same, corrected for the number of hypotheses: what the verdict goes by.
    comparison : Comparison or None
        The difference, its interval and effect sizes; of a function None.
    details : Any
        What a function returned.
    reason : str
        What there is to know besides.
    integrity : str
        ``valid``, or what is to be held against it: see :class:`Integrity`.
    """

    name: str
    hypothesis: Hypothesis
    treatment: str
    supported: bool | None = None
    p: float | None = None
    p_corrected: float | None = None
    comparison: Comparison | None = None
    details: Any = None
    reason: str = ""
    integrity: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The verdict in words."""
        return {True: "supported", False: "not supported", None: "undecided"}[self.supported]

    def __bool__(self) -> bool:
        return self.supported is True


def verdicts(
    hypotheses: Sequence[Hypothesis],
    metrics: Metrics,
    replicates: int,
    correction: str | None,
) -> list[Verdict]:
    """A verdict for each hypothesis and treatment that it is about.

    Parameters
    ----------
    hypotheses : list of Hypothesis
        What is asked.
    metrics : dict
        Of each condition, the baseline first, the metrics of its replicates by their numbers.
    replicates : int
        How many replicates were planned.
    correction : {"holm", "benjamini-hochberg"} or None
        How p-values are corrected for their number.
    """
    found = [v for h in hypotheses for v in _of_hypothesis(h, metrics, replicates)]
    tested = [n for n, verdict in enumerate(found) if verdict.p is not None]
    values = [p for v in found if (p := v.p) is not None]
    for n, p in zip(tested, corrected(values, correction), strict=True):
        found[n] = replace(found[n], p_corrected=p, supported=p <= found[n].hypothesis.alpha)
    return found


def _of_hypothesis(hypothesis: Hypothesis, metrics: Metrics, replicates: int) -> Iterator[Verdict]:
    treatments = [name for name in metrics if name != BASELINE]
    if hypothesis.verifier is not None:
        for name in treatments:
            yield _of_function(hypothesis, name, metrics)
        return
    for name, left, right in hypothesis.for_each(treatments):
        yield _of_text(hypothesis, name, left, right, metrics, replicates)


def _of_text(
    hypothesis: Hypothesis,
    name: str,
    left: Column,
    right: Column | float,
    metrics: Metrics,
    replicates: int,
) -> Verdict:
    undecided = Verdict(name, hypothesis, left.condition)
    one, notes = _values(left, metrics, replicates)
    if isinstance(right, Column):
        other, more = _values(right, metrics, replicates)
        notes += more
    else:
        other = dict.fromkeys(one, right)
    if not one or not other:
        return replace(undecided, reason="; ".join(notes))
    paired = hypothesis.paired is not False or not isinstance(right, Column)
    if paired:
        common = [n for n in one if n in other]
        one, other = {n: one[n] for n in common}, {n: other[n] for n in common}
    within = hypothesis.operator == "=="
    comparison = compared(
        list(one.values()),
        list(other.values()),
        alternative=_ALTERNATIVES.get(hypothesis.operator, "two-sided"),
        shift=0.0 if within else hypothesis.margin,
        margin=hypothesis.margin if within else None,
        test=hypothesis.test,
        paired=paired,
        interval=hypothesis.interval,
        alpha=hypothesis.alpha,
    )
    reason = "; ".join([*([comparison.reason] if comparison.reason else []), *notes])
    return replace(undecided, p=comparison.p, comparison=comparison, reason=reason)


def _values(
    column: Column, metrics: Metrics, replicates: int
) -> tuple[dict[int, float], list[str]]:
    """The finite values of a metric by replicate, and what is to be said of those left out."""
    of_condition = metrics[column.condition]
    told = {n: value_of(cells, column.metric) for n, cells in of_condition.items()}
    there = {n: value for n, value in told.items() if value is not None}
    if not there:
        known = dict.fromkeys(name for cells in of_condition.values() for name in cells)
        hint = f" {did_you_mean(column.metric, known)}" if known else ""
        runs = f"no run of {column.condition!r} that completed has a number in {column.metric!r}."
        return {}, [runs + hint]
    notes = []
    if len(of_condition) < replicates:
        missed = replicates - len(of_condition)
        notes.append(
            f"{missed} of {replicates} replicates of {column.condition!r} did not complete"
        )
    if len(there) < len(told):
        notes.append(f"{len(told) - len(there)} of {column.condition!r} lack {column.metric!r}")
    finite = {n: value for n, value in there.items() if math.isfinite(value)}
    if len(finite) < len(there):
        count = len(there) - len(finite)
        notes.append(
            f"{count} of {column.condition!r} are left out: {column.metric!r} is not finite"
        )
    return finite, notes


def value_of(cells: Mapping[str, Any], metric: str) -> float | None:
    """The number of a metric in a run; None where it has none."""
    value = cells.get(metric, cells.get(metric.removeprefix(_RESULT)))
    return float(value) if isinstance(value, (bool, int, float)) else None


def _of_function(hypothesis: Hypothesis, name: str, metrics: Metrics) -> Verdict:
    """What a function says of a treatment."""
    verdict = Verdict(f"{hypothesis.name}: {name}", hypothesis, name)
    assert hypothesis.verifier is not None
    baseline, treatment = _columns(metrics[BASELINE]), _columns(metrics[name])
    told = []
    for group in _groups(hypothesis.metrics, list(baseline)):
        missing = [m for m in group if m not in baseline or m not in treatment]
        if missing:
            reason = f"no run has the metric {missing[0]!r}. {did_you_mean(missing[0], baseline)}"
            return replace(verdict, reason=reason)
        sides = ({m: side[m] for m in group} for side in (baseline, treatment))
        try:
            told.append(hypothesis.verifier(*sides))
        except Exception as problem:  # the user's
            return replace(verdict, reason=f"it raised {type(problem).__name__}: {problem}")
    details = told[0] if len(told) == 1 else told
    if not isinstance(details, Mapping):
        return replace(verdict, details=details, reason="several verdicts: see details")
    p = details.get("p_value")
    says = details.get("significant", details.get("accepted"))
    if isinstance(p, (int, float)) and 0 <= p <= 1:
        return replace(verdict, details=details, p=float(p))
    reason = "" if says is not None else "its dict has neither 'p_value' nor 'significant'"
    supported = None if says is None else bool(says)
    return replace(verdict, details=details, supported=supported, reason=reason)


def _groups(metrics: Any, known: list[str]) -> list[list[str]]:
    """The lists of metrics that a function is given, one after another."""
    if metrics is None:
        return [known]
    if isinstance(metrics, str):
        return [[metrics]]
    listed = list(metrics)
    if listed and not isinstance(listed[0], str):
        return [list(group) for group in listed]
    return [listed]


def _columns(replicates: Mapping[int, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of each metric, in the order of the replicates."""
    names = dict.fromkeys(name for cells in replicates.values() for name in cells)
    return {name: [cells[name] for cells in replicates.values() if name in cells] for name in names}


def ranked(
    hypotheses: Sequence[Hypothesis],
    found: Sequence[Verdict],
    means: Mapping[str, Mapping[str, float]],
    smaller_is_better: Any,
) -> list[tuple[str, float]]:
    """Conditions with their scores, the best first.

    Parameters
    ----------
    hypotheses, found
        What was asked and what was found: the first that can rank does. One with a ``ranker``
        ranks treatments by what that gives, the smallest first; a text ranks all conditions by
        the mean of its metric.
    means : dict
        The mean of each metric by condition.
    smaller_is_better : callable
        Whether small values of a metric are good, by its name: used where no hypothesis says.
    """
    for hypothesis in hypotheses:
        if hypothesis.ranker is not None:
            of_it = [v for v in found if v.hypothesis is hypothesis]
            scores = {
                v.treatment: hypothesis.ranker(v if v.details is None else v.details) for v in of_it
            }
            return sorted(scores.items(), key=lambda item: item[1])
    text = next((h for h in hypotheses if h.left is not None), None)
    if text is not None and text.left is not None:
        metric, less = text.left.metric.removeprefix(_RESULT), text.operator in ("<", "<=")
    else:
        metrics = [name for of_one in means.values() for name in of_one if name != "duration"]
        if not metrics:
            return []
        metric = metrics[0]
        less = smaller_is_better(metric)
    scores = {name: of_one[metric] for name, of_one in means.items() if metric in of_one}
    sign = 1 if less else -1
    return sorted(scores.items(), key=lambda item: sign * item[1])
