"""Searches whose trials are replicated: the best by the mean, resumed where they stopped."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import Experiment, Study, experiment, log_metric
from digital_experiments.controllers import (
    Controller,
    GridSearch,
    LatinHypercube,
    OptunaSearch,
    RandomSearch,
    Sobol,
)
from digital_experiments.errors import InvalidStudy, RunsFailedWarning, UnknownColumn


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


def test_without_an_objective_a_loss_is_made_small() -> None:
    @experiment(root="losing")
    def losing(lr: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"loss": (lr - 0.1) ** 2}

    best = Study(losing, seed=1).optimise(GridSearch(lr=[0.1, 0.5, 0.9]), trials=3)
    assert (best.config({}), best.score) == ({"lr": 0.1}, 0.0)


def test_a_function_of_the_runs_is_wanted_as_the_controllers_only_goal_is(study: Study) -> None:
    search = OptunaSearch(minimise="result.objective", x=(0.0, 1.0), seed=1)
    best = study.optimise(search, 5, objective=lambda runs: runs[0].result["loss"])
    assert best.score == min(run.result["loss"] for run in study.experiment.observations())


class Held:
    """A value that is told by what it holds."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(
    "make",
    [
        lambda n: RandomSearch(seed=1, p=[Path("a" * n), Path("b" * n)]),
        lambda n: GridSearch(p=[Held(n), Held(n + 1)]),
        lambda n: GridSearch(p=(["a" * n, "b" * n][i] for i in range(2))),
    ],
)
def test_controllers_of_other_values_are_other_searches(make: Any) -> None:
    @experiment(root="sized")
    def sized(p: Any = None, seed: int = 0) -> dict[str, int]:
        return {"acc": p.size if isinstance(p, Held) else len(str(p))}

    study = Study(sized, seed=1)
    assert study.optimise(make(1), 2, objective="acc").score in (1.0, 2.0)
    assert study.optimise(make(8), 2, objective="acc").score in (8.0, 9.0)
    study.optimise(make(8), 2, objective="acc")
    assert len(sized.observations()) == 4


def test_a_series_and_a_field_of_one_name_are_two_objectives() -> None:
    @experiment(root="both")
    def both(lr: float = 0.1, seed: int = 0) -> dict[str, float]:
        log_metric("acc", -lr)
        return {"acc": lr}

    study = Study(both, seed=1)
    grid = GridSearch(lr=[0.1, 0.2])
    assert study.optimise(grid, 2, objective="metrics.acc").config({}) == {}
    assert study.optimise(grid, 2, objective="acc").config({}) == {"lr": 0.2}
    search = OptunaSearch(maximise="metrics.acc", lr=[0.1, 0.2], seed=1)
    assert study.optimise(search, 4).score == -0.1


DYING = """
import os, sys
from digital_experiments import Study, experiment
from digital_experiments.controllers import {kind}

@experiment(root="dying")
def train(lr=0.0, seed=0):
    if seed == 31342 and lr == {at} and not os.path.exists("died"):
        open("died", "w").close()
        {how}
    return {{"acc": lr}}

print(Study(train, seed=5).optimise({controller}, 4, 3, objective="acc", progress=False).score)
runs = train.observations()
print(len(runs), len({{(run.config["lr"], run.config["seed"]) for run in runs}}))
"""


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "raise ValueError('once')"])
@pytest.mark.parametrize(
    ("controller", "at"),
    [
        ("RandomSearch(lr=list(range(100)), seed=1)", 97),
        ("Sobol(lr=(0, 99), seed=1)", None),
        ("GridSearch(lr=[1, 2, 3, 4])", 4),
    ],
)
def test_a_search_that_broke_off_comes_to_what_it_would_have(
    controller: str, at: int | None, how: str
) -> None:
    kind = controller.partition("(")[0]
    if at is None:
        at = max(point["lr"] for point in Sobol(lr=(0, 99), seed=1).points(4))
    text = DYING.format(kind=kind, controller=controller, at=at, how=how)
    Path("dying.py").write_text(text)
    told = [
        subprocess.run([sys.executable, "-W", "ignore", "dying.py"], capture_output=True, text=True)
        for _ in range(2)
    ]
    assert told[1].stdout == f"{at}.0\n12 12\n", told[1].stderr


def test_what_is_pruned_is_done_and_its_other_replicates_are_not_run() -> None:
    optuna = pytest.importorskip("optuna")

    @experiment(root="learning")
    def learn(lr: float = 0.0, seed: int = 0) -> dict[str, float]:
        for step in range(5):
            log_metric("loss", lr, step=step)
        return {"loss": lr}

    def search() -> OptunaSearch:
        pruner = optuna.pruners.ThresholdPruner(upper=0.5)
        return OptunaSearch(
            minimise="result.loss", lr=(0.0, 1.0), seed=1, pruner=pruner, prune_by="loss"
        )

    study = Study(learn, seed=1)
    for _ in range(2):
        study.optimise(search(), 6, 3)
    runs = learn.observations(status=["completed", "pruned"])
    pruned = [run for run in runs if run.status == "pruned"]
    assert pruned
    assert len(runs) == len(pruned) + 3 * (6 - len(pruned))
    assert study.versions()[0].complete


def test_a_controller_used_again_draws_what_a_new_one_would() -> None:
    @experiment(root="drawing")
    def drawing(a: int = 0, seed: int = 0) -> dict[str, int]:
        return {"v": a}

    used = RandomSearch(a=list(range(1000)), seed=1)
    for trials in (2, 4):
        Study(drawing, seed=1).optimise(used, trials, objective="v")
    new = RandomSearch(a=list(range(1000)), seed=1)
    fresh = drawing.with_(root="fresh")
    Study(fresh, seed=1).optimise(new, 4, objective="v")
    assert [o.result for o in drawing.observations()] == [o.result for o in fresh.observations()]


def test_what_is_not_awaited_any_more_is_not_run() -> None:
    @experiment(root="slow")
    def slow(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        time.sleep(0.05)
        return {"x": k}

    study = Study(slow, treatments={"a": {"k": 1.0}}, replicates=2, seed=1)
    explored = study.run()
    grid = GridSearch(k=[float(k) for k in range(40)])

    async def given_up(work: Any) -> int:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(work, 0.3)
        return len(slow.observations())

    for start in (
        lambda: study.aoptimise(grid, 40, objective="x", progress=False),
        lambda: explored.aconfirm("a.x > baseline.x", 40),
    ):
        there = asyncio.run(given_up(start()))  # its end waits for the thread
        assert len(slow.observations()) <= there + 2


def test_searches_say_what_is_wrong_with_what_they_are_given(study: Study) -> None:
    with pytest.raises(TypeError, match="optimise expects a controller"):
        study.optimise(GridSearch, 2)
    with pytest.raises(InvalidStudy, match="The controller has suggested nothing to try"):
        study.optimise(GridSearch(x=[]), 2)
    with pytest.warns(RunsFailedWarning), pytest.raises(InvalidStudy, match="The last failed: "):
        study.optimise(GridSearch(x=[3.0]), 2)

    class Five(Controller):
        def suggest(self, experiment: Any) -> Any:
            return 5

    with pytest.raises(TypeError, match="suggest must give a dict of parameters, or None, not 5"):
        study.optimise(Five(), 2)
    with pytest.raises(TypeError, match="progress must be"):
        study.optimise(GridSearch(x=[0.1]), 2, progress=3)
    assert study.optimise(GridSearch(x=[0.1]), np.int64(1)).config({}) == {"x": 0.1}


def test_what_a_killed_run_has_left_no_trace_of_is_made(hill: Experiment[..., Any]) -> None:
    for make in (
        lambda: RandomSearch(x=[n / 100 for n in range(100)], seed=1),
        lambda: LatinHypercube(x=(0.0, 1.0), seed=1),
        lambda: Sobol(x=(0.0, 1.0), seed=1),
    ):
        name = type(make()).__name__.lower()
        study = Study(hill.with_(root=name), seed=1)
        study.optimise(make(), 8, objective="height", progress=False)
        runs = study.experiment.observations()
        study.experiment.purge(study.experiment.delete([runs[0].id, runs[3].id]))
        study.optimise(make(), 8, objective="height", progress=False)
        made = study.experiment.observations()
        assert sorted(o.config["x"] for o in made) == sorted(o.config["x"] for o in runs)


def test_all_pruned_is_told_and_objectives_get_replicates_in_order(study: Study) -> None:
    optuna = pytest.importorskip("optuna")

    @experiment(root="hopeless")
    def hopeless(lr: float = 0.0, seed: int = 0) -> float:
        log_metric("loss", 1.0, step=0)
        return 1.0

    pruner = optuna.pruners.ThresholdPruner(upper=0.5)
    search = OptunaSearch(minimise="result", lr=(0.0, 1.0), pruner=pruner, prune_by="loss")
    with pytest.raises(InvalidStudy, match="All 3 trials were pruned"):
        Study(hopeless, seed=1).optimise(search, 3, progress=False)
    seeds: list[list[int]] = []

    def ordered(runs: Any) -> float:
        seeds.append([run.config["seed"] for run in runs])
        return 1.0

    how: dict[str, Any] = {"executor": "thread", "workers": 4}
    study.optimise(GridSearch(x=[0.1, 0.2]), 2, 8, objective=ordered, progress=False, **how)
    assert seeds
    assert all(some == [1 + 31337 * n for n in range(8)] for some in seeds)
