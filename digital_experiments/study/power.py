"""How many replicates a test needs to show what holds. Knows numbers only."""

from __future__ import annotations

import math

from digital_experiments.study.statistics import NEVER, scipy_stats, smallest_p

_MOST = 10_000_000  # replicates


def replicates_needed(
    effect: float,
    deviation: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    operator: str = "!=",
    margin: float = 0.0,
    paired: bool = True,
    test: str = "welch",
    number: float | None = None,
) -> int:
    """How many replicates of each condition a t test needs to show a hypothesis.

    Parameters
    ----------
    effect : float
        The true difference of the means, in the units of the metric.
    deviation : float
        The standard deviation: of the differences of pairs, or of each sample.
    power : float
        With which probability it is to be found.
    alpha : float
        The level of the test.
    operator : {">", ">=", "<", "<=", "!=", "=="}
        What is to be shown of the difference, against ``margin``; by ``==`` that it is within.
    margin : float
        The margin.
    paired : bool
        Whether the samples are pairs.
    test : str
        The test that will be made: there are at least so many that it can reach ``alpha``.
    number : float, optional
        What a rate is held against, if that is no other rate.

    Raises
    ------
    ValueError
        If with that effect there is nothing to show, or for a power or level that can't be.

    References
    ----------
    Cohen, "Statistical power analysis for the behavioral sciences" (1988), by the noncentral t
    distribution; for equivalence Phillips, J. Pharmacokinet. Biopharm. 18 (1990), of which an
    approximation that is never too large.

    Examples
    --------
    >>> replicates_needed(0.5, 1.0, paired=False)
    64
    """
    if not (math.isfinite(effect) and 0 < power < 1 and 0 < alpha < 1):
        raise ValueError(
            "effect must be a finite number, power and alpha between 0 and 1, not "
            f"{effect!r}, {power!r}, {alpha!r}."
        )
    holds = {
        "!": effect != 0,
        "=": abs(effect) < margin,
        ">": effect > margin,
        "<": effect < margin,
    }
    if not holds[operator[0]]:
        against = f" {margin:g}" if operator != "!=" else " 0"
        raise ValueError(
            f"A true difference of {effect:g} is not {operator}{against}, so no number of "
            "replicates would show it."
        )
    sides = {"!": "two-sided", "<": "less"}
    side = sides.get(operator[0], "greater")
    if smallest_p(test, paired, _MOST, _MOST, side, number) > alpha:
        raise ValueError(NEVER.format(alpha=alpha))
    high = 2
    while smallest_p(test, paired, high, high, side, number) > alpha:
        high += 1
    if not deviation > 0 and test == "welch":
        raise ValueError("There is no spread to go by, and a t test needs values that vary.")
    if not deviation > 0:
        return high

    def reached(count: int) -> float:
        return _power(effect, deviation, count, alpha, operator, margin, paired)

    low = high - 1
    while reached(high) < power:
        low, high = high, 2 * high
        if high > _MOST:
            raise ValueError(f"More than {_MOST:,} replicates would be needed to find {effect!r}.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def _power(
    effect: float,
    deviation: float,
    count: int,
    alpha: float,
    operator: str,
    margin: float,
    paired: bool,
) -> float:
    """The probability that a t test shows a hypothesis that holds."""
    stats = scipy_stats()
    freedom = count - 1 if paired else 2 * count - 2
    error = deviation / math.sqrt(count if paired else count / 2)
    bound = stats.t.isf(alpha, freedom)
    if operator == "==":
        low = stats.nct.sf(bound, freedom, (effect + margin) / error)
        high = stats.nct.sf(bound, freedom, (margin - effect) / error)
        return float(max(0.0, low + high - 1))
    if operator == "!=":
        bound, shift = stats.t.isf(alpha / 2, freedom), effect / error
        return float(stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift))
    return float(stats.nct.sf(bound, freedom, abs(effect - margin) / error))
