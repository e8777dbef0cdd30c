"""Is one sample larger than another? Tests, intervals and effect sizes. Knows numbers only.

The tests are SciPy's. What it lacks - Holm's correction, effect sizes - is here, with its source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Sample = np.ndarray[Any, np.dtype[np.float64]]

TESTS = ("permutation", "welch", "mann-whitney", "fisher")
INTERVALS = ("t", "bootstrap")
CORRECTIONS = ("holm", "benjamini-hochberg")
RESAMPLES = 9999
"""How many permutations or bootstrap samples are drawn where not all are tried."""

NEEDS_SCIPY = "Studies need SciPy: pip install 'digital-experiments[scipy]'."

_BATCH = 4_000_000  # numbers in memory at once
_FLAT = 1e-12  # relative differences that are rounding
_DIGITS = 13  # of a number, of which rounding does not reach the last


@dataclass(frozen=True)
class Comparison:
    """What was found when two samples were compared.

    Attributes
    ----------
    p : float or None
        The probability of such a difference, or a larger one, if there were none; None where no
        test can be made.
    difference : float
        The mean of the first less the mean of the second.
    low, high : float
        The confidence interval of that difference, on both sides, at the level ``1 - alpha``.
    hedges_g : float or None
        The difference in standard deviations; None where nothing varies.
    cliffs_delta : float
        How much more often a value of the first is the larger one: from -1 to 1.
    counts : (int, int)
        How many values of each were compared.
    reason : str
        Why there is no ``p``, or what is to be known of it.
    """

    p: float | None
    difference: float
    low: float
    high: float
    hedges_g: float | None
    cliffs_delta: float
    counts: tuple[int, int]
    reason: str = ""


def compared(
    one: Sequence[float],
    other: Sequence[float],
    *,
    alternative: str = "two-sided",
    shift: float = 0.0,
    margin: float | None = None,
    test: str = "permutation",
    paired: bool = True,
    interval: str = "t",
    alpha: float = 0.05,
) -> Comparison:
    """Compare two samples of finite numbers.

    Parameters
    ----------
    one, other : sequence of float
        If ``paired``, of the same length, and what stands at one place belongs together.
    alternative : {"greater", "less", "two-sided"}
        What is to be shown of ``mean(one) - mean(other)``, against ``shift``.
    shift : float
        What the difference is held against: for non-inferiority the margin.
    margin : float, optional
        Equivalence: that the difference is within this on either side, by two one-sided tests;
        ``alternative`` and ``shift`` are not used.
    test : {"permutation", "welch", "mann-whitney", "fisher"}
        ``permutation``: of the means, exact where at most 9,999 arrangements exist. Paired, the
        others are the paired t test, Wilcoxon's signed ranks, and McNemar's exact test.
    paired : bool
        Whether the samples are pairs.
    interval : {"t", "bootstrap"}
        By Student's t (Welch's where not paired), or the bootstrap (BCa).
    alpha : float
        One less the level of the interval, and the level that the test should be able to reach.

    Returns
    -------
    Comparison

    References
    ----------
    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
    J. Pharmacokinet. Biopharm. 15 (1987). Efron, "Better bootstrap confidence intervals", JASA 82
    (1987). Welch, "The generalization of Student's problem", Biometrika 34 (1947).

    Examples
    --------
    >>> new, old = [5.1, 5.3, 5.2, 5.6, 5.4], [4.9, 5.0, 5.1, 5.2, 5.3]
    >>> found = compared(new, old, alternative="greater")
    >>> found.p, round(found.difference, 2)
    (0.03125, 0.22)
    """
    a, b = np.asarray(one, float), np.asarray(other, float)
    if paired and len(a) != len(b):
        raise ValueError(f"Pairs need samples of the same length, not {len(a)} and {len(b)}.")
    sides = [(alternative, shift)] if margin is None else [("greater", -margin), ("less", margin)]
    reason = _obstacle(a, b, test, paired, sides, alpha)
    p = None
    if not reason:
        found = [p_value(*_against(a, b, by, test), side, test, paired) for side, by in sides]
        p = max(found)
        if math.isnan(p):
            p, reason = None, f"the {test} test gives no p-value for these values"
    low, high = difference_interval(a, b, paired, interval, alpha)
    counts = (len(a), len(b))
    middle = _mean(a) - _mean(b)
    delta = cliffs_delta(*_against(a, b, 0.0, "mann-whitney"))
    return Comparison(p, middle, low, high, hedges_g(a, b), delta, counts, reason)


def scipy_stats() -> Any:
    """SciPy's statistics.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(NEEDS_SCIPY) from problem
    return stats


def _obstacle(
    a: Sample, b: Sample, test: str, paired: bool, sides: Sequence[tuple[str, float]], alpha: float
) -> str:
    """Why a test can't be made, if it can't."""
    fewest = min(len(a), len(b))
    if fewest < 2:
        return f"it needs at least 2 replicates of each, not {fewest}"
    if test == "fisher" and not set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}:
        return "Fisher's test is for metrics that are 0 or 1, or False or True"
    if test == "fisher" and any(against for _, against in sides):
        return "Fisher's test has no margins"
    if test == "welch" and not _varies(a, b, paired):
        return "the values do not vary, which a t test needs; a permutation test does not"
    least = max(smallest_p(test, paired, len(a), len(b), side) for side, _ in sides)
    if least > alpha:
        return (
            f"too few replicates: with {fewest} the smallest p-value of this test is {least:.2g}, "
            f"above alpha = {alpha:g}"
        )
    return ""


def _against(a: Sample, b: Sample, shift: float, test: str) -> tuple[Sample, Sample]:
    """Two samples, the second moved; where a test counts ties, rounding makes and breaks none."""
    if test not in ("permutation", "mann-whitney"):
        return a, b + shift
    moved = _rounded(b + shift, np.maximum(np.abs(b), abs(shift)))
    return _rounded(a, np.abs(a)), moved


def _rounded(values: Sample, sizes: Sample) -> Sample:
    """Values without the rounding errors of numbers of some sizes, as decimals."""
    return np.array(
        [
            round(float(value), _DIGITS - math.ceil(math.log10(size))) if size > 0 else value
            for value, size in zip(values, sizes, strict=True)
        ]
    )


def p_value(a: Sample, b: Sample, alternative: str, test: str, paired: bool) -> float:
    """The p-value of a test of SciPy's; see :func:`compared`."""
    return float(_P_VALUES[test](a, b, alternative, paired))


def _permutation(a: Sample, b: Sample, alternative: Any, paired: bool) -> Any:
    stats = scipy_stats()

    return stats.permutation_test(
        _whole_numbers(a, b),
        _mean_difference,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // (len(a) + len(b))),
        alternative=alternative,
        rng=np.random.default_rng(0),
    ).pvalue


def _whole_numbers(a: Sample, b: Sample) -> tuple[Sample, Sample]:
    """Samples in so small a unit that they are whole: sums in any order are equal then."""
    largest = max(np.max(np.abs(a)), np.max(np.abs(b)))
    if not 1e-250 < largest < 1e250:
        return a, b
    unit = 10.0 ** (math.ceil(math.log10(largest)) - _DIGITS)
    return np.rint(a / unit), np.rint(b / unit)


def _welch(a: Sample, b: Sample, alternative: Any, paired: bool) -> Any:
    stats = scipy_stats()

    if paired:
        return stats.ttest_rel(a, b, alternative=alternative).pvalue
    return stats.ttest_ind(a, b, equal_var=False, alternative=alternative).pvalue


def _ranks(a: Sample, b: Sample, alternative: Any, paired: bool) -> Any:
    stats = scipy_stats()

    if not paired:
        return stats.mannwhitneyu(a, b, alternative=alternative).pvalue
    differences = _rounded(a - b, np.maximum(np.abs(a), np.abs(b)))
    if not np.any(differences):
        return 1.0  # there are no ranks
    return stats.wilcoxon(differences, alternative=alternative).pvalue


def _binary(a: Sample, b: Sample, alternative: Any, paired: bool) -> Any:
    stats = scipy_stats()

    if not paired:
        table = np.array([[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]])
        return stats.fisher_exact(table, alternative=alternative).pvalue
    more, less = int(np.sum(a > b)), int(np.sum(a < b))
    if more + less == 0:
        return 1.0
    return stats.binomtest(more, more + less, alternative=alternative).pvalue


_P_VALUES: dict[str, Callable[[Sample, Sample, str, bool], Any]] = {
    "permutation": _permutation,
    "welch": _welch,
    "mann-whitney": _ranks,
    "fisher": _binary,
}


def smallest_p(test: str, paired: bool, count: int, other: int, alternative: str) -> float:
    """The smallest p-value that a test can come to with so many replicates.

    >>> smallest_p("permutation", True, 4, 4, "greater")
    0.0625
    """
    if test == "welch":
        return 0.0
    arrangements = 2.0**count if paired else float(math.comb(count + other, count))
    sides = 2 if alternative == "two-sided" and not (test == "fisher" and not paired) else 1
    drawn = RESAMPLES + 1 if test == "permutation" else math.inf
    return min(1.0, sides / min(arrangements, drawn))


def difference_interval(
    a: Sample, b: Sample, paired: bool, method: str, alpha: float
) -> tuple[float, float]:
    """The confidence interval of the difference of two means, on both sides.

    NaN where there are fewer than two values of either.
    """
    stats = scipy_stats()

    if min(len(a), len(b)) < 2:
        return math.nan, math.nan
    if not _varies(a, b, paired):
        return (_mean(a) - _mean(b),) * 2
    if method == "t":
        result: Any = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
        low, high = result.confidence_interval(1 - alpha)
        return float(low), float(high)
    return _bootstrap((a, b), _mean_difference, paired, alpha)


def mean_interval(values: Sequence[float], method: str, alpha: float) -> tuple[float, float]:
    """The confidence interval of a mean; NaN for fewer than two values."""
    stats = scipy_stats()

    a = np.asarray(values, float)
    if len(a) < 2:
        return math.nan, math.nan
    if _is_flat(a, a):
        return _mean(a), _mean(a)
    if method == "t":
        found: Any = stats.ttest_1samp(a, 0.0)
        low, high = found.confidence_interval(1 - alpha)
        return float(low), float(high)
    return _bootstrap((a,), np.mean, False, alpha)


def _bootstrap(
    data: tuple[Sample, ...], statistic: Any, paired: bool, alpha: float
) -> tuple[float, float]:
    stats = scipy_stats()

    found = stats.bootstrap(
        data,
        statistic,
        paired=paired,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // sum(map(len, data))),
        confidence_level=1 - alpha,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def hedges_g(one: Sequence[float] | Sample, other: Sequence[float] | Sample) -> float | None:
    """The difference of two means in pooled standard deviations, corrected for small samples.

    None where nothing varies, or there are fewer than two values of either.

    References
    ----------
    Hedges, "Distribution theory for Glass's estimator of effect size", J. Educ. Stat. 6 (1981);
    with the exact correction by the gamma function.

    Examples
    --------
    >>> round(hedges_g([2, 4, 6], [1, 3, 5]), 4)
    0.3989
    """
    a, b = np.asarray(one, float), np.asarray(other, float)
    freedom = len(a) + len(b) - 2
    if min(len(a), len(b)) < 2:
        return None
    if not _varies(a, b, paired=False):
        return None
    squares = (len(a) - 1) * np.var(a, ddof=1) + (len(b) - 1) * np.var(b, ddof=1)
    deviation = math.sqrt(squares / freedom)
    return None if deviation == 0 else _unbiased(freedom) * (_mean(a) - _mean(b)) / deviation


def one_sample_g(values: Sequence[float] | Sample, number: float) -> float | None:
    """How far a mean is from a number, in standard deviations, corrected for small samples.

    None where nothing varies, or there are fewer than two values.

    Examples
    --------
    >>> round(one_sample_g([2, 4, 6], 3), 4)
    0.2821
    """
    a = np.asarray(values, float)
    if len(a) < 2 or _is_flat(a, a):
        return None
    deviation = float(np.std(a, ddof=1))
    return None if deviation == 0 else _unbiased(len(a) - 1) * (_mean(a) - number) / deviation


def _unbiased(freedom: int) -> float:
    """Hedges's correction of an effect size."""
    log = math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2) if freedom > 1 else -math.inf
    return math.exp(log) / math.sqrt(freedom / 2)


def cliffs_delta(one: Sequence[float] | Sample, other: Sequence[float] | Sample) -> float:
    """How much more often a value of the first is above one of the second than below it.

    References
    ----------
    Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions", Psychol. Bull.
    114 (1993).

    Examples
    --------
    >>> cliffs_delta([2, 3], [1, 2])
    0.75
    """
    a, b = np.asarray(one, float), np.sort(np.asarray(other, float))
    if not (len(a) and len(b)):
        return math.nan
    above = np.searchsorted(b, a, "left").sum()
    below = (len(b) - np.searchsorted(b, a, "right")).sum()
    return float((above - below) / (len(a) * len(b)))


def corrected(p_values: Sequence[float], method: str | None) -> list[float]:
    """P-values made larger, so that many hypotheses do not find something by chance.

    Parameters
    ----------
    p_values : sequence of float
        One for each hypothesis.
    method : {"holm", "benjamini-hochberg"} or None
        ``holm`` bounds the chance of a single false finding; ``benjamini-hochberg`` the share of
        false ones among the findings; None leaves them as they are.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995).

    Examples
    --------
    >>> corrected([0.01, 0.04, 0.03], "holm")
    [0.03, 0.06, 0.06]
    """
    if method is None or len(p_values) < 2:
        return list(p_values)
    if method == "benjamini-hochberg":
        stats = scipy_stats()

        return [float(p) for p in stats.false_discovery_control(p_values, method="bh")]
    order = np.argsort(p_values)
    steps = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    raised = np.empty(len(p_values))
    raised[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in raised]


def _mean_difference(a: Any, b: Any, axis: int = -1) -> Any:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def _mean(values: Sample) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _varies(a: Sample, b: Sample, paired: bool) -> bool:
    """Whether there is any spread about the difference of two means."""
    if paired:
        return not _is_flat(a - b, np.concatenate([a, b]))
    return not (_is_flat(a, a) and _is_flat(b, b))


def _is_flat(values: Sample, scale: Sample) -> bool:
    """Whether values differ by no more than rounding of numbers of some size."""
    return bool(np.ptp(values) <= _FLAT * np.max(np.abs(scale)))
