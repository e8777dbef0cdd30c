"""Statistics: what SciPy and statsmodels say when asked by hand, and true to their level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from digital_experiments.study import statistics
from digital_experiments.study.hypotheses import Hypothesis
from digital_experiments.study.power import replicates_needed
from digital_experiments.study.statistics import (
    cliffs_delta,
    compared,
    corrected,
    hedges_g,
    mean_interval,
    smallest_p,
)
from digital_experiments.study.verdicts import verdicts

SIDES = ("greater", "less", "two-sided")
RANDOM = np.random.default_rng(7)
ONE, OTHER = RANDOM.normal(0.4, 1.0, 24), RANDOM.normal(0.0, 1.3, 24)
FEW, FEWER = RANDOM.normal(0.4, 1.0, 8), RANDOM.normal(0.0, 1.3, 8)
YES, NO = (RANDOM.random(24) < 0.7).astype(float), (RANDOM.random(24) < 0.4).astype(float)


def difference(a: Any, b: Any, axis: int = -1) -> Any:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def permuted(a: Any, b: Any, side: Any, kind: Any) -> float:
    found = stats.permutation_test(
        (a, b),
        difference,
        permutation_type=kind,
        vectorized=True,
        alternative=side,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def mcnemar_of(a: Any, b: Any) -> float:
    table = [[np.sum((a == x) & (b == y)) for y in (1, 0)] for x in (1, 0)]
    return float(mcnemar(table, exact=True).pvalue)


BY_HAND: dict[tuple[str, bool], Callable[[Any, Any, Any], float]] = {
    ("permutation", True): lambda a, b, side: permuted(a, b, side, "samples"),
    ("permutation", False): lambda a, b, side: permuted(a, b, side, "independent"),
    ("welch", True): lambda a, b, side: stats.ttest_rel(a, b, alternative=side).pvalue,
    ("welch", False): lambda a, b, side: (
        stats.ttest_ind(a, b, equal_var=False, alternative=side).pvalue
    ),
    ("mann-whitney", True): lambda a, b, side: stats.wilcoxon(a, b, alternative=side).pvalue,
    ("mann-whitney", False): lambda a, b, side: stats.mannwhitneyu(a, b, alternative=side).pvalue,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("test", "paired"), BY_HAND)
@pytest.mark.parametrize(("a", "b"), [(ONE, OTHER), (FEW, FEWER)], ids=["drawn", "exact"])
def test_p_values_are_those_of_scipy(test: str, paired: bool, side: str, a: Any, b: Any) -> None:
    found = compared(a, b, alternative=side, test=test, paired=paired)
    assert found.p == pytest.approx(BY_HAND[test, paired](a, b, side), rel=0, abs=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_fishers_and_mcnemars_p_values_are_those_by_hand(side: Any) -> None:
    table = [[YES.sum(), 24 - YES.sum()], [NO.sum(), 24 - NO.sum()]]
    found = compared(YES, NO, alternative=side, test="fisher", paired=False)
    assert found.p == pytest.approx(stats.fisher_exact(table, side).pvalue, abs=1e-12)
    found = compared(YES, NO, test="fisher", paired=True)
    assert found.p == pytest.approx(mcnemar_of(YES, NO), abs=1e-12)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_intervals_are_those_of_scipy(paired: bool, alpha: float) -> None:
    by_t = compared(ONE, OTHER, paired=paired, alpha=alpha)
    made: Any = (
        stats.ttest_rel(ONE, OTHER) if paired else stats.ttest_ind(ONE, OTHER, equal_var=False)
    )
    by_hand = made.confidence_interval(1 - alpha)
    assert (by_t.low, by_t.high) == pytest.approx((by_hand.low, by_hand.high), rel=0, abs=1e-12)
    drawn = compared(ONE, OTHER, paired=paired, alpha=alpha, interval="bootstrap")
    found = stats.bootstrap(
        (ONE, OTHER),
        difference,
        paired=paired,
        vectorized=True,
        confidence_level=1 - alpha,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (drawn.low, drawn.high) == pytest.approx((found.low, found.high), rel=0, abs=1e-12)
    mean = stats.ttest_1samp(ONE, 0).confidence_interval(1 - alpha)
    assert mean_interval(ONE.tolist(), "t", alpha) == pytest.approx(
        (mean.low, mean.high), abs=1e-12
    )


def test_equivalence_is_two_tests_of_one_side() -> None:
    margin = 0.9
    found = compared(ONE, OTHER, margin=margin, test="welch")
    low = stats.ttest_rel(ONE, OTHER - margin, alternative="greater").pvalue
    high = stats.ttest_rel(ONE, OTHER + margin, alternative="less").pvalue
    assert found.p == pytest.approx(max(low, high), abs=1e-12)


def test_a_margin_shifts_what_the_difference_is_held_against() -> None:
    found = compared(ONE, OTHER, alternative="less", shift=0.5, test="welch")
    by_hand = stats.ttest_rel(ONE, OTHER + 0.5, alternative="less").pvalue
    assert found.p == pytest.approx(by_hand, abs=1e-12)


def test_effect_sizes_are_those_by_hand() -> None:
    pooled = math.sqrt((np.var(ONE, ddof=1) + np.var(OTHER, ddof=1)) / 2)
    correction = math.gamma(23) / (math.sqrt(23) * math.gamma(22.5))
    by_hand = correction * (ONE.mean() - OTHER.mean()) / pooled
    assert hedges_g(ONE, OTHER) == pytest.approx(by_hand, abs=1e-12)
    signs = np.sign(ONE[:, None] - OTHER[None, :])
    assert cliffs_delta(ONE, OTHER) == pytest.approx(signs.mean(), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrections_are_those_of_statsmodels(p_values: list[float]) -> None:
    for ours, theirs in (("holm", "holm"), ("benjamini-hochberg", "fdr_bh")):
        by_hand = multipletests(p_values, method=theirs)[1]
        assert corrected(p_values, ours) == pytest.approx(list(by_hand), rel=0, abs=1e-12)
    assert corrected(p_values, None) == p_values


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.5])
@pytest.mark.parametrize("side", ["two-sided", "greater"])
def test_the_replicates_that_are_needed_are_those_of_statsmodels(effect: float, side: str) -> None:
    theirs = "larger" if side == "greater" else side
    paired = TTestPower().solve_power(effect, power=0.8, alpha=0.05, alternative=theirs)
    apart = TTestIndPower().solve_power(effect, power=0.8, alpha=0.05, alternative=theirs)
    operator = ">" if side == "greater" else "!="
    assert replicates_needed(effect, 1.0, operator=operator) == math.ceil(paired)
    assert replicates_needed(effect, 1.0, operator=operator, paired=False) == math.ceil(apart)
    assert replicates_needed(2 * effect, 2.0, operator=operator) == math.ceil(paired)
    shifted = replicates_needed(effect - 0.1, 1.0, operator=">=", margin=-0.1)
    less = replicates_needed(-effect, 1.0, operator="<")
    assert shifted == less == replicates_needed(effect, 1.0, operator=">")


def test_as_many_replicates_as_are_needed_find_it_as_often_as_was_said() -> None:
    random = np.random.default_rng(15)
    for operator, effect, margin in ((">", 0.6, 0.0), ("==", 0.1, 0.8), ("<=", 0.1, 0.7)):
        count = replicates_needed(effect, 1.0, operator=operator, margin=margin)
        within = {"margin": margin} if operator == "==" else {"shift": margin}
        side = "less" if operator == "<=" else "greater"
        found = 0
        for _ in range(NULL):
            drawn = random.normal(effect, 1, count)
            p = compared(drawn, np.zeros(count), alternative=side, test="welch", **within).p
            found += p is not None and p <= LEVEL
        low, high = interval_of(0.8)
        assert low - 0.01 <= found / NULL <= high + 0.06, operator  # whole numbers are a bit more


def test_a_permutation_test_needs_more_where_it_could_not_reach_the_level() -> None:
    assert replicates_needed(9.0, 1.0, operator=">", test="permutation") == 5
    assert replicates_needed(9.0, 1.0, operator=">", test="permutation", alpha=0.001) == 10
    assert replicates_needed(9.0, 0.0, operator=">", test="permutation") == 5


def test_power_that_can_not_be_had_is_told() -> None:
    with pytest.raises(ValueError, match="A true difference of 0 is not != 0"):
        replicates_needed(0.0, 1.0)
    with pytest.raises(ValueError, match="A true difference of 3 is not == 1"):
        replicates_needed(3.0, 1.0, operator="==", margin=1.0)
    with pytest.raises(ValueError, match=r"A true difference of -0\.4 is not > 0"):
        replicates_needed(-0.4, 1.0, operator=">")
    with pytest.raises(ValueError, match="power and alpha between 0 and 1"):
        replicates_needed(0.5, 1.0, power=1.0)
    with pytest.raises(ValueError, match="More than 10,000,000 replicates"):
        replicates_needed(1e-9, 1.0)
    with pytest.raises(ValueError, match="no spread to go by"):
        replicates_needed(1.0, 0.0)
    assert replicates_needed(1.0, 0.0, operator=">", test="permutation") == 5


def test_what_can_not_be_tested_is_told() -> None:
    def reason(a: list[float], b: list[float], **how: Any) -> str:
        found = compared(a, b, **how)
        assert found.p is None
        return found.reason

    assert "at least 2 replicates of each, not 1" in reason([1.0], [2.0])
    assert "too few replicates: with 4 the smallest p-value of this test is 0.062" in reason(
        [1, 2, 3, 4], [0, 0, 0, 0], alternative="greater"
    )
    flat = [1.0] * 9
    assert "do not vary, which a t test needs" in reason(flat, [2.0] * 9, test="welch")
    assert "Fisher's test is for metrics that are 0 or 1" in reason(FEW, FEWER, test="fisher")
    assert "has no margins" in reason([1, 0] * 8, [0, 1] * 8, test="fisher", shift=0.1)


def test_flat_and_equal_values_have_a_verdict_where_one_is_possible() -> None:
    flat = [0.1 + 0.2] * 10
    same = compared(flat, flat, alternative="greater")
    assert (same.p, same.difference, same.hedges_g, same.low, same.high) == (
        1.0,
        0.0,
        None,
        0.0,
        0.0,
    )
    apart = compared([2.0] * 10, [1.0] * 10, alternative="greater")
    assert apart.p == 2.0**-10
    assert (apart.low, apart.high, apart.cliffs_delta) == (1.0, 1.0, 1.0)
    ranks = compared(flat, flat, test="mann-whitney")
    assert ranks.p == 1.0


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("test", ["permutation", "mann-whitney"])
@pytest.mark.parametrize("side", SIDES)
def test_the_smallest_p_value_is_what_the_clearest_difference_gives(
    test: str, paired: bool, side: str
) -> None:
    high, low = [10.0, 11.5, 13.1, 14.8, 16.7], [1.0, 2.1, 3.3, 4.6, 6.1]
    a, b = (low, high) if side == "less" else (high, low)
    least = smallest_p(test, paired, 5, 5, side)
    assert compared(a, b, alternative=side, test=test, paired=paired, alpha=0.9).p == least


NULL = 2000  # studies that are simulated
LEVEL = 0.05


def interval_of(level: float) -> tuple[float, float]:
    """Where the share of so many studies lies, 999 times out of 1,000."""
    low, high = stats.binom.interval(0.999, NULL, level)
    return low / NULL, high / NULL


def simulated(draw: Callable[[Any], tuple[Any, Any]], hypothesis: Hypothesis, seed: int) -> float:
    """How often a hypothesis is found supported in studies without any difference."""
    random, found = np.random.default_rng(seed), 0
    for _ in range(NULL):
        one, other = draw(random)
        sides = {"baseline": other, "new": one}
        metrics = {
            name: {n: {"x": float(v)} for n, v in enumerate(values)}
            for name, values in sides.items()
        }
        (verdict,) = verdicts([hypothesis], metrics, len(one), "holm")
        found += bool(verdict)
    return found / NULL


def normal(random: Any) -> tuple[Any, Any]:
    common = random.normal(0, 1, 20)
    return common + random.normal(0, 1, 20), common + random.normal(0, 1, 20)


def skewed(random: Any) -> tuple[Any, Any]:
    return random.exponential(1, 20), random.exponential(1, 20)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [">", "!="])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("test", ["permutation", "welch", "mann-whitney"])
def test_where_there_is_nothing_each_test_finds_something_as_often_as_it_says(
    test: str, paired: bool, operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 999)  # as true, and quicker
    text = f"new.x {operator} baseline.x"
    hypothesis = Hypothesis(text, test=test, paired=paired, alpha=LEVEL)
    draw = normal if paired else (normal if test == "welch" else skewed)
    if not paired and draw is normal:
        draw = lambda random: (random.normal(0, 1, 20), random.normal(0, 1, 20))  # noqa: E731 # short
    low, high = interval_of(LEVEL)
    assert low <= simulated(draw, hypothesis, 11) <= high


def binary(random: Any) -> tuple[Any, Any]:
    return random.random(20) < 0.5, random.random(20) < 0.5


def size_of_fisher(paired: bool) -> float:
    """How often the test says yes where nothing is, by all the tables that there can be."""
    total = 0.0
    if paired:
        for pairs in range(21):
            share = stats.binom.pmf(pairs, 20, 0.5)
            for more in range(pairs + 1):
                p = stats.binomtest(more, pairs, alternative="greater").pvalue if pairs else 1.0
                total += share * stats.binom.pmf(more, pairs, 0.5) * (p <= LEVEL)
        return total
    for a in range(21):
        for b in range(21):
            p = stats.fisher_exact([[a, 20 - a], [b, 20 - b]], alternative="greater").pvalue
            total += stats.binom.pmf(a, 20, 0.5) * stats.binom.pmf(b, 20, 0.5) * (p <= LEVEL)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_of_binary_metrics_too_never_more_often(paired: bool) -> None:
    size = size_of_fisher(paired)
    assert size <= LEVEL
    hypothesis = Hypothesis("new.x > baseline.x", test="fisher", paired=paired, alpha=LEVEL)
    low, high = interval_of(size)
    assert low <= simulated(binary, hypothesis, 12) <= high


@pytest.mark.slow
def test_equivalence_at_the_margin_is_found_as_often_as_it_says() -> None:
    hypothesis = Hypothesis("new.x == baseline.x +- 1", test="welch", alpha=LEVEL)
    low, high = interval_of(LEVEL)

    def at_the_margin(random: Any) -> tuple[Any, Any]:
        base = random.normal(0, 1, 20)
        return base + 1 + random.normal(0, 0.5, 20), base

    assert low <= simulated(at_the_margin, hypothesis, 13) <= high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interval", "paired", "count"), [("t", True, 8), ("t", False, 8), ("bootstrap", True, 80)]
)
def test_intervals_cover_at_their_level(
    interval: str, paired: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    random, covered = np.random.default_rng(14), 0
    for _ in range(NULL):
        one, other = random.normal(0.7, 1, count), random.normal(0, 2 if not paired else 1, count)
        found = compared(one, other, paired=paired, interval=interval, test="welch", alpha=LEVEL)
        covered += found.low <= 0.7 <= found.high
    low, high = interval_of(1 - LEVEL)
    assert low <= covered / NULL <= high
