"""Corners of studies that a pair of fresh eyes found wrong once."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import pickle
import random
from collections import Counter, OrderedDict, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import (
    Callback,
    Experiment,
    Hypothesis,
    Outcome,
    Retention,
    Study,
    Treatment,
    current_dir,
    experiment,
    step,
)
from digital_experiments.callbacks import Seed
from digital_experiments.controllers import (
    Controller,
    GridSearch,
    LatinHypercube,
    OptunaSearch,
    RandomSearch,
    Sobol,
)
from digital_experiments.errors import (
    DamagedRecord,
    DigitalExperimentsWarning,
    InvalidHypothesis,
    InvalidStudy,
    RunsFailedWarning,
)
from digital_experiments.study.statistics import compared
from digital_experiments.study.verdicts import ranked, verdicts


@pytest.fixture
def draw() -> Experiment[..., Any]:
    @experiment(root="draw")
    def draw(k: float = 0.0, opts: Any = None) -> dict[str, float]:
        (current_dir() / "file").write_bytes(bytes(3000))
        return {"x": random.gauss(k, 1.0), "y": random.random()}

    return draw


def test_the_files_of_a_version_that_was_extended_stay(draw: Experiment[..., Any]) -> None:
    study = Study(draw, replicates=2, seed=1, retention=Retention(keep=1))
    study.run()
    for count in (4, 5):
        study.run(replicates=count, strategy="resume")
    assert len(study.artefacts("file", require_complete=True)) == 5
    study.with_(replicates=2).run()
    assert len(study.artefacts("file")) == 2
    with pytest.raises(FileNotFoundError):
        study.artefacts("file", version=1)


def test_an_experiments_retention_goes_by_versions_of_its_studies() -> None:
    @experiment(root="kept", retention=Retention(keep=1))
    def save(k: int = 0, seed: int = 0) -> None:
        (current_dir() / "file").write_text("kept")
        if Path("fail").exists():
            raise OSError("no")

    study = Study(save, treatments={"a": {"k": 1}}, replicates=3, seed=1)
    study.run()
    save()
    save()
    assert len(study.artefacts("file")) == len(study.artefacts("file", "a")) == 3
    Path("fail").touch()
    study.run()
    assert len(study.artefacts("file", version=1)) == 3  # a version that failed takes no place


def test_what_was_explored_is_what_is_confirmed(draw: Experiment[..., Any]) -> None:
    explored = Study(draw, treatments={"a": {"k": 0.5}}, replicates=3, seed=1).run()
    changed = explored.study.treat("a", k=50.0).with_(baseline={"k": -9.0})
    confirmed = changed.load().confirm("a.x > baseline.x", 6)
    assert confirmed.plan.conditions["a"]["k"] == 0.5
    assert confirmed.plan.conditions["baseline"]["k"] == 0.0
    given = explored.study.with_(treatments={}).run({"b": {"k": 2.0}})
    assert given.study.with_(treatments={}).load().confirm("b.x > baseline.x", 6).is_complete
    odd = Study(draw, treatments={"c": {"opts": object()}}, replicates=2, seed=3).run()
    other = odd.study.treat("c", opts=[object()]).load()
    with pytest.raises(InvalidStudy, match="'c' is not now what was explored"):
        other.confirm("c.x > baseline.x", 6)


def test_a_confirmation_is_not_tried_until_it_succeeds(draw: Experiment[..., Any]) -> None:
    explored = Study(draw, treatments={"a": {"k": 0.5}}, replicates=3, seed=1).run()
    first = explored.confirm("a.x > baseline.x", 6, seed=7)
    assert first.integrity.reasons == []
    for seed in (7, 7 + 31337, 1):
        with pytest.raises(InvalidStudy, match="seeds that earlier runs have used"):
            explored.confirm("a.x < baseline.x", 6, seed=seed)
    again = explored.confirm("a.x > baseline.x", 6)
    assert again.integrity.reasons == ["a confirmation of the same was begun once before"]
    with pytest.raises(InvalidStudy, match="seeds that earlier runs"):
        first.confirm("a.x > baseline.x", 6, seed=1, name="third")
    with pytest.raises(InvalidStudy, match="needs another name"):
        explored.confirm("a.x > baseline.x", 6, name="draw")
    with pytest.raises(InvalidStudy, match="confirm needs a hypothesis"):
        explored.confirm([], 6)


def test_what_is_confirmed_outlives_what_was_explored(draw: Experiment[..., Any]) -> None:
    confirmed = (
        Study(draw, treatments={"a": {"k": 3.0}}, replicates=2).run().confirm("a.x > baseline.x", 6)
    )
    for path in Path("draw/studies/draw").iterdir():
        path.unlink()
    loaded = confirmed.study.load()
    assert loaded.integrity.reasons == ["1 plans that it must not share seeds with are gone"]
    assert "supported" in repr(loaded)


def small(baseline: Any, treatment: Any) -> dict[str, Any]:
    return {"p_value": 0.001}


def test_a_function_is_judged_by_its_code_and_missed_if_it_is_not_there(
    draw: Experiment[..., Any],
) -> None:
    def first(baseline: Any, treatment: Any) -> dict[str, Any]:
        return {"p_value": 0.9}

    confirmed = Study(draw, treatments={"a": {"k": 3.0}}, replicates=2).run().confirm(first, 6)
    swapped = lambda baseline, treatment: {"p_value": 0.001}  # noqa: E731 # it stands in for another
    swapped.__name__ = swapped.__qualname__ = first.__qualname__
    later = confirmed.study.load(hypotheses=[swapped])
    assert later.verdicts[0].integrity == "not pre-registered"
    study = Study(draw, treatments={"a": {"k": 3.0}}, replicates=8, seed=1)
    whole = study.with_(hypotheses=["a.x > baseline.x", small, first]).run()
    alone = study.load()
    assert [v.text for v in alone.verdicts] == ["supported", "undecided", "undecided"]
    assert "its function is not here" in alone.verdicts[1].reason
    p, all_p = alone.verdicts[0], whole.verdicts[0]
    assert p.p_corrected is not None
    assert all_p.p_corrected is not None
    assert p.p_corrected >= all_p.p_corrected > (p.p or 0)


def test_a_part_of_the_hypotheses_is_corrected_as_the_whole(draw: Experiment[..., Any]) -> None:
    asked = ["a.x > baseline.x", "a.y > baseline.y", "a.y < baseline.y"]
    study = Study(draw, None, {"a": {"k": 3.0}}, 8, 1, asked)
    whole = study.run().verdicts[0]
    (part,) = study.load(hypotheses="a.x > baseline.x").verdicts
    assert (part.p_corrected, part.integrity) == (whole.p_corrected, "valid")
    more = study.load(hypotheses=["a.x > baseline.x", "a.x > baseline.y"]).verdicts
    assert more[0].p_corrected == whole.p_corrected
    assert [v.integrity for v in more] == ["valid", "not pre-registered"]
    with pytest.raises(InvalidHypothesis, match="names 'z'"):
        study.load(hypotheses="z.x > baseline.x")


def test_a_treatment_that_changes_the_config_changes_no_other(draw: Experiment[..., Any]) -> None:
    def hotter(config: dict[str, Any]) -> None:
        config["opts"]["lr"] = 100.0

    study = Study(draw, {"opts": {"lr": 1.0}}, {"hotter": hotter})
    assert study.conditions["baseline"]["opts"] == {"lr": 1.0}
    assert study.conditions["hotter"]["opts"] == {"lr": 100.0}


def test_power_goes_by_the_hypothesis_that_is_asked_about(draw: Experiment[..., Any]) -> None:
    study = Study(draw, None, {"a": {"k": 0.1}}, 10, 1, correction=None)

    def needed(text: str, effect: float, **how: Any) -> int:
        asked = study.expect(Hypothesis(text, paired=False, **how))
        return asked.run().power(effect)

    more = needed("a.x > baseline.x", 0.5)
    assert needed("a.x >= baseline.x - 0.5", 0.0) == more
    assert needed("a.x < baseline.x", 0.5) == more
    assert needed("a.x <= baseline.x + 0.5", 0.0) == more
    assert needed("a.x != baseline.x", 0.5) > more
    assert needed("a.x == baseline.x +- 1", 0.0) > 10
    for text, effect in (("a.x == baseline.x +- 1", 3.0), ("a.x > baseline.x", -0.4)):
        with pytest.raises(ValueError, match="no number of replicates would show it"):
            needed(text, effect)
    one = study.replicate(1).expect("a.x > baseline.x").run()
    with pytest.raises(ValueError, match="no spread to go by: it needs two replicates"):
        one.power(1.0)
    two = study.expect("a.x > baseline.x").expect("a.y > baseline.y")
    assert two.with_(correction="holm").run().power(0.5) >= two.run().power(0.5)


def test_a_named_hypothesis_tells_its_treatments_apart(draw: Experiment[..., Any]) -> None:
    @experiment(root="wide")
    def wide(spread: float = 1.0) -> dict[str, float]:
        return {"x": random.gauss(0, spread)}

    every = Hypothesis("*.x > baseline.x", paired=False, name="all", test="welch")
    treatments = {"a": {"spread": 1.0}, "b": {"spread": 10.0}}
    outcome = Study(wide, None, treatments, 20, 1, every).run()
    assert [v.name for v in outcome.verdicts] == ["all: a", "all: b"]
    assert outcome.power(1.0, hypothesis=1) > 5 * outcome.power(1.0, hypothesis=0)


def test_functions_are_given_what_both_sides_have() -> None:
    seen: list[Any] = []

    def look(baseline: Any, treatment: Any) -> dict[str, Any]:
        seen.append((baseline["x"], treatment["x"]))
        return {"significant": True}

    found: dict[str, Any] = {
        "baseline": {n: {"x": 10.0 * n} for n in range(8) if n != 2},
        "a": {n: {"x": 10.0 * n + 1} for n in range(8) if n != 5},
    }
    (verdict,) = verdicts([Hypothesis(verifier=look)], found, 8, None)
    assert seen == [([0, 10, 30, 40, 60, 70], [1, 11, 31, 41, 61, 71])]
    assert verdict.reason == "2 replicates are left out, which one side lacks"


@pytest.mark.parametrize(
    ("told", "supported", "says"),
    [
        ({"p_value": np.float32(0.01)}, True, ""),
        ({"significant": np.True_}, True, ""),
        ({"p_value": math.nan}, None, "its 'p_value' is nan"),
        ({"p_value": 2.0}, None, "its 'p_value' is 2.0"),
        ({"p_value": "0.01"}, None, "its dict must hold"),
        ({"p_value": True}, None, "its dict must hold"),
        ({"significant": "no"}, None, "its dict must hold"),
        (None, None, "it returned None, where a dict was expected"),
    ],
)
def test_what_a_function_returns_is_taken_for_what_it_is(
    told: Any, supported: bool | None, says: str
) -> None:
    found: dict[str, Any] = {side: {0: {"x": 1.0}, 1: {"x": 2.0}} for side in ("baseline", "a")}
    (verdict,) = verdicts([Hypothesis(verifier=lambda b, t: told)], found, 2, None)
    assert verdict.supported is supported
    assert says in verdict.reason


def test_replicates_that_are_all_equal_prove_nothing() -> None:
    @step(cache=True)
    def slow() -> float:
        return random.random()

    @experiment(root="flat")
    def flat(k: float = 0.0) -> dict[str, float]:
        return {"x": 0.8 + k, "cached": slow() + k, "solved": float(k > 0)}

    asked = ["a.x > baseline.x", "a.cached > baseline.cached", "a.solved > baseline.solved"]
    outcome = Study(flat, None, {"a": {"k": 0.1}}, 8, 1, asked).run()
    assert [v.supported for v in outcome.verdicts] == [None, None, True]
    assert all("does it use its seed?" in v.reason for v in outcome.verdicts)


def test_too_few_replicates_for_many_hypotheses_are_told(draw: Experiment[..., Any]) -> None:
    treatments = {f"t{n}": {"k": 50.0 + n} for n in range(10)}
    study = Study(draw, None, treatments, 6, 1, "*.x > baseline.x")
    with pytest.warns(DigitalExperimentsWarning, match="among 10 is 0.16, above alpha"):
        outcome = study.run()
    assert [v.supported for v in outcome.verdicts] == [None] * 10
    assert "too few replicates for 10 hypotheses" in outcome.verdicts[0].reason
    assert all(study.with_(correction=None).run().verdicts)


def test_searches_leave_out_what_is_no_number() -> None:
    @experiment(root="nan")
    def some(x: int = 0, seed: int = 0) -> dict[str, float]:
        return {"acc": math.nan if x < 2 else float(x)}

    study = Study(some, seed=1)
    with pytest.warns(RunsFailedWarning, match="1 of 3 trials gave no finite number in 'acc'"):
        best = study.optimise(GridSearch(x=[1, 2, 3]), 3, 2, objective="acc")
    assert (best.config({}), best.score) == ({"x": 3}, 3.0)
    other = study.optimise(GridSearch(x=[2, 4]), 2, 2, objective="acc")
    assert other.config({}) == {"x": 4}  # another search, of its own trials
    for _ in range(3):
        study.optimise(RandomSearch(x=[2, 3], seed=None), 6, 1, objective="acc")
    assert [v.replicates for v in study.versions()] == [2, 2, 1]
    assert [v.complete for v in study.versions()] == [True] * 3
    assert study.progress(3) == (6, 6)
    with pytest.warns(RunsFailedWarning, match="of the objective: no"):
        assert study.optimise(GridSearch(x=[2, 3]), 2, 1, objective=picky).config({}) == {"x": 2}
    with pytest.raises(InvalidStudy, match="can't vary 'seed'"):
        study.optimise(GridSearch(seed=[1]), 1, objective="acc")
    with pytest.raises(TypeError, match="A search is not run by 'foo'"):
        study.optimise(GridSearch(x=[1]), 1, objective="acc", foo=3)
    with pytest.raises(InvalidStudy, match="executor: "):
        study.optimise(GridSearch(x=[1, 2, 3]), 3, 2, objective="acc", executor="nope")


def picky(runs: Any) -> float:
    if runs[0].config["x"] == 3:
        raise ValueError("no")
    return float(runs[0].config["x"])


def test_infinite_numbers_do_not_end_a_search() -> None:
    @experiment(root="infinite")
    def some(x: int = 0, seed: int = 0) -> dict[str, float]:
        return {"acc": float(x), "odd": math.inf if seed % 2 else -math.inf}

    best = Study(some, seed=1).optimise(GridSearch(x=[1, 2]), 2, 2, objective="acc")
    assert best.config({}) == {"x": 2}


def test_the_newest_version_is_no_search(draw: Experiment[..., Any]) -> None:
    study = Study(draw, seed=1, replicates=2)
    study.run()
    best = study.optimise(GridSearch(k=[0.0, 5.0]), 2, objective="x")
    assert study.load().plan.kind == "study"
    assert len(study.artefacts("file")) == 2
    assert list(study.treat(best).treatments) == ["best"]
    assert study.treat("mine", best).conditions["mine"]["k"] == 5.0


def test_the_best_is_what_the_hypothesis_wants_or_the_metrics_name() -> None:
    means = {"baseline": {"latency": 3.0}, "a": {"latency": 1.0}, "b": {"latency": math.nan}}

    def small(name: str) -> bool:
        return name == "latency"

    def best(text: str) -> str:
        return ranked([Hypothesis(text)], [], means, small)[0][0]

    assert best("a.latency == baseline.latency +- 2") == "a"
    assert best("a.latency != baseline.latency") == "a"
    assert best("baseline.latency > a.latency") == "a"
    assert best("a.latency > baseline.latency") == "a"
    assert ranked([], [], means, small)[-1][0] == "b"


def test_metrics_may_be_called_anything(draw: Experiment[..., Any]) -> None:
    @experiment(root="names")
    def names(seed: int = 0) -> dict[str, Any]:
        huge = {"huge": 10**400, "large": 1e308 * (-1) ** seed, "tiny": 1e-300 * seed}
        return {"treatment": 5, "seed": 3, "status": 7, "id": 1, "a\nb": 1.5, **huge}

    outcome = Study(names, replicates=3, seed=1).run()
    frame = outcome.to_dataframe()
    assert frame["treatment"].tolist() == ["baseline"] * 3
    assert frame["seed"].tolist() == [1, 31338, 62675]
    assert frame["result.seed"].tolist() == [3, 3, 3]
    assert json.loads(outcome.to_json("out.json").read_text())[0]["result.id"] == 1
    assert "baseline" in repr(outcome)
    assert "<svg" in outcome._repr_html_()
    outcome.report("page.html")
    with pytest.raises(ValueError, match="Parquet has no numbers of that size"):
        outcome.to_parquet("out.parquet")


def test_an_effect_against_a_number_is_in_its_own_deviations(draw: Experiment[..., Any]) -> None:
    outcome = Study(draw, replicates=200, seed=1).expect("baseline.x > -0.5").run()
    values = outcome.metrics()["x"]
    comparison = outcome.verdicts[0].comparison
    assert comparison is not None
    assert comparison.hedges_g == pytest.approx((values.mean() + 0.5) / values.std(), rel=0.01)


def test_studies_of_two_experiments_in_one_store_are_two() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    first = Study(experiment(root="both")(one), replicates=2, name="S")
    second = Study(experiment(root="both")(two), replicates=2, name="S")
    first.run()
    second.run()
    assert (len(first.versions()), len(second.versions())) == (1, 1)
    assert first.load().metrics()["result"].tolist() == [1, 1]


def test_a_confirmation_whose_runs_failed_was_looked_at() -> None:
    @experiment(root="flaky")
    def flaky(seed: int = 0) -> int:
        if seed % 3 == 0 and not Path("fixed").exists():
            raise OSError("not yet")
        return seed

    explored = Study(flaky, replicates=2, seed=1).run()
    confirmed = explored.confirm("baseline.result > 0", 12, seed=2)
    assert confirmed.verdicts[0].integrity == "incomplete"
    Path("fixed").touch()
    whole = explored.confirm("baseline.result > 0", 12, strategy="resume")
    assert whole.integrity.status == "valid"
    assert "looked at after 8 of 12 runs" in whole.integrity.reasons[0]


def test_coroutines_are_run_where_no_loop_runs_or_awaited() -> None:
    @experiment(root="waits")
    async def wait(k: float = 0.0, seed: int = 0) -> float:
        await asyncio.sleep(0)
        return k + random.Random(seed).random()

    study = Study(wait, None, {"a": {"k": 2.0}}, 6, 1)
    explored = study.run()

    async def main() -> Outcome:
        for call in (study.apply, study.debug):
            with pytest.raises(RuntimeError, match="An event loop runs here"):
                call("a")
        with pytest.raises(RuntimeError, match="await outcome"):
            explored.confirm("a.result > baseline.result", 6)
        return await explored.aconfirm("a.result > baseline.result", 6)

    assert asyncio.run(main()).verdicts[0].supported is True
    assert study.apply("a", seed=1) == pytest.approx(2.1343642441124)


def test_a_study_that_nobody_awaits_ends() -> None:
    @experiment(root="long")
    def nap(seed: int = 0) -> None:
        import time

        time.sleep(0.05)

    study = Study(nap, replicates=40, seed=1)

    async def main() -> None:
        task = asyncio.create_task(study.arun())
        await asyncio.sleep(0.4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert 1 <= len(nap.observations()) < 40
    assert study.run(strategy="resume").is_complete


@pytest.mark.parametrize(
    "change",
    [
        {"replicates": "5"},
        {"conditions": 5},
        {"hypotheses": [{"words": "a"}]},
        {"hypotheses": ["a"]},
        {"continues": ["' or 1 == 1 or '"]},
        {"seed": True},
    ],
)
def test_a_plan_that_is_none_is_told(draw: Experiment[..., Any], change: dict[str, Any]) -> None:
    study = Study(draw, replicates=2, seed=1)
    study.run()
    (path,) = (p for p in Path("draw/studies/draw").iterdir() if "done" not in p.name)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedRecord, match="is no plan of a study"):
        study.load()


def test_conditions_that_stayed_as_they_were_are_not_run_again(draw: Experiment[..., Any]) -> None:
    study = Study(draw, None, {"a": {"k": 1.0}, "b": {"k": 2.0}}, 3, 1)
    study.run()
    outcome = study.treat("b", k=3.0).run(strategy="resume")
    assert len(draw.observations()) == 9 + 3
    means = outcome.summary().set_index(["treatment", "metric"])["mean"]
    assert means["b", "x"] == pytest.approx(means["a", "x"] + 2.0)
    assert outcome.is_complete


def test_wrong_arguments_are_told_where_they_are_given(draw: Experiment[..., Any]) -> None:
    study = Study(draw, None, {"a": {"k": 1.0}}, 2, 1)
    outcome = study.run()
    wrong: list[tuple[Any, str]] = [
        (lambda: study.load("1"), "version must be a number"),  # type: ignore[arg-type]
        (lambda: study.load(True), "version must be a number"),
        (lambda: study.apply(5), "A treatment is a Treatment"),  # type: ignore[arg-type]
        (lambda: study.with_(callbacks=3), "callbacks must be a list"),
        (lambda: study.with_(hypotheses=5), "hypotheses must be texts"),
        (lambda: study.with_(baseline={1: 2}), "baseline must be a dict"),
        (lambda: study.run(foo=1), "A study is not run by 'foo'"),
        (lambda: study.treat("a", {"k": 1}, k=2), "is said once"),
        (lambda: study.artefacts("../file"), "can't be the name"),
        (lambda: study.artefacts("/etc/passwd"), "can't be the name"),
        (lambda: Hypothesis("a.x > b.x", paired="no"), "paired must be"),  # type: ignore[arg-type]
        (lambda: Hypothesis("a.x > b.x", ranker=5), "ranker must be"),  # type: ignore[arg-type]
        (lambda: Hypothesis("a.x > a.x"), "compares 'a' with itself"),
        (lambda: Hypothesis("a.x == b.x +- 1e999"), "must be finite"),
        (lambda: Retention(big_file_mb=math.nan), "big_file_mb must be"),
        (lambda: Retention(big_file_mb=-1), "big_file_mb must be"),
        (lambda: Seed(seed_fn=3), "seed_fn must be"),  # type: ignore[arg-type]
        (lambda: Seed(auto_seed="no"), "auto_seed must be"),  # type: ignore[arg-type]
        (lambda: outcome.tree("a"), "no level 'a'"),
    ]
    for call, says in wrong:
        with pytest.raises((TypeError, ValueError), match=says):
            call()


def test_a_treatment_may_be_called_nothing(draw: Experiment[..., Any]) -> None:
    study = Study(draw, None, [Treatment("nothing", {"k": 9.0})], 2, 1)
    study.apply("nothing")
    assert draw.observations()[-1].metadata["study"]["treatment"] == "nothing"


def test_a_seed_of_numpy_is_a_seed() -> None:
    @experiment(root="np", callbacks=[Seed()])
    def fit(seed: Any = 0) -> float:
        return random.random()

    assert fit(np.int64(3)) == fit(3)


TESTS_OF_TIES = ["permutation", "mann-whitney"]


@pytest.mark.parametrize("test", TESTS_OF_TIES)
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("unit", [3, 7, 30, 100, 360, 1000, 2**20, 60_000, 10**6])
def test_the_unit_of_a_metric_changes_no_p_value(test: str, paired: bool, unit: int) -> None:
    """Values that are tied are tied in any unit, though no float holds it, and at a margin."""
    rng = np.random.default_rng(unit)
    for alternative, margin in (("two-sided", 0), ("greater", -5), ("less", 3)):
        for _ in range(10):
            count = 7 if paired else 5
            one, other = (rng.integers(0, 9, count) + 9 * unit // 10 for _ in range(2))
            how: Any = {"alternative": alternative, "test": test, "paired": paired, "alpha": 0.9}
            whole = compared(list(one), list(other), shift=margin, **how)
            parts = compared(list(one / unit), list(other / unit), shift=margin / unit, **how)
            assert parts.p == pytest.approx(whole.p, abs=1e-12)
            assert parts.cliffs_delta == whole.cliffs_delta


@pytest.mark.parametrize("test", ["permutation", "mann-whitney", "welch"])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-82, 1e78, 1e160, 1e300])
def test_sizes_of_any_power_change_no_p_value(test: str, paired: bool, size: float) -> None:
    one, other = np.array([3.0, 4, 5, 6, 7, 8]), np.array([0, 0.5, 1, 1.5, 2, 2.6])
    how: Any = {"alternative": "greater", "test": test, "paired": paired}
    usual = compared(list(one), list(other), **how)
    found = compared(list(one * size), list(other * size), **how)
    assert found.p == pytest.approx(usual.p, rel=1e-9)
    assert found.hedges_g == pytest.approx(usual.hedges_g)
    assert (found.low / size, found.high / size) == pytest.approx((usual.low, usual.high))


def test_a_seed_that_diverges_in_both_conditions_hides_no_difference() -> None:
    one, other = [0.71, 0.72, 0.73, 0.74, 0.75, 0.76], [0.51, 0.50, 0.49, 0.52, 0.53, 0.5]
    for diverged in (1e12, 1e15):
        found = compared([*one, diverged], [*other, diverged], alternative="greater")
        assert found.p == 1 / 64
        assert found.low < found.difference < found.high
    whole = compared([10**15 + 3 + i for i in range(6)], [10**15] * 6, alternative="greater")
    assert (whole.p, whole.cliffs_delta) == (1 / 64, 1.0)


def test_there_may_be_thousands_of_replicates_and_a_condition_without_spread() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 1100))
    for paired in (True, False):
        assert compared(list(one), list(other), paired=paired).p is not None
    assert compared([0.3] * 6, list(rng.random(6)), paired=False).p is not None  # and no warning


def test_an_exact_permutation_test_agrees_with_counting_in_whole_numbers() -> None:
    one, other = [950, 949, 956, 954, 954, 957, 945, 952], [949, 947, 955, 952, 952, 955, 945, 953]
    pairs = [a - b for a, b in zip(one, other, strict=True)]
    signs = itertools.product((1, -1), repeat=len(pairs))
    sums = [sum(s * d for s, d in zip(chosen, pairs, strict=True)) for chosen in signs]
    exact = sum(abs(total) >= abs(sum(pairs)) for total in sums) / len(sums)
    thousandths = [[value / 1000 for value in side] for side in (one, other)]
    assert compared(*thousandths).p == exact == 0.0625


@pytest.mark.parametrize("test", TESTS_OF_TIES)
def test_a_difference_that_is_rounding_is_none(test: str) -> None:
    values = np.random.default_rng(0).normal(0.8, 0.02, 12)
    for same in (values + 2.2e-16, values * 3 * 0.1 / 0.3):
        found = compared(list(same), list(values), alternative="greater", test=test)
        assert found.p is not None
        assert found.p >= 0.5


def test_a_run_that_changes_its_config_changes_no_other() -> None:
    @experiment(root="mutable")
    def build(layers: Any = (64,), dropout: float = 0.1, seed: int = 0) -> dict[str, float]:
        layers.append(10)
        return {"params": sum(layers)}

    baseline = {"layers": [64, 64]}
    study = Study(build, baseline=baseline, treatments={"drop": {"dropout": 0.5}}, replicates=4)
    outcome = study.run()
    assert {one.observation.result["params"] for one in outcome} == {138}
    assert all(one.observation.config["layers"] == [64, 64] for one in outcome)
    study.apply("drop")
    study.optimise(GridSearch(dropout=[0.1, 0.2]), 2, 2, objective="params")
    assert {o.result["params"] for o in build.observations()} == {138}
    assert baseline == {"layers": [64, 64]}


def test_numbers_in_json_are_those_of_the_runs(folder: Path) -> None:
    numbers = [4.06e-13, 0.12345678901234568, 1.234567890123456e300, math.nan, math.inf]

    @experiment(root="digits")
    def digits(seed: int = 0) -> dict[str, float]:
        return {"loss": numbers[seed // 31337]}

    outcome = Study(digits, replicates=5, seed=0).run()
    written = json.loads(outcome.to_json("outcome.json").read_text())
    (column,) = (name for name in written[0] if name.endswith("loss"))
    assert [row[column] for row in written] == [*numbers[:3], None, "inf"]


def test_an_objective_that_fails_is_told_and_its_runs_are_kept() -> None:
    @experiment(root="objective")
    def some(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"x": k}

    study = Study(some, seed=1)
    for _ in range(2):
        with (
            pytest.warns(RunsFailedWarning) if len(some.observations()) == 0 else nullcontext(),
            pytest.raises(
                InvalidStudy,
                match="The last failed: KeyError of the objective: 'y'",
            ),
        ):
            study.optimise(
                GridSearch(k=[0.0, 1.0]), 2, objective=lambda runs: float(runs[0].result["y"])
            )
        assert len(some.observations()) == 2
    best = study.optimise(GridSearch(k=[0.0, 1.0]), 2, objective=lambda runs: runs[0].result["x"])
    assert (best.score, len(some.observations())) == (1.0, 2)
    with pytest.raises(InvalidStudy, match="'objective' is not finite in any of 2 trials"):
        study.optimise(GridSearch(k=[0.0, 1.0]), 2, objective=lambda runs: math.nan)


def test_a_search_that_can_not_begin_leaves_no_version() -> None:
    @experiment(root="nothing")
    def some(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"x": k}

    study = Study(some)
    with pytest.raises(InvalidStudy, match=r"'some' can't be run with .*'zz': 1"):
        study.optimise(GridSearch(zz=[1, 2]), 2)
    with pytest.raises(InvalidStudy, match="can't vary 'seed'"):
        study.optimise(GridSearch(seed=[1, 2]), 2)
    assert study.versions() == []


def test_a_ranker_without_an_answer_ranks_last_and_a_wrong_one_is_told() -> None:
    @experiment(root="ranker")
    def some(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"const": 1.0, "x": k + random.random()}

    study = Study(some, treatments={"a": {"k": 9.0}}, replicates=6, seed=1)
    outcome = study.run(hypotheses=[Hypothesis("a.const > baseline.const", ranker=lambda v: None)])
    (ranked,) = outcome.ranking
    assert ranked[0] == "a"
    assert math.isnan(ranked[1])
    wrong = study.run(
        hypotheses=[Hypothesis("a.x > baseline.x", ranker=lambda v: v.nothing)], strategy="resume"
    )
    with pytest.raises(InvalidStudy, match=r"The ranker of 'a\.x > baseline\.x' can't rank 'a'"):
        _ = wrong.ranking


def test_a_verifier_is_told_which_runs_lack_a_metric() -> None:
    @experiment(root="lacking")
    def some(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"x": k} if k and seed == 31337 else {"x": k, "partial": 1.0}

    def larger(baseline: Any, treatment: Any) -> dict[str, bool]:
        return {"significant": treatment["x"] > baseline["x"]}

    study = Study(some, treatments={"a": {"k": 1.0}}, replicates=6, seed=0)
    (verdict,) = study.run(hypotheses=[Hypothesis(verifier=larger)]).verdicts
    assert verdict.supported
    asked = Hypothesis(verifier=larger, metrics=["partial"])
    (verdict,) = study.run(hypotheses=[asked], strategy="resume").verdicts
    assert verdict.reason == "1 of 12 runs lack the metric 'partial'"


def test_a_run_that_could_not_be_seeded_has_no_seed() -> None:
    def broken(seed: int) -> None:
        raise OSError("no generator")

    @experiment(root="unseeded", callbacks=[Seed(5, seed_fn=broken)])
    def some() -> int:
        return 1

    with pytest.warns(DigitalExperimentsWarning, match="no generator"):
        some()
    assert "seed" not in some.observations()[0].metadata


def test_a_default_stays_the_object_that_the_function_knows() -> None:
    missing = object()

    @experiment(root="sentinel")
    def some(k: float = 0.0, opt: Any = missing, seen: Any = [], seed: int = 0) -> dict[str, bool]:  # noqa: B006 # as users write it
        seen.append(k)
        return {"default": opt is missing and seen == [k]}

    outcome = Study(some, treatments={"a": {"k": 1.0}}, replicates=2, seed=1).run()
    assert all(one.observation.result["default"] for one in outcome)


def test_what_can_not_be_copied_is_shared_and_what_holds_it_is_not() -> None:
    class Lock:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there is one of me")

    @experiment(root="locked")
    def some(cfg: Any = None, again: Any = None, seed: int = 0) -> dict[str, Any]:
        cfg["n"] = cfg.get("n", 0) + 1
        return {"n": cfg["n"], "same": cfg is again}

    held = {"lock": Lock()}
    outcome = Study(some, baseline={"cfg": held, "again": held}, replicates=4, seed=1).run()
    assert [one.observation.result for one in outcome] == [{"n": 1, "same": True}] * 4
    assert list(held) == ["lock"]


def test_a_value_that_holds_itself_is_shown_by_its_look(draw: Experiment[..., Any]) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    outcome = Study(draw, treatments={"looped": {"opts": loop}}, replicates=2, seed=1).run()
    assert len(outcome.to_dataframe()) == 4
    assert outcome.plan.conditions["looped"] == {"k": 0.0, "opts": "{'again': {...}}"}


class Trying:
    """A controller of the user's, with no look of its own."""

    def __init__(self, *rates: float) -> None:
        self.rates = rates

    def control(self, search: Any, n: int, executor: Any = None, workers: Any = None) -> None:
        for rate in self.rates[:n]:
            list(search.imap([{"k": rate}], executor, workers))


def test_another_controller_is_another_search(draw: Experiment[..., Any]) -> None:
    study = Study(draw, seed=1, baseline={"opts": 0.0})

    def best(controller: Any) -> Any:
        return study.optimise(controller, 2, objective="x", direction="max").config({})

    assert best(Trying(0.0, 10.0)) == {"k": 10.0}
    assert best(Trying(20.0, 30.0)) == {"k": 30.0}
    long = [float(k) for k in range(3000)]
    other = [*long[:1500], -1.0, *long[1501:]]
    for controllers in (
        (GridSearch(k=long), GridSearch(k=other)),
        (GridSearch(opts=[np.zeros(5000)]), GridSearch(opts=[np.eye(1, 5000, 2500)[0]])),
        (RandomSearch(seed=1, k=long), RandomSearch(seed=2, k=long)),
    ):
        before = len(study.versions())
        for controller in controllers:
            study.optimise(controller, 1, objective="x")
        assert len(study.versions()) == before + 2
        study.optimise(controllers[1], 1, objective="x")
        assert len(study.versions()) == before + 2


def test_a_confirmation_goes_on_though_another_was_made_meanwhile(
    draw: Experiment[..., Any],
) -> None:
    class Stop(Callback):
        runs = 0

        def end(self, observation: Any) -> None:
            self.runs += 1
            if self.runs > 5:
                raise KeyboardInterrupt

    study = Study(draw, treatments={"a": {"k": 3.0}}, replicates=6, seed=1)
    study.run()
    other = study.with_(treatments={"a": {"k": 4.0}}).run()
    with pytest.raises(KeyboardInterrupt):
        study.with_(callbacks=[Stop()]).load(1).confirm("a.x > baseline.x", 8)
    other.confirm("a.x > baseline.x", 8)
    resumed = study.load(1).confirm("a.x > baseline.x", 8, strategy="resume")
    assert (resumed.version, str(resumed.integrity)) == (1, "valid")


def test_what_no_number_of_replicates_can_show_is_told(draw: Experiment[..., Any]) -> None:
    treatments = {f"t{k}": {"k": float(9 + k)} for k in range(12)}
    asked = Hypothesis("*.x > baseline.x", alpha=0.001)
    study = Study(draw, treatments=treatments, replicates=16, seed=1, hypotheses=[asked])
    with pytest.warns(DigitalExperimentsWarning, match="can't be shown"):
        outcome = study.run()
    assert {v.supported for v in outcome.verdicts} == {None}
    assert "never below 0.0001" in outcome.verdicts[0].reason
    with pytest.raises(ValueError, match="use test='welch'"):
        outcome.power(5.0)


def test_the_power_counts_hypotheses_that_could_not_be_tested_yet(
    draw: Experiment[..., Any],
) -> None:
    treatments = {f"t{k}": {"k": float(k)} for k in range(5)}
    for count in (4, 5, 8):
        study = Study(draw, treatments=treatments, replicates=count, seed=1)
        few = pytest.warns(DigitalExperimentsWarning, match="can't be shown")
        with few if count < 7 else nullcontext():
            outcome = study.expect("*.y > baseline.y").run()
        assert outcome.power(5.0) == 7


def test_what_is_asked_twice_is_asked_once(draw: Experiment[..., Any]) -> None:
    study = Study(draw, treatments={"a": {"k": 9.0}}, replicates=8, seed=1)
    for _ in range(2):
        study = study.expect("a.x > baseline.x")
    (verdict,) = study.run().verdicts
    assert verdict.p == verdict.p_corrected
    assert len(study.load(hypotheses=["a.y > baseline.y"] * 2).verdicts) == 1


def test_a_cached_step_that_draws_leaves_pairs_what_they_are() -> None:
    @step(cache=True)
    def noise(count: int) -> list[float]:
        return [random.random() + np.random.random() for _ in range(count)]

    @experiment(root="noisy")
    def noisy(k: float = 0.0) -> dict[str, float]:
        return {"noise": sum(noise(3)), "x": k + random.gauss(0, 1) + np.random.normal()}

    study = Study(noisy, treatments={"same": {"k": 0.0}}, replicates=3, seed=1)
    table = study.run().to_dataframe()
    halves = [half.reset_index(drop=True) for _, half in table.groupby("treatment")]
    assert halves[0][["x", "noise"]].equals(halves[1][["x", "noise"]])
    fresh = study.with_(experiment=noisy.with_(root="elsewhere"), seed=5).run().to_dataframe()
    assert set(fresh["noise"]) == set(table["noise"])


def test_metrics_with_a_dash_need_no_quotes() -> None:
    asked = Hypothesis("new.val-loss <= old.val-loss + 0.05")
    assert asked.left is not None
    assert (asked.left.metric, asked.margin) == ("val-loss", 0.05)
    assert Hypothesis("new.loss <= old.loss -0.05").margin == -0.05


def test_many_replicates_are_validated_at_once(draw: Experiment[..., Any]) -> None:
    study = Study(draw, treatments={"a": {}}).replicate(10**6)
    assert study.expect("a.x > baseline.x", paired=False).validate()


def test_numbers_of_numpy_are_numbers_here_too(draw: Experiment[..., Any]) -> None:
    study = Study(draw, seed=np.int64(3), replicates=np.int32(2))  # type: ignore[arg-type]
    assert (type(study.seed), type(study.replicates)) == (int, int)
    with pytest.raises(ValueError, match="seed"):
        Study(draw, seed=np.float64(3.0))  # type: ignore[arg-type]


def test_what_a_study_was_made_of_may_be_changed_afterwards(draw: Experiment[..., Any]) -> None:
    options, config = {"n": [0]}, {"opts": {"n": [1]}}
    study = Study(draw, {"opts": options}, treatments={"a": config})
    options["n"].append(9)
    config["opts"]["n"].append(9)
    assert study.conditions["baseline"]["opts"] == {"n": [0]}
    assert study.conditions["a"]["opts"] == {"n": [1]}


@pytest.mark.parametrize("name", ["baseline ", " a", "a\tb", "a\x00b", "a\rb"])
def test_names_that_look_like_others_are_refused(name: str) -> None:
    with pytest.raises(InvalidStudy, match="can't be the name of a treatment"):
        Treatment(name, {})


def test_what_is_wrong_is_said_where_it_is_asked_for(draw: Experiment[..., Any]) -> None:
    study = Study(draw, treatments={"a": {"k": 1.0}}, replicates=3)
    with pytest.raises(InvalidStudy, match="'nope'"):
        study.stream(treatments=["nope"])
    with pytest.raises(InvalidStudy, match="Fisher's test has no margins"):
        study.expect("a.x >= baseline.x - 0.1", test="fisher").validate()
    with pytest.raises(InvalidStudy, match="names of config values are texts, not 1"):
        study.with_(treatments={"a": {1: 2}}).validate()
    outcome = study.with_(replicates=6).expect("a.x > baseline.x").run()
    with pytest.raises(ValueError, match="effect must be a number"):
        outcome.power("a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha must be a number"):
        outcome.summary(alpha=2)

    class Model:
        @experiment(root="model")
        def fit(self) -> float:
            return 1.0

    with pytest.raises(TypeError, match="A method can't be studied"):
        Study(Model().fit)  # type: ignore[arg-type]


def test_files_of_older_searches_are_removed_too(draw: Experiment[..., Any]) -> None:
    study = Study(draw, seed=1, retention=Retention(keep=1))
    for rates in ((1.0, 2.0), (3.0, 4.0)):
        study.optimise(GridSearch(k=rates), 2, objective="x")
    study.run()
    left = {run.config["k"]: len(run.artefacts()) for run in draw.observations()}
    assert left == {1.0: 0, 2.0: 0, 3.0: 1, 4.0: 1, 0.0: 1}


def test_labels_of_a_plot_tell_conditions_apart(draw: Experiment[..., Any]) -> None:
    names = [f"learning-rate-{k}-with-warmup-epochs" for k in (1, 2, 3)]
    plot = Study(draw, treatments={n: {} for n in names}, replicates=2, seed=1).run().plot("x")
    assert all(f"-{k}-with-warm" in plot.svg for k in (1, 2, 3))
    assert all(f"<title>{name}</title>" in plot.svg for name in names)


def test_a_workers_random_numbers_of_its_own_are_warned_of() -> None:
    pytest.importorskip("distributed")

    @experiment(root="dasked")
    def dasked(k: float = 0.0) -> float:
        return k + random.random()

    study = Study(dasked, replicates=2, seed=1, executor="dask", workers=1)
    with pytest.warns(DigitalExperimentsWarning, match="Dask's workers draw from them"):
        study.run()


def test_differences_beyond_all_floats_are_tested_quietly() -> None:
    huge = [1e308, -1e308, 1e308] * 2
    for test in ("welch", "permutation"):
        found = compared(huge, [-v for v in huge], alternative="greater", test=test, paired=True)
        assert found.p is not None
        assert 0 < found.p <= 1


@pytest.fixture
def hill() -> Experiment[..., Any]:
    @experiment(root="hill")
    def hill(a: float = 1.0, seed: int = 0) -> dict[str, float]:
        return {"energy": (a - 2) ** 2, "score": -((a - 2) ** 2)}

    return hill


def test_an_objective_is_wanted_as_the_controller_says(hill: Experiment[..., Any]) -> None:
    pytest.importorskip("optuna")
    for number, objective in enumerate((None, "energy", "result.energy")):
        search = OptunaSearch(a=(0.0, 4.0), minimise="result.energy", seed=1)
        study = Study(hill, seed=1, name=f"s{number}")
        assert study.optimise(search, trials=8, objective=objective).score < 0.5


class Line:
    """A controller that keeps to itself what it was made with, and what it has seen."""

    __slots__ = ("_high", "_low", "seen")

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        self.seen: list[float] = []

    def control(self, search: Any, n: int, executor: Any = None, workers: Any = None) -> None:
        for a in np.linspace(self._low, self._high, n):
            self.seen.append(float(a))
            list(search.imap([{"a": float(a)}], executor, workers))


def test_a_search_is_known_again_by_what_its_controller_was_made_with(
    hill: Experiment[..., Any],
) -> None:
    study = Study(hill, seed=1)
    lines = Line(5, 6), Line(1, 2)
    for line in (*lines, *lines):
        study.optimise(line, trials=3, objective="energy", direction="min")
    assert len(study.versions()) == 2
    stats = pytest.importorskip("scipy.stats")
    for _ in range(2):
        np.random.random()
        study.optimise(RandomSearch(a=stats.uniform(0, 4), seed=3), 3, objective="energy")
    assert [version.complete for version in study.versions()] == [True] * 3
    study.optimise(RandomSearch(a=stats.uniform(0, 5), seed=3), 3, objective="energy")
    assert len(study.versions()) == 4


def test_a_search_with_a_seed_goes_on_with_new_trials(hill: Experiment[..., Any]) -> None:
    pytest.importorskip("optuna")
    makers: list[Any] = [
        lambda: OptunaSearch(a=(0.0, 4.0), minimise="result.energy", seed=3),
        lambda: RandomSearch(a=list(range(100)), seed=3),
        lambda: Sobol(a=(0.0, 4.0), seed=3),
        lambda: LatinHypercube(a=(0.0, 4.0), seed=3),
        lambda: GridSearch(a=[0.0, 1.0, 2.0, 3.0]),
    ]
    for number, make in enumerate(makers):
        study = Study(hill, seed=1, name=f"s{number}")
        for trials in (2, 4):
            study.optimise(make(), trials=trials, objective="energy", direction="min")
        runs = study.runs_of(study.plans.all()[0].id)
        assert len({run.config["a"] for run in runs}) == 4, make()


def test_a_cached_step_that_changes_its_input_is_not_kept() -> None:
    @step(cache=True)
    def prepared(rng: Any) -> float:
        return float(rng.normal())

    @experiment(root="drawn")
    def drawn(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        rng = np.random.default_rng(seed)
        return {"noise": prepared(rng), "x": k + rng.normal()}

    study = Study(drawn, treatments={"same": {"k": 0.0}}, replicates=3, seed=3)
    with pytest.warns(DigitalExperimentsWarning, match="is not cached: it changes its 'rng'"):
        table = study.run().to_dataframe()
    halves = [half.reset_index(drop=True) for _, half in table.groupby("treatment")]
    assert halves[0][["x", "noise"]].equals(halves[1][["x", "noise"]])


def test_the_last_ranker_holds(draw: Experiment[..., Any]) -> None:
    study = Study(draw, treatments={"a": {"k": 5.0}}, replicates=6, seed=1)
    text = "a.x > baseline.x"
    ranked_too = study.expect(text).expect(text, ranker=lambda verdict: 1.0)
    assert len(ranked_too.hypotheses) == 1
    assert ranked_too.hypotheses[0].ranker is not None
    assert len(ranked_too.run().verdicts) == 1


@pytest.mark.parametrize(
    "text", ["a.x-baseline.x > 0.05", "a.x > baseline.x-baseline.y", "a.x - baseline.x > 0"]
)
def test_a_difference_is_no_metric(text: str) -> None:
    with pytest.raises(InvalidHypothesis, match="Expected"):
        Hypothesis(text)


def test_the_power_is_that_of_what_is_corrected_together(draw: Experiment[..., Any]) -> None:
    treatments = {f"t{k}": {"k": float(k)} for k in range(4)}
    study = Study(draw, treatments=treatments, replicates=12, seed=1)
    for k in range(4):
        study = study.expect(f"t{k}.x > baseline.x")
    outcome = study.run()
    assert study.load(hypotheses="t3.x > baseline.x").power(0.8) == outcome.power(0.8, hypothesis=3)
    alone = study.with_(hypotheses="t3.x > baseline.x").run()
    assert alone.power(0.2) < outcome.power(0.2, hypothesis=3)
    later = study.load(hypotheses="t3.x > 0.1").power(0.2)
    assert later > study.with_(hypotheses="t3.x > 0.1").run().power(0.2)
    constant = Study(draw, treatments={"a": {"k": 1.0}}, replicates=6, seed=1)
    with pytest.raises(ValueError, match="no spread"):
        constant.expect("a.x > baseline.x", test="welch").run().power(0.5)
    assert outcome.power(np.float32(5.0)) == outcome.power(5.0)


class Mark:
    """Known by identity."""


MARK = Mark()


def test_what_is_known_by_identity_stays_what_it_is() -> None:
    @experiment(root="marked")
    def marked(opts: Any = None) -> bool:
        return opts is MARK

    outcome = Study(marked, treatments={"m": {"opts": MARK}}, seed=1).run()
    assert [run.result for run in outcome.observations] == [False, True]


def test_a_confirmation_is_resumed_whatever_was_confirmed_since(
    draw: Experiment[..., Any],
) -> None:
    explored = Study(draw, treatments={"a": {"k": 3.0}}, replicates=4, seed=1).run()
    first = explored.confirm("a.x > baseline.x", 8)
    explored.confirm("a.y > baseline.y", 8, strategy="resume")
    again = explored.confirm("a.x > baseline.x", 8, strategy="resume")
    assert (again.version, str(again.integrity)) == (first.version, "valid")
    other = explored.confirm("a.x > baseline.x", 8, strategy="resume", seed=77)
    assert (other.plan.seed, other.version) == (77, 3)


def test_names_of_verdicts_can_be_asked_for_again(draw: Experiment[..., Any]) -> None:
    names = ("high", "high.val", "a b")
    study = Study(draw, treatments={n: {"k": 3.0} for n in names}, replicates=6, seed=1)
    outcome = study.expect("*.x > baseline.x").run()
    for verdict, name in zip(outcome.verdicts, names, strict=True):
        assert Hypothesis(verdict.name).conditions == [name, "baseline"]


def test_what_holds_something_is_a_value_of_its_own_in_each_run() -> None:
    @experiment(root="counted")
    def counted(opts: Any = None, k: int = 0) -> int:
        opts["n"] += 1
        return int(opts["n"])

    for made in (OrderedDict(n=0), Counter(n=0), defaultdict(int)):
        study = Study(counted, {"opts": made}, treatments={"a": {"k": 1}}, replicates=2, seed=1)
        assert {run.result for run in study.run().observations} == {1}


def test_controllers_of_any_make_will_do(draw: Experiment[..., Any]) -> None:
    @dataclass(frozen=True)
    class Frozen(Controller):
        k: float

        def suggest(self, experiment: Any) -> dict[str, Any]:
            return {"k": self.k}

    study = Study(draw, seed=1)
    for k in (1.0, 2.0):
        assert study.optimise(Frozen(k), 1, objective="x").config({})["k"] == k
    grid = GridSearch(k=(float(k) for k in range(3)))
    assert pickle.loads(pickle.dumps(grid)).dimensions == {"k": [0.0, 1.0, 2.0]}
    stats = pytest.importorskip("scipy.stats")
    for values in ([1, 2], [30, 40]):
        drawn = stats.rv_discrete(values=(values, [0.5, 0.5]))
        best = study.optimise(RandomSearch(seed=1, k=drawn), 3, objective="x", direction="max")
        assert best.config({})["k"] in values


def test_a_cached_step_may_fill_what_its_input_remembers() -> None:
    class Data:
        @cached_property
        def total(self) -> int:
            return 6

    calls = []

    @step(cache=True)
    def prepared(data: Data) -> int:
        calls.append(1)
        return data.total

    @experiment(root="lazy")
    def lazy(k: int) -> int:
        return prepared(Data())

    assert [lazy(1), lazy(2), len(calls)] == [6, 6, 1]
