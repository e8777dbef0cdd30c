"""Hypotheses: texts that are parsed and never run, functions, and what is said of bad ones."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import scipy.stats

from digital_experiments import Hypothesis
from digital_experiments.errors import InvalidHypothesis
from digital_experiments.facts import told_direction
from digital_experiments.study.hypotheses import Column, as_hypothesis
from digital_experiments.study.power import replicates_needed
from digital_experiments.study.statistics import ASYMMETRIC, smallest_p
from digital_experiments.study.verdicts import Verdict, ranked, verdicts


@pytest.mark.parametrize(
    ("text", "left", "operator", "right", "margin"),
    [
        (
            "high.accuracy > baseline.accuracy",
            ("high", "accuracy"),
            ">",
            ("baseline", "accuracy"),
            0,
        ),
        ("new.loss <= old.loss + 0.05", ("new", "loss"), "<=", ("old", "loss"), 0.05),
        ("new.acc>=old.acc-2e-2", ("new", "acc"), ">=", ("old", "acc"), -0.02),
        ("new.acc >= old.acc - .02", ("new", "acc"), ">=", ("old", "acc"), -0.02),
        ("a.latency == b.latency +- 2", ("a", "latency"), "==", ("b", "latency"), 2),
        ("a.latency == b.latency ± 2.5", ("a", "latency"), "==", ("b", "latency"), 2.5),
        ("a.x == 3 +/- 0.5", ("a", "x"), "==", 3.0, 0.5),
        ("*.accuracy > baseline.accuracy", ("*", "accuracy"), ">", ("baseline", "accuracy"), 0),
        ("lr-0.x != b.x", ("lr-0", "x"), "!=", ("b", "x"), 0),
        ("low-rate.x != b.x", ("low-rate", "x"), "!=", ("b", "x"), 0),
        ("'lr 0.1'.\"val loss\" < 0.9", ("lr 0.1", "val loss"), "<", 0.9, 0),
        ("a.result.deep.f1 ≥ b.val/f1@5", ("a", "result.deep.f1"), ">=", ("b", "val/f1@5"), 0),
    ],
)
def test_a_text_is_read_as_it_is_written(
    text: str, left: Any, operator: str, right: Any, margin: Any
) -> None:
    found = Hypothesis(text)
    assert found.left == Column(*left)
    assert found.operator == operator
    assert found.right == (Column(*right) if isinstance(right, tuple) else right)
    assert found.margin == pytest.approx(margin)
    assert found.name == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "high.accuracy",
            r"Expected >, <, >=, <=, == or != here:\n  high.accuracy\n               \^",
        ),
        ("accuracy > b.x", r"Expected a condition and a metric here.*\n  accuracy > b.x\n  \^"),
        ("a.x > b.x + much", r"Expected a number here:\n  a.x > b.x \+ much\n              \^"),
        ("a.x > b.x and c.x > d.x", r"Expected nothing more here:\n  a.x > b.x and"),
        ("a.x == b.x", r"within a margin, and no other way"),
        ("a.x > b.x +- 2", r"within a margin, and no other way"),
        ("a.x == b.x +- 0", "must be above 0"),
        ("a.x != b.x + 1", "!= goes without a margin"),
        ("__import__('os').system('touch ran')", "Expected"),
        ("", "A hypothesis is a text"),
    ],
)
def test_a_text_that_can_not_be_read_is_told_at_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidHypothesis, match=says):
        Hypothesis(text)


def test_other_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match=r"No test 'welsh'.*Did you mean 'welch'"):
        Hypothesis("a.x > b.x", test="welsh")
    with pytest.raises(ValueError, match="alpha must be a number between 0 and 1"):
        Hypothesis("a.x > b.x", alpha=5.0)
    with pytest.raises(TypeError, match="A hypothesis is a text"):
        as_hypothesis(3)
    with pytest.raises(InvalidHypothesis, match="verifier must be a function"):
        Hypothesis(verifier=3)  # type: ignore[arg-type]
    asked = Hypothesis("a.x > b.x")
    with pytest.raises(InvalidHypothesis, match=r"names 'a'.*Did you mean 'aa'"):
        asked.check(["baseline", "aa", "b"])


def metrics(**conditions: list[float]) -> dict[str, dict[int, dict[str, Any]]]:
    return {name: {n: {"x": v} for n, v in enumerate(vs)} for name, vs in conditions.items()}


HIGH, LOW = [float(v) for v in range(10, 20)], [v + 0.25 for v in range(10)]


def only(text: str, found: dict[str, Any], **how: Any) -> Verdict:
    (verdict,) = verdicts([Hypothesis(text, **how)], found, 10, "holm")
    return verdict


def test_a_difference_is_found_and_its_absence_is_not() -> None:
    found = metrics(baseline=LOW, new=HIGH)
    assert only("new.x > baseline.x", found).supported is True
    assert only("new.x < baseline.x", found).supported is False
    assert only("new.x != baseline.x", found).supported is True
    assert only("new.x == baseline.x +- 10", found).supported is True  # all differ by 9.75
    found = metrics(baseline=LOW, new=[v + n / 100 for n, v in enumerate(HIGH)])
    assert only("baseline.x >= new.x - 11", found).supported is True
    assert only("baseline.x >= new.x - 5", found).supported is False
    assert only("new.x == baseline.x +- 10", found).supported is True
    assert only("new.x == baseline.x +- 9", found).supported is False
    assert only("new.x > 9", found).supported is True
    assert only("new.x > 14.5", found).supported is False


def test_each_treatment_is_held_against_the_baseline_and_all_are_corrected() -> None:
    found = metrics(baseline=LOW, new=HIGH, same=LOW[::-1], newer=HIGH)
    asked = [Hypothesis("*.x > baseline.x"), Hypothesis("new.x > same.x")]
    verdict = {v.name: v for v in verdicts(asked, found, 10, "holm")}
    assert list(verdict) == [
        "new.x > baseline.x",
        "same.x > baseline.x",
        "newer.x > baseline.x",
        "new.x > same.x",
    ]
    assert [bool(v) for v in verdict.values()] == [True, False, True, True]
    first = verdict["new.x > baseline.x"]
    assert first.p == 2.0**-10
    assert first.p_corrected == 4 * 2.0**-10
    plain = verdicts(asked, found, 10, None)
    assert all(v.p == v.p_corrected for v in plain)


def test_pairs_are_what_both_have() -> None:
    found = metrics(baseline=LOW, new=HIGH)
    del found["new"][3], found["baseline"][5]
    verdict = only("new.x > baseline.x", found)
    assert verdict.comparison is not None
    assert verdict.comparison.counts == (8, 8)
    assert verdict.p == 2.0**-8
    assert "1 of 10 replicates of 'new' did not complete" in verdict.reason
    assert "1 of 10 replicates of 'baseline' did not complete" in verdict.reason
    apart = only("new.x > baseline.x", found, paired=False)
    assert apart.comparison is not None
    assert apart.comparison.counts == (9, 9)


def test_what_is_infinite_can_not_be_compared() -> None:
    for wrong in (math.inf, -math.inf):
        verdict = only("new.x < baseline.x", metrics(baseline=HIGH, new=[wrong, *LOW[1:]]))
        assert (verdict.supported, verdict.p) == (None, None)
        assert verdict.reason.startswith("1 of 'new' are infinite in 'x'")


def test_what_is_no_number_is_left_out_and_told() -> None:
    wrong = math.nan
    verdict = only("new.x > baseline.x", metrics(baseline=LOW, new=[wrong, *HIGH[1:]]))
    assert verdict.supported is True
    assert verdict.comparison is not None
    assert verdict.comparison.counts == (9, 9)
    assert verdict.reason == "1 of 'new' are left out: 'x' is not a number"
    none = only("new.x > baseline.x", metrics(baseline=LOW, new=[wrong] * 10))
    assert (none.supported, none.p) == (None, None)
    assert "10 of 'new' are left out" in none.reason


def test_a_metric_that_is_missing_is_told() -> None:
    verdict = only("new.y > baseline.y", metrics(baseline=LOW, new=HIGH))
    assert verdict.supported is None
    assert "no run of 'new' that completed has a number in 'y'" in verdict.reason
    assert "Available: 'x'" in verdict.reason
    some = metrics(baseline=LOW, new=HIGH)
    del some["new"][0]["x"]
    assert "1 of 'new' lack 'x'" in only("new.x > baseline.x", some).reason
    texts = {"baseline": {0: {"x": "a"}}, "new": {0: {"x": "b"}}}
    assert only("new.x > baseline.x", texts).supported is None
    nothing: dict[str, Any] = {"baseline": {}, "new": {}}
    assert only("new.x > baseline.x", nothing).supported is None


def test_truth_values_are_numbers() -> None:
    found = metrics(baseline=[False] * 12, new=[True] * 12)
    verdict = only("new.x > baseline.x", found, test="fisher")
    assert verdict.supported is True
    assert verdict.comparison is not None
    assert verdict.comparison.difference == 1.0


def mean_is_higher(baseline: Any, treatment: Any) -> dict[str, Any]:
    """A verifier in crystallize's way."""
    gain = sum(treatment["x"]) - sum(baseline["x"])
    return {"p_value": 0.01 if gain > 0 else 0.9, "significant": gain > 0, "gain": gain}


def test_a_function_may_be_the_hypothesis() -> None:
    found = metrics(baseline=LOW, new=HIGH, less=[v - 1 for v in LOW])
    by_gain = Hypothesis(verifier=mean_is_higher, metrics="x", ranker=lambda told: -told["gain"])
    told = verdicts([by_gain], found, 10, "holm")
    assert [v.name for v in told] == ["mean_is_higher: new", "mean_is_higher: less"]
    assert [v.supported for v in told] == [True, False]
    assert told[0].p_corrected == 0.02
    assert [name for name, _ in ranked([by_gain], told, {}, bool)] == ["new", "less"]
    several = Hypothesis(verifier=mean_is_higher, metrics=[["x"], ["x"]])
    assert len(verdicts([several], found, 10, None)[0].details) == 2
    missing = Hypothesis(verifier=mean_is_higher, metrics=["y"])
    assert "no run has the metric 'y'" in verdicts([missing], found, 10, None)[0].reason


def test_a_function_that_fails_or_says_nothing_is_told() -> None:
    def broken(baseline: Any, treatment: Any) -> Any:
        raise ZeroDivisionError("no variance")

    def silent(baseline: Any, treatment: Any) -> Any:
        return {"gain": 3}

    found = metrics(baseline=LOW, new=HIGH)
    (verdict,) = verdicts([as_hypothesis(broken)], found, 10, None)
    assert (verdict.supported, verdict.reason) == (None, "it raised ZeroDivisionError: no variance")
    (verdict,) = verdicts([as_hypothesis(silent)], found, 10, None)
    assert (verdict.supported, verdict.text) == (None, "undecided")
    assert "its dict must hold a number 'p_value', or True or False as 'significant'" in (
        verdict.reason
    )


def test_ranking_goes_by_the_first_hypothesis_or_by_the_name_of_the_metric() -> None:
    means = {"baseline": {"loss": 3.0, "acc": 0.2}, "new": {"loss": 1.0, "acc": 0.1}}

    def small(name: str) -> bool | None:
        return {"loss": True, "acc": False}.get(name)

    assert ranked([], [], means, small)[0] == ("new", 1.0)
    higher = Hypothesis("new.acc > baseline.acc")
    assert ranked([higher], [], means, small) == [("baseline", 0.2), ("new", 0.1)]
    for text in ("new.acc < baseline.acc", "baseline.acc > *.acc", "new.acc > 0.1"):
        assert ranked([Hypothesis(text)], [], means, small)[0][0] == "baseline"
    unknown = {"baseline": {"x": 1.0}, "new": {"x": 2.0}}
    for text, best in (("new.x < baseline.x", "baseline"), ("new.x > baseline.x", "new")):
        assert ranked([Hypothesis(text)], [], unknown, small)[0][0] == best
    assert ranked([], [], {"baseline": {}}, small) == []


@pytest.mark.parametrize("test", ["permutation", "mann-whitney"])
@pytest.mark.parametrize("text", ["new.x == baseline.x +- 0.05", "new.x >= baseline.x - 0.05"])
@pytest.mark.parametrize("paired", [None, False])
def test_margins_of_rates_are_not_told_by_exchanging(
    test: str, text: str, paired: bool | None
) -> None:
    rates = [1.0] * 9 + [0.0]
    for new in (rates, [1.0] * 10):
        asked = Hypothesis(text, test=test, paired=paired)
        (verdict,) = verdicts([asked], metrics(baseline=rates, new=new), 10, None)
        assert (verdict.supported, verdict.p) == (None, None)
        assert verdict.reason == ASYMMETRIC
    many = metrics(baseline=[0.0, 1.0] * 200, new=[0.0, 1.0] * 200)
    (verdict,) = verdicts([Hypothesis(text, test="welch", paired=False)], many, 400, None)
    assert verdict.p is not None


def test_a_rate_is_held_against_no_number_but_a_half() -> None:
    always = metrics(baseline=[1.0] * 10, new=[1.0] * 10)
    assert only("new.x > 0.9", always).supported is None
    assert only("new.x > 0.5", always).supported is True


def test_whole_numbers_beyond_floats_are_compared_exactly() -> None:
    zero = 1_700_000_000_000_000_000
    differences = [153, 41, 91, 32, 190, 116]
    numbers = [7, 93, 15, 60, 2, 48]
    verdict = only(
        "new.x > baseline.x",
        metrics(
            baseline=[zero + n for n in numbers],
            new=[zero + n + d for n, d in zip(numbers, differences, strict=True)],
        ),
    )
    assert verdict.p == 1 / 64
    assert verdict.comparison is not None
    assert verdict.comparison.difference == pytest.approx(sum(differences) / 6)


def test_what_rounding_hides_is_told() -> None:
    clock = [1.7e9 + n * 1e-6 for n in range(6)]
    later = [value + 1e-5 for value in clock]
    verdict = only("new.x > baseline.x", metrics(baseline=clock, new=later))
    assert verdict.p is None
    assert "differ by less than numbers of their size are rounded by" in verdict.reason


def test_only_the_outer_quotes_of_a_name_are_left_out() -> None:
    asked = Hypothesis("""a."p'" > baseline.'q"' """)
    assert asked.left is not None
    assert (asked.left.metric, asked.right) == ("p'", Column("baseline", 'q"'))


def test_p_values_are_corrected_for_hypotheses_that_could_not_be_tested_too() -> None:
    told = metrics(baseline=LOW, a=HIGH, b=[1.0], c=[1.0])
    found = verdicts([Hypothesis("*.x > baseline.x")], told, 10, "holm")
    assert found[0].p is not None
    assert [v.p for v in found[1:]] == [None, None]
    assert found[0].p_corrected == pytest.approx(3 * found[0].p)


def test_the_smallest_p_value_of_fishers_test_on_both_sides() -> None:
    for count, other in ((3, 3), (3, 5), (4, 4)):
        table = [[count, 0], [0, other]]
        least = scipy.stats.fisher_exact(table).pvalue
        assert smallest_p("fisher", False, count, other, "two-sided") == pytest.approx(least)


def test_what_pairs_differ_by_decides_whether_they_can_be_exchanged() -> None:
    drawn = numpy.random.default_rng(0)
    noise = drawn.normal(100, 1, 12)
    lost = noise - (numpy.arange(12) == 3)
    rare = metrics(baseline=list(noise), new=list(lost))
    assert only("new.x >= baseline.x - 0.05", rare).reason == ASYMMETRIC
    flat = metrics(baseline=[100.0] * 12, new=list(noise))
    assert only("new.x <= baseline.x + 2", flat).supported is True
    tenths = (
        [round(v, 1) for v in drawn.normal(0, 0.1, 10)],
        [round(v, 1) for v in drawn.normal(0, 0.1, 10)],
    )
    rounded = metrics(baseline=tenths[0], new=tenths[1])
    assert only("new.x == baseline.x +- 0.5", rounded).p is not None


def test_a_rate_is_held_against_a_number_exactly() -> None:
    found = metrics(new=[1.0] * 19 + [0.0], baseline=[0.0])
    for text, side in (
        ("new.x > 0.8", "greater"),
        ("new.x < 0.99", "less"),
        ("new.x != 0.5", None),
    ):
        (verdict,) = verdicts([Hypothesis(text, test="fisher")], found, 20, None)
        number = float(text.split()[-1])
        known = scipy.stats.binomtest(19, 20, number, alternative=side or "two-sided")
        assert verdict.p == pytest.approx(known.pvalue, abs=1e-12)
    for number, side in ((0.9, "greater"), (0.9, "less"), (0.9, "two-sided"), (0.5, "two-sided")):
        ends = (scipy.stats.binomtest(k, 6, number, alternative=side).pvalue for k in (0, 6))
        assert smallest_p("fisher", True, 6, 6, side, number) == pytest.approx(min(ends))
    needed = replicates_needed(0.09, 0.1, operator=">", test="fisher", number=0.9)
    assert 0.9**needed <= 0.05 < 0.9 ** (needed - 1)
    (few,) = verdicts([Hypothesis("new.x > 0.9", test="fisher")], found, 20, None)
    assert few.p is None
    assert "the smallest p-value of this test is 0.12" in few.reason
    (wrong,) = verdicts([Hypothesis("new.x > 2", test="fisher")], found, 20, None)
    assert "between 0 and 1" in wrong.reason


def test_functions_that_could_not_say_anything_count_too() -> None:
    def tested(baseline: Any, treatment: Any) -> dict[str, float]:
        return {"p_value": 0.03}

    told = metrics(baseline=LOW, a=HIGH, b=[math.nan], c=[math.nan])
    told["b"], told["c"] = {}, {}
    found = verdicts([Hypothesis(verifier=tested, metrics="x")], told, 10, "holm")
    assert [v.p for v in found] == [0.03, None, None]
    assert found[0].p_corrected == pytest.approx(0.09)


def test_what_no_correction_lets_be_shown_is_undecided_by_either() -> None:
    told = metrics(
        baseline=LOW[:6],
        a=[v + n / 7 for n, v in enumerate(HIGH[:6])],
        **{f"t{n}": [1.0] for n in range(9)},
    )
    for how in ("holm", "benjamini-hochberg"):
        verdict = verdicts([Hypothesis("*.x > baseline.x")], told, 6, how)[0]
        assert verdict.supported is None
        assert "too few replicates for 10 hypotheses" in verdict.reason


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *(("val_loss", "min"), ("top1_error", "min"), ("latency_ms", "min"), ("valLoss", "min")),
        *(("f1_macro", "max"), ("accuracy", "max"), ("val/acc", "max"), ("R2", "max")),
        *(("neg_mean_squared_error", None), ("return_code", None), ("brier_score", None)),
        *(("bytes_per_second", None), ("survival_time", None), ("error_reduction", None)),
        *(("score_error", None), ("x", None)),
    ],
)
def test_a_name_tells_which_end_is_best_only_where_all_of_it_does(name: str, end: Any) -> None:
    assert told_direction(name) == end
