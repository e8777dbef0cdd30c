"""Searches whose trials are replicated: the best by the mean, resumed where they stopped."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from digital_experiments import Experiment, Study, experiment
from digital_experiments.controllers import Controller, GridSearch, OptunaSearch, RandomSearch
from digital_experiments.errors import RunsFailedWarning, UnknownColumn


@pytest.fixture
def hill() -> Experiment[..., Any]:
    @experiment(root="hill")
    def hill(x: float = 0.0, y: int = 1, seed: int = 0) -> dict[str, float]:
        if x > 2:
            raise ValueError("too far")
        return {"height": 1 - (x - 0.3) ** 2 + random.gauss(0, 0.01), "loss": (x - 0.3) ** 2}

    return hill


@pytest.fixture
def study(hill: Experiment[..., Any]) -> Study:
    return Study(hill, baseline={"y": 3}, seed=1)


def test_the_best_by_the_mean_is_a_treatment(study: Study) -> None:
    search = OptunaSearch(x=(0.0, 1.0), maximise="result.height", seed=3)
    best = study.optimise(search, trials=12, replicates_per_trial=3)
    runs = study.experiment.observations()
    assert len(runs) == 36
    assert {o.config["y"] for o in runs} == {3}
    assert {o.config["seed"] for o in runs} == {1, 31338, 62675}
    means: dict[float, list[float]] = {}
    for run in runs:
        means.setdefault(run.config["x"], []).append(run.result["height"])
    top = max(means, key=lambda x: sum(means[x]) / 3)
    assert list(best.config({})) == ["x"]
    assert best.config({})["x"] == top
    assert best.score == pytest.approx(sum(means[top]) / 3, abs=1e-12)
    outcome = (
        study.treat("best", best.apply).expect("best.height > baseline.height").run(replicates=6)
    )
    assert outcome.verdicts[0].supported is True
    assert study.versions()[0].kind == "search"
    assert len(study.load(1).plan.conditions) == 12


def test_a_search_goes_on_where_it_stopped(study: Study) -> None:
    def search() -> OptunaSearch:
        return OptunaSearch(x=(0.0, 1.0), maximise="result.height", seed=3)

    study.optimise(search(), trials=4, replicates_per_trial=2)
    study.optimise(search(), trials=4, replicates_per_trial=2)
    assert len(study.experiment.observations()) == 8
    study.optimise(search(), trials=6, replicates_per_trial=2)
    assert len(study.experiment.observations()) == 12
    assert len(study.versions()) == 1


def test_any_controller_will_do(study: Study) -> None:
    grid = GridSearch(x=[0.0, 0.25, 0.5])
    best = study.optimise(grid, trials=3, replicates_per_trial=2, objective="height")
    assert best.config({}) == {"x": 0.25}
    least = study.optimise(grid, trials=3, replicates_per_trial=2, objective="loss")
    assert least.config({}) == {"x": 0.25}
    assert len(study.experiment.observations()) == 6
    worst = study.optimise(grid, 3, 2, objective="loss", direction="max")
    assert worst.config({}) == {}  # as the baseline has it
    some = RandomSearch(x=[0.2, 0.3], y=[1, 2], seed=2)
    assert study.optimise(some, trials=5, replicates_per_trial=1, objective="height").score

    class Up(Controller):
        x = 0.0

        def suggest(self, experiment: Any) -> dict[str, Any]:
            self.x += 0.1
            return {"x": self.x}

    best = study.with_(name="up").optimise(Up(), trials=4, objective="height")
    assert best.config({})["x"] == pytest.approx(0.3)


def test_an_objective_may_be_a_function(study: Study) -> None:
    def worst_case(runs: Any) -> float:
        return min(run.result["height"] for run in runs)

    search = OptunaSearch(x=(0.0, 1.0), maximise="result.objective", seed=1)
    best = study.optimise(search, trials=6, replicates_per_trial=3, objective=worst_case)
    means: dict[float, list[float]] = {}
    for run in study.experiment.observations():
        means.setdefault(run.config["x"], []).append(run.result["height"])
    assert best.score == max(min(heights) for heights in means.values())


def test_it_runs_in_processes_and_may_be_awaited(study: Study) -> None:
    grid = GridSearch(x=[0.0, 0.25, 0.5])
    how: dict[str, Any] = {"objective": "height", "executor": "process", "workers": 2}
    best = asyncio.run(study.aoptimise(grid, 3, 2, **how))
    assert best.config({}) == {"x": 0.25}


def test_what_fails_is_left_out_and_told(study: Study) -> None:
    with pytest.warns(RunsFailedWarning):
        best = study.optimise(GridSearch(x=[0.25, 3.0]), 2, 2, objective="height")
    assert best.config({}) == {"x": 0.25}
    with pytest.raises(UnknownColumn, match=r"No trial has a number in 'hight'.*'height'"):
        study.optimise(GridSearch(x=[0.25]), 1, 2, objective="hight")
    with pytest.raises(ValueError, match="trials must be a number"):
        study.optimise(GridSearch(x=[0.25]), 0)
    with pytest.raises(ValueError, match="direction must be 'max' or 'min'"):
        study.optimise(GridSearch(x=[0.25]), 1, direction="up")
    with pytest.raises(TypeError, match="optimise expects a controller"):
        study.optimise("grid", 1)


def test_a_search_ends_complete_when_there_is_nothing_left_to_try(study: Study) -> None:
    for _ in range(2):
        study.optimise(GridSearch(x=[0.1, 0.2, 0.3]), trials=10, objective="loss")
        assert [version.complete for version in study.versions()] == [True]
    study.optimise(GridSearch(x=[0.1, 0.2, 0.3]), trials=2, objective="loss")
    with pytest.warns(RunsFailedWarning):
        study.optimise(GridSearch(x=[0.1, 3.0]), trials=2, objective="loss")
    assert [version.complete for version in study.versions()] == [True, False]
