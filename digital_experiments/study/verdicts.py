"""What the runs of a study say to its hypotheses. Knows numbers and their names; no files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from digital_experiments.charts import as_float
from digital_experiments.errors import InvalidStudy, did_you_mean
from digital_experiments.study.hypotheses import BASELINE, Column, Hypothesis
from digital_experiments.study.measures import RESULT, number_of, value_of
from digital_experiments.study.statistics import (
    EXACT,
    NEVER,
    Comparison,
    compared,
    corrected,
    one_sample_g,
    smallest_p,
)
from digital_experiments.views import plain_number

Metrics = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""The metrics of each condition's replicates that completed, by name."""

_ALTERNATIVES = {">": "greater", ">=": "greater", "<": "less", "<=": "less", "!=": "two-sided"}
_ENOUGH = 10**6  # replicates
_SAME = (
    "all replicates of a condition are equal, as if there were one of each: does it use its seed?"
)


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
    sides : tuple or None
        What was compared: two columns, or a column and a number; of a function None.
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
    sides: tuple[Column, Column | float] | None = None
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
    counted = [
        n for n, v in enumerate(found) if v.p is not None or v.sides is not None or _is_untested(v)
    ]
    values = [1.0 if (p := found[n].p) is None else p for n in counted]
    hopeless = _too_few(found, len(counted), correction)
    for n, p in zip(counted, corrected(values, correction), strict=True):
        verdict = found[n]
        if verdict.p is None:
            continue
        supported = p <= verdict.hypothesis.alpha
        found[n] = replace(verdict, p_corrected=p, supported=None if hopeless else supported)
        if hopeless:
            found[n] = replace(found[n], reason="; ".join(filter(None, (hopeless, verdict.reason))))
    return found


def _is_untested(verdict: Verdict) -> bool:
    """Whether a function could not say anything."""
    return verdict.hypothesis.verifier is not None and verdict.supported is None


def _too_few(found: Sequence[Verdict], count: int, correction: str | None) -> str:
    """Why, with so many hypotheses, none could have been shown; empty if one could."""
    tested = [v for v in found if v.p is not None]
    times = 1.0
    if correction is not None and tested:
        times = count if correction == "holm" else count / len(tested)
    least = [(_smallest_p_of(v) * times, v.hypothesis.alpha) for v in tested]
    if not least or count < 2 or any(p <= alpha for p, alpha in least):
        return ""
    p, alpha = min(least)
    level = alpha / times
    if all(_smallest_p_of(v, (_ENOUGH, _ENOUGH)) > level for v in tested):
        return NEVER.format(alpha=level)
    return (
        f"too few replicates for {count} hypotheses: the smallest p-value, corrected for their "
        f"number, is {min(1.0, p):.2g}, above alpha = {alpha:g}"
    )


def _smallest_p_of(verdict: Verdict, counts: tuple[int, int] | None = None) -> float:
    """The smallest p-value that the test of a verdict could have come to, or would with others."""
    if verdict.comparison is None or verdict.sides is None:
        return 0.0
    counts = counts or verdict.comparison.counts
    return smallest_p_for(verdict.hypothesis, verdict.sides[1], counts)


def smallest_p_for(asked: Hypothesis, right: Column | float, counts: tuple[int, int]) -> float:
    """The smallest p-value that the test of a text can come to with so many replicates."""
    number = None if isinstance(right, Column) else right
    paired = asked.paired is not False or number is not None
    side = _ALTERNATIVES.get(asked.operator, "greater")  # of two tests for ==, each has one
    return smallest_p(asked.test, paired, *counts, side, number)


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
    undecided = Verdict(name, hypothesis, left.condition, sides=(left, right))
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
    endless = _infinite(left, one) or (_infinite(right, other) if isinstance(right, Column) else "")
    if endless:
        return replace(undecided, reason="; ".join([endless, *notes]))
    same = _all_the_same(one, other, isinstance(right, Column))
    measured = [*one.values(), *(other.values() if isinstance(right, Column) else ())]
    if same and not _are_truths(measured):
        return replace(undecided, reason="; ".join([_SAME, *notes]))
    within = hypothesis.operator == "=="
    comparison = compared(
        *_as_floats(list(one.values()), list(other.values()), isinstance(right, Column)),
        alternative=_ALTERNATIVES.get(hypothesis.operator, "two-sided"),
        shift=0.0 if within else hypothesis.margin,
        margin=hypothesis.margin if within else None,
        test=hypothesis.test,
        paired=paired,
        fixed=not isinstance(right, Column),
        interval=hypothesis.interval,
        alpha=hypothesis.alpha,
    )
    if not isinstance(right, Column):
        comparison = replace(comparison, hedges_g=one_sample_g(list(one.values()), right))
    notes = [_SAME, *notes] if same and comparison.p is not None else notes
    reason = "; ".join([*([comparison.reason] if comparison.reason else []), *notes])
    return replace(undecided, p=comparison.p, comparison=comparison, reason=reason)


def _infinite(column: Column, values: Mapping[int, float]) -> str:
    """What is wrong with values that have no mean; empty if nothing is."""
    count = sum(not math.isfinite(as_float(value)) for value in values.values())
    if not count:
        return ""
    return (
        f"{count} of {column.condition!r} are infinite in {column.metric!r}: no mean can be "
        "compared, and to leave them out would flatter it"
    )


def _as_floats(one: list[Any], other: list[Any], measured: bool) -> tuple[list[float], list[float]]:
    """Numbers as floats; whole ones that floats can't tell apart, from the smallest of them."""
    every = [*one, *other]
    if measured and all(type(v) is int for v in every) and max(map(abs, every)) > EXACT:
        least = min(every)
        one, other = [v - least for v in one], [v - least for v in other]
    return [as_float(v) for v in one], [as_float(v) for v in other]


def _all_the_same(one: Mapping[int, float], other: Mapping[int, float], two: bool) -> bool:
    """Whether the replicates of a condition do not differ, on both sides."""
    sides = [one, other] if two else [one]
    return all(len(side) > 1 and len(set(side.values())) == 1 for side in sides)


def _are_truths(values: Sequence[float]) -> bool:
    return set(values) <= {0.0, 1.0}


def _values(
    column: Column, metrics: Metrics, replicates: int
) -> tuple[dict[int, float], list[str]]:
    """The numbers of a metric by replicate, and what is to be said of what is left out."""
    of_condition = metrics[column.condition]
    told = {n: number_of(cells, column.metric) for n, cells in of_condition.items()}
    there = {n: value for n, value in told.items() if value is not None}
    if not there:
        known = dict.fromkeys(
            name
            for cells in of_condition.values()
            for name in cells
            if value_of(cells, name) is not None
        )
        hint = f" {did_you_mean(column.metric, known)}" if known else ""
        runs = f"no run of {column.condition!r} that completed has a number in {column.metric!r}"
        return {}, [f"{runs}.{hint.removesuffix('.')}" if hint else runs]
    notes = []
    if len(of_condition) < replicates:
        missed = replicates - len(of_condition)
        notes.append(
            f"{missed} of {replicates} replicates of {column.condition!r} did not complete, or "
            "were deleted"
        )
    if len(there) < len(told):
        notes.append(f"{len(told) - len(there)} of {column.condition!r} lack {column.metric!r}")
    numbers = {n: value for n, value in there.items() if value == value}
    if len(numbers) < len(there):
        count = len(there) - len(numbers)
        notes.append(
            f"{count} of {column.condition!r} are left out: {column.metric!r} is not a number"
        )
    return numbers, notes


def _of_function(hypothesis: Hypothesis, name: str, metrics: Metrics) -> Verdict:
    """What a function says of a treatment."""
    verdict = Verdict(f"{hypothesis.name}: {name}", hypothesis, name)
    if hypothesis.is_missing:
        return replace(verdict, reason="its function is not here: give it to the Study")
    assert hypothesis.verifier is not None
    common = [n for n in metrics[BASELINE] if n in metrics[name]]
    baseline, treatment = (_columns(metrics[side], common) for side in (BASELINE, name))
    left_out = len(metrics[BASELINE]) + len(metrics[name]) - 2 * len(common)
    notes = [f"{left_out} replicates are left out, which one side lacks"] if left_out else []
    told: list[Any] = []
    for group in _groups(hypothesis.metrics, [m for m in baseline if m in treatment]):
        missing = [m for m in group if m not in baseline or m not in treatment]
        if missing:
            reason = _why_missing(missing[0], name, metrics, common)
            return replace(verdict, reason=reason)
        sides = ({m: side[m] for m in group} for side in (baseline, treatment))
        try:
            told.append(hypothesis.verifier(*sides))
        except Exception as problem:  # the user's
            return replace(verdict, reason=f"it raised {type(problem).__name__}: {problem}")
    if len(told) != 1:
        return replace(verdict, details=told, reason="several verdicts: see details")
    return _judged_by(told[0], replace(verdict, details=told[0]), notes)


def _why_missing(metric: str, name: str, metrics: Metrics, common: Sequence[int]) -> str:
    """Which runs lack a metric."""
    runs = [metrics[side][n] for side in (BASELINE, name) for n in common]
    lacking = sum(metric not in cells for cells in runs)
    if lacking < len(runs):
        return f"{lacking} of {len(runs)} runs lack the metric {metric!r}"
    known = dict.fromkeys(known for cells in runs for known in cells)
    return f"no run has the metric {metric!r}. {did_you_mean(metric, known)}"


def _judged_by(details: Any, verdict: Verdict, notes: Sequence[str]) -> Verdict:
    """The verdict that a function's dict tells."""
    reason = "; ".join(notes)
    if not isinstance(details, Mapping):
        return replace(verdict, reason=f"it returned {details!r:.80}, where a dict was expected")
    p = plain_number(details.get("p_value"))
    if p is None and isinstance(details.get("p_value"), (int, float)):
        p = details["p_value"]
    if isinstance(p, (int, float)) and not isinstance(p, bool):
        if 0 <= p <= 1:
            return replace(verdict, p=float(p), reason=reason)
        return replace(verdict, reason=f"its 'p_value' is {p!r}, where a probability was expected")
    says = details.get("significant", details.get("accepted"))
    says = plain_number(says) if plain_number(says) is not None else says
    if "p_value" in details or not isinstance(says, bool):
        told = "a number 'p_value', or True or False as 'significant'"
        return replace(verdict, reason=f"its dict must hold {told}, not {dict(details)!r:.120}")
    return replace(verdict, supported=says, reason=reason)


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


def _columns(
    replicates: Mapping[int, Mapping[str, Any]], numbers: Sequence[int]
) -> dict[str, list[Any]]:
    """The values of each metric that all of some replicates have, in their order."""
    some = [replicates[n] for n in numbers]
    names = dict.fromkeys(name for cells in some for name in cells)
    return {n: [cells[n] for cells in some] for n in names if all(n in cells for cells in some)}


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
        Whether small values of a metric are good, by its name; None where that does not tell, so
        that the hypothesis has to.
    """
    for hypothesis in hypotheses:
        if hypothesis.ranker is not None:
            of_it = [v for v in found if v.hypothesis == hypothesis and _can_be_ranked(v)]
            scores = {v.treatment: _score(hypothesis.ranker, v) for v in of_it}
            return _in_order(scores, smallest_first=True)
    text = next((h for h in hypotheses if h.left is not None), None)
    if text is not None and text.left is not None:
        metric = text.left.metric.removeprefix(RESULT)
        less = smaller_is_better(metric)
        if less is None:
            less = text.operator in ("<", "<=")
            if text.left.condition == BASELINE and isinstance(text.right, Column):
                less = not less and text.operator in (">", ">=")
    else:
        metrics = [name for of_one in means.values() for name in of_one if name != "duration"]
        if not metrics:
            return []
        metric = metrics[0]
        less = smaller_is_better(metric) or False
    scores = {name: of_one[metric] for name, of_one in means.items() if metric in of_one}
    return _in_order(scores, smallest_first=less)


def _can_be_ranked(verdict: Verdict) -> bool:
    return verdict.details is not None or verdict.hypothesis.verifier is None


def _score(ranker: Any, verdict: Verdict) -> float:
    """What a treatment is ranked by; NaN, which comes last, where the ranker gives None."""
    try:
        given = ranker(verdict if verdict.details is None else verdict.details)
        return math.nan if given is None else as_float(given)
    except Exception as problem:  # the user's
        raise InvalidStudy(
            f"The ranker of {verdict.name!r} can't rank {verdict.treatment!r}: it must give a "
            f"number, or None; {type(problem).__name__}: {problem}"
        ) from problem


def _in_order(scores: Mapping[str, float], smallest_first: bool) -> list[tuple[str, float]]:
    """The best first, and last what is no number."""
    sign = 1 if smallest_first else -1
    return sorted(scores.items(), key=lambda item: (math.isnan(item[1]), sign * item[1]))
