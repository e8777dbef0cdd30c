"""Is one sample larger than another? Tests, intervals and effect sizes. Knows numbers only.

The tests are SciPy's. What it lacks - Holm's correction, effect sizes - is here, with its source.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

NO_MARGINS = "Fisher's test has no margins"
NEVER = (
    f"the permutation test draws {RESAMPLES:,} times, so its p-value is never below "
    f"{1 / (RESAMPLES + 1):.2g}, and can't reach the level {{alpha:.2g}}: use test='welch'"
)

ASYMMETRIC = (
    "at least half of what is exchanged is equal, or all is 0 or 1: then exchanging says nothing "
    "of a margin or a number. test='fisher' holds a rate against a number, and test='welch' two "
    "rates against a margin, from about a hundred replicates on"
)

_MANY = 500  # replicates from which on more change no smallest p-value that matters
_BATCH = 4_000_000  # numbers in memory at once
_ROUNDING = 256 * np.finfo(float).eps
"""How far, of their size, numbers may be apart that are equal but for rounding."""

EXACT = 2.0**53
"""Whole numbers up to this have no rounding."""


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Have nobody warn of samples that hardly vary, or whose differences are beyond all floats.

    What comes of them is looked at here.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@_quiet()
def compared(
    one: Sequence[float],
    other: Sequence[float],
    *,
    alternative: str = "two-sided",
    shift: float = 0.0,
    margin: float | None = None,
    test: str = "permutation",
    paired: bool = True,
    fixed: bool = False,
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
        others are the paired t test, Wilcoxon's signed ranks, and McNemar's exact test; against a
        number ``fisher`` is the exact binomial test.
    paired : bool
        Whether the samples are pairs.
    fixed : bool
        Whether ``other`` is one number, that was not measured, as often as needed.
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
    reason = _obstacle(a, b, test, paired, sides, alpha, fixed) or _asymmetry(
        a, b, test, paired, sides, fixed
    )
    p = None
    if not reason:
        exact = fixed and test == "fisher"
        found = [
            _binomial(a, b, side) if exact else p_value(a, b, side, test, paired, against)
            for side, against in sides
        ]
        p = max(found)
        if math.isnan(p):
            p, reason = None, f"the {test} test gives no p-value for these values"
    low, high = difference_interval(a, b, paired, interval, alpha)
    counts = (len(a), len(b))
    (x, y), power = _scaled(a, b)
    middle = float(np.ldexp(_mean(x - y) if paired else _mean(x) - _mean(y), power))
    return Comparison(p, middle, low, high, hedges_g(a, b), cliffs_delta(a, b), counts, reason)


def _scaled(*samples: Sample) -> tuple[list[Sample], int]:
    """Samples about as large as 1, and the power of two that they were divided by.

    Squares of very large and of very small numbers are out of a float's reach.
    """
    largest = max((float(np.max(np.abs(s))) for s in samples if len(s)), default=0.0)
    power = math.frexp(largest)[1]
    return [np.ldexp(s, -power) for s in samples], power


def _errors(values: Sample | float) -> Any:
    """How far values may be off by rounding; whole numbers are not."""
    sizes = np.abs(values)
    whole = (np.rint(values) == values) & (sizes <= EXACT)
    return np.where(whole, 0.0, _ROUNDING * sizes)


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
    a: Sample,
    b: Sample,
    test: str,
    paired: bool,
    sides: Sequence[tuple[str, float]],
    alpha: float,
    fixed: bool,
) -> str:
    """Why a test can't be made, if it can't."""
    fewest = min(len(a), len(b))
    if fewest < 2:
        return f"it needs at least 2 replicates of each, not {fewest}"
    rates = a if fixed else np.concatenate([a, b])
    if test == "fisher" and not set(np.unique(rates)) <= {0.0, 1.0}:
        return "Fisher's test is for metrics that are 0 or 1, or False or True"
    if test == "fisher" and fixed and not 0 < b[0] < 1:
        return f"a rate is held against a number between 0 and 1, not {b[0]:g}"
    if test == "fisher" and any(against for _, against in sides):
        return NO_MARGINS
    if test in ("permutation", "mann-whitney") and _is_within_rounding(a, b):
        return (
            "the values differ by less than numbers of their size are rounded by: measure from a "
            "zero that is nearer"
        )
    if test == "welch" and not varies(a, b, paired):
        return "the values do not vary, which a t test needs; a permutation test does not"
    number = float(b[0]) if fixed else None
    least = max(smallest_p(test, paired, len(a), len(b), side, number) for side, _ in sides)
    if least > alpha:
        return (
            f"too few replicates: with {fewest} the smallest p-value of this test is {least:.2g}, "
            f"above alpha = {alpha:g}"
        )
    return ""


def _asymmetry(
    a: Sample, b: Sample, test: str, paired: bool, sides: Sequence[tuple[str, float]], fixed: bool
) -> str:
    """Why chances can't be told by exchanging values or signs, if they can't.

    Shifted by a margin, or held against a number, two samples are exchangeable, and differences
    symmetric, only if they differ by nothing but that shift: rates, and values that are mostly
    equal, do not.
    """
    shifted = any(against for _, against in sides)
    if test not in ("permutation", "mann-whitney") or not (shifted or fixed):
        return ""
    if set(np.unique(a)) <= {0.0, 1.0} and (fixed or set(np.unique(b)) <= {0.0, 1.0}):
        return "" if fixed and not shifted and set(np.unique(b)) == {0.5} else ASYMMETRIC
    if paired and not varies(a, b, paired) and not _mostly_equal(a):
        return ""  # they differ by a shift and nothing else
    exchanged = (a - b,) if paired else (a, b)
    return ASYMMETRIC if any(map(_mostly_equal, exchanged)) else ""


def _mostly_equal(values: Sample) -> bool:
    """Whether at least half of some values are one."""
    most = np.max(np.unique(values, return_counts=True)[1])
    return bool(most > 1 and 2 * most >= len(values))


def p_value(
    a: Sample, b: Sample, alternative: str, test: str, paired: bool, shift: float = 0.0
) -> float:
    """The p-value of a test of SciPy's; see :func:`compared`."""
    errors = _errors(a), _errors(b) + _errors(shift)
    scaled, power = _scaled(a, b + shift)
    off = [np.ldexp(of_one, -power) for of_one in errors]
    with _quiet():
        return float(_P_VALUES[test](*scaled, *off, alternative, paired))


def _permutation(
    a: Sample, b: Sample, off_a: Sample, off_b: Sample, alternative: Any, paired: bool
) -> Any:
    stats = scipy_stats()
    data = (a - b,) if paired else (a, b)
    pooled = np.concatenate(data)
    summing = len(pooled) * np.finfo(float).eps * np.sum(np.abs(pooled))
    tied = (np.sum(off_a) + np.sum(off_b) + summing) / min(len(a), len(b))
    observed = _statistic(data, -1)

    def statistic(*samples: Any, axis: int = -1) -> Any:
        found = _statistic(samples, axis) - observed
        return np.where(np.abs(found) <= tied, 0.0, found)  # arrangements that are tied

    return stats.permutation_test(
        data,
        statistic,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // (len(a) + len(b))),
        alternative=alternative,
        rng=np.random.default_rng(0),
    ).pvalue


def _statistic(samples: Sequence[Any], axis: int) -> Any:
    """The mean of one sample, or the difference of two means."""
    means = [np.mean(sample, axis) for sample in samples]
    return means[0] if len(means) == 1 else means[0] - means[1]


def _welch(
    a: Sample, b: Sample, off_a: Sample, off_b: Sample, alternative: Any, paired: bool
) -> Any:
    stats = scipy_stats()

    if paired:
        return stats.ttest_rel(a, b, alternative=alternative).pvalue
    return stats.ttest_ind(a, b, equal_var=False, alternative=alternative).pvalue


def _ranks(
    a: Sample, b: Sample, off_a: Sample, off_b: Sample, alternative: Any, paired: bool
) -> Any:
    stats = scipy_stats()

    if not paired:
        a, b = _with_ties(a, b, off_a, off_b)
        return stats.mannwhitneyu(a, b, alternative=alternative).pvalue
    differences = a - b
    sizes = _tied(np.abs(differences), off_a + off_b)
    if not np.any(sizes):
        return 1.0  # there are no ranks
    return stats.wilcoxon(np.sign(differences) * sizes, alternative=alternative).pvalue


def _with_ties(a: Sample, b: Sample, off_a: Sample, off_b: Sample) -> tuple[Sample, Sample]:
    """Two samples in which values are equal that differ by rounding alone."""
    pooled = _tied(np.concatenate([a, b]), np.concatenate([off_a, off_b]))
    return pooled[: len(a)], pooled[len(a) :]


def _tied(values: Sample, off: Sample) -> Sample:
    """Values, those that differ by rounding alone made equal; 0 where they may be."""
    order = np.argsort(values)
    ordered, errors = values[order], off[order]
    apart = np.diff(ordered) > errors[1:] + errors[:-1]
    group = np.concatenate([[0], np.cumsum(apart)])
    first = np.concatenate([[True], apart])
    made = np.empty_like(values)
    made[order] = ordered[first][group]
    return np.where(np.abs(values) <= off, 0.0, made)


def _binary(
    a: Sample, b: Sample, off_a: Sample, off_b: Sample, alternative: Any, paired: bool
) -> Any:
    a, b = np.sign(a), np.sign(b)  # they are 0 or 1, of whatever size
    stats = scipy_stats()

    if not paired:
        table = np.array([[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]])
        return stats.fisher_exact(table, alternative=alternative).pvalue
    more, less = int(np.sum(a > b)), int(np.sum(a < b))
    if more + less == 0:
        return 1.0
    return stats.binomtest(more, more + less, alternative=alternative).pvalue


def _binomial(a: Sample, b: Sample, alternative: Any) -> float:
    """Of a rate against a number."""
    made = scipy_stats().binomtest(int(a.sum()), len(a), float(b[0]), alternative=alternative)
    return float(made.pvalue)


_P_VALUES: dict[str, Callable[..., Any]] = {
    "permutation": _permutation,
    "welch": _welch,
    "mann-whitney": _ranks,
    "fisher": _binary,
}


def smallest_p(
    test: str,
    paired: bool,
    count: int,
    other: int,
    alternative: str,
    number: float | None = None,
) -> float:
    """The smallest p-value that a test can come to with so many replicates.

    ``number`` is what a rate is held against, if that is no other rate.

    >>> smallest_p("permutation", True, 4, 4, "greater")
    0.0625
    """
    if test == "welch":
        return 0.0
    if test == "fisher" and number is not None:
        rate = number if alternative == "greater" else 1 - number
        if alternative != "two-sided":
            return float(rate**count)
        return float(min(rate, 1 - rate) ** count * (2 if rate == 0.5 else 1))
    count, other = min(count, _MANY), min(other, _MANY)
    arrangements = 2**count if paired else math.comb(count + other, count)
    mirrored = paired or test != "fisher" or count == other  # as unlikely as its opposite
    sides = 2 if alternative == "two-sided" and mirrored else 1
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
    (x, y), power = _scaled(a, b)
    if not varies(a, b, paired):
        middle = _mean(x - y) if paired else _mean(x) - _mean(y)
        return (float(np.ldexp(middle, power)),) * 2
    if method == "t":
        with _quiet():
            result: Any = (
                stats.ttest_rel(x, y) if paired else stats.ttest_ind(x, y, equal_var=False)
            )
            bounds = result.confidence_interval(1 - alpha)
    elif paired:
        bounds = _bootstrap((x - y,), np.mean, alpha)
    else:
        bounds = _bootstrap((x, y), _mean_difference, alpha)
    low, high = np.ldexp(bounds, power)
    return float(low), float(high)


def mean_interval(values: Sequence[float], method: str, alpha: float) -> tuple[float, float]:
    """The confidence interval of a mean; NaN for fewer than two values."""
    stats = scipy_stats()

    a = np.asarray(values, float)
    if len(a) < 2:
        return math.nan, math.nan
    (x,), power = _scaled(a)
    if _is_flat(x, _errors(x)):
        return (float(np.ldexp(_mean(x), power)),) * 2
    if method == "t":
        found: Any = stats.ttest_1samp(x, 0.0)
        bounds = found.confidence_interval(1 - alpha)
    else:
        bounds = _bootstrap((x,), np.mean, alpha)
    low, high = np.ldexp(bounds, power)
    return float(low), float(high)


def _bootstrap(data: tuple[Sample, ...], statistic: Any, alpha: float) -> tuple[float, float]:
    stats = scipy_stats()

    found = stats.bootstrap(
        data,
        statistic,
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
    if not varies(a, b, paired=False):
        return None
    (a, b), _ = _scaled(a, b)
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
    if len(a) < 2 or _is_flat(a, _errors(a)):
        return None
    (a, held), _ = _scaled(a, np.array([number], float))
    deviation = float(np.std(a, ddof=1))
    if deviation == 0:
        return None
    return _unbiased(len(a) - 1) * (_mean(a) - float(held[0])) / deviation


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
    a, b = np.asarray(one, float), np.asarray(other, float)
    if not (len(a) and len(b)):
        return math.nan
    a, b = _with_ties(a, b, _errors(a), _errors(b))
    b = np.sort(b)
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


def varies(a: Sample, b: Sample, paired: bool) -> bool:
    """Whether there is any spread about the difference of two means."""
    if paired:
        return not _is_flat(a - b, _errors(a) + _errors(b))
    return not (_is_flat(a, _errors(a)) and _is_flat(b, _errors(b)))


def _is_within_rounding(a: Sample, b: Sample) -> bool:
    """Whether two samples are not equal, but can't be told apart."""
    pooled, errors = np.concatenate([a, b]), np.concatenate([_errors(a), _errors(b)])
    return bool(np.ptp(pooled) > 0) and _is_flat(pooled, errors)


def _is_flat(values: Sample, errors: Sample) -> bool:
    """Whether values differ by no more than by rounding."""
    return bool(np.ptp(values) <= 2 * np.max(errors))
