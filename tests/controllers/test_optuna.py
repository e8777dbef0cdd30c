"""A search by Optuna learns from all that was run, and goes on where it stopped."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import Experiment, experiment, log_metric
from digital_experiments.controllers import Controller, OptunaSearch
from digital_experiments.errors import RecordingWarning, RunsFailedWarning, UnknownColumn
from digital_experiments.testing import ControllerSuite

optuna = pytest.importorskip("optuna", reason="Optuna thinks")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestOptuna(ControllerSuite):
    def make(self) -> Controller:
        return OptunaSearch(maximise="result", x=(0.0, 1.0))


@pytest.fixture
def hill() -> Experiment[..., Any]:
    @experiment(root="hill", name="hill")
    def hill(x: float, n: int = 1, kind: Any = "a") -> dict[str, float]:
        if n == 13:
            raise ValueError("unlucky")
        return {"height": -((math.log10(x) + 2) ** 2) - (n - 3) ** 2, "cost": n}

    return hill


def search(**more: Any) -> OptunaSearch:
    space = {"x": (1e-4, 1.0, "log"), "n": (1, 9), "kind": ["a", (1, 2)]}
    return OptunaSearch(**{"maximise": "result.height", "seed": 1, **space, **more})


def test_it_finds_the_top_and_goes_on_where_it_stopped(hill: Experiment[..., Any]) -> None:
    search().control(hill, n=15)
    again = search()
    again.control(hill, n=35)
    assert again.study is not None
    assert len(again.study.trials) == 50
    found = hill.observations()
    assert len(found) == 50
    best = found.best("result.height")
    assert best.result["height"] > -0.5
    assert again.study.best_value == best.result["height"]
    assert {str(o.config["kind"]) for o in found} == {"a", "(1, 2)"}
    random = hill.with_(root="random")
    from digital_experiments.controllers import Sobol

    Sobol(seed=1, x=(1e-4, 1.0, "log"), n=(1, 9)).control(random, n=50)
    assert best.result["height"] >= random.observations().best("result.height").result["height"]


def test_the_same_seed_asks_the_same(hill: Experiment[..., Any]) -> None:
    asked = []
    for name in ("one", "two"):
        copy = hill.with_(root=name)
        search(seed=7).control(copy, n=8)
        asked.append([o.config for o in copy.observations()])
    assert asked[0] == asked[1]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_several_are_tried_at_once(hill: Experiment[..., Any], executor: str) -> None:
    made = search()
    made.control(hill, n=12, executor=executor, workers=2, kind="b")
    assert made.study is not None
    assert len(made.study.trials) == 12
    assert [o.config["kind"] for o in hill.observations()] == ["b"] * 12


def test_failures_are_told_to_the_study(hill: Experiment[..., Any]) -> None:
    made = OptunaSearch(minimise="result.cost", n=[1, 13], x=(0.1, 1.0), seed=1)
    with pytest.warns(RunsFailedWarning, match="unlucky"):
        made.control(hill, n=10)
    assert made.study is not None
    states = [trial.state.name for trial in made.study.trials]
    assert set(states) == {"COMPLETE", "FAIL"}
    assert made.study.best_value == 1


def test_several_goals_and_a_space_of_ones_own(hill: Experiment[..., Any]) -> None:
    def space(trial: Any) -> dict[str, Any]:
        n = trial.suggest_int("n", 1, 9)
        x = trial.suggest_float("x", 0.001, 0.1) if n > 4 else 0.01
        return {"n": n, "x": x}

    goals: dict[str, Any] = {"maximise": "result.height", "minimise": ["result.cost"]}
    OptunaSearch(**goals, space=space, seed=1).control(hill, n=10)
    again = OptunaSearch(**goals, space=space, seed=2)
    again.control(hill, n=5)
    assert again.study is not None
    assert len(again.study.trials) == 15
    assert again.study.best_trials
    assert all(o.config["n"] > 4 or o.config["x"] == 0.01 for o in hill.observations())


def test_what_is_wrong_is_told(hill: Experiment[..., Any]) -> None:
    with pytest.raises(ValueError, match="maximise= or minimise="):
        OptunaSearch(x=(0, 1))
    with pytest.raises(ValueError, match="dimensions"):
        OptunaSearch(maximise="result")
    with pytest.raises(TypeError, match="Dimension 'x'"):
        OptunaSearch(maximise="result", x=5)
    with pytest.raises(UnknownColumn, match=r"Did you mean 'result\.height'"):
        OptunaSearch(maximise="result.heigth", x=(0.1, 1.0)).control(hill)
    with pytest.raises(TypeError, match="missing a required"):
        OptunaSearch(maximise="result.height", nothing=(0.1, 1.0)).control(hill)


def test_what_matters_is_told_and_drawn(hill: Experiment[..., Any]) -> None:
    from digital_experiments.controllers import LatinHypercube

    LatinHypercube(seed=1, x=(1e-4, 1.0, "log"), n=(1, 9), kind=["a", (1, 2)]).control(hill, n=80)
    found = hill.observations().importance("result.height")
    assert next(iter(found)) == "n"
    assert sum(found.values()) == pytest.approx(1)
    assert found["kind"] < 0.1
    assert "n  " in repr(found)
    assert "█" in repr(found)
    assert "of 80 observations" in repr(found)
    assert found._repr_html_().count("<rect") == 3
    assert found.plot().save("importance.svg").exists()
    with pytest.raises(UnknownColumn, match=r"Did you mean 'result\.height'"):
        hill.observations().importance("result.heigth")
    with pytest.raises(ValueError, match="at least 4"):
        hill.observations()[:3].importance("result.height")
    with pytest.raises(ValueError, match="'max' or 'min'"):
        hill.observations().importance("result.height", "most")


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_pruner_ends_runs_by_what_they_log(executor: str) -> None:
    @experiment(root="pruned")
    def train(lr: float, epochs: int = 10) -> float:
        for epoch in range(epochs):
            log_metric("loss", lr + 1 / (1 + epoch))
        return lr + 1 / epochs

    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    how: Any = {} if executor == "serial" else {"executor": executor, "workers": 2}

    def search() -> OptunaSearch:
        return OptunaSearch(
            minimise="result", lr=(0.0, 1.0), seed=3, pruner=pruner, prune_by="loss"
        )

    first = search()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RunsFailedWarning)  # to be pruned is no failure
        first.control(train, n=15, **how)
    completed, pruned = train.observations(), train.observations(status="pruned")
    assert len(completed) + len(pruned) == 15
    assert len(pruned) >= 2
    for observation in pruned:
        assert observation.result is None
        found = re.search(r"at step (\d+) is not worth going on", observation.error["message"])
        assert found is not None
        assert len(observation.metrics("loss")) == int(found[1]) + 1  # what it logged until then
        if executor == "serial":  # side by side, the others may be known at the last step only
            assert int(found[1]) < 9
    states = [trial.state.name for trial in first.study.trials]
    assert (states.count("COMPLETE"), states.count("PRUNED")) == (len(completed), len(pruned))
    assert first.study.best_value == completed.best("result", "min").result
    again = search()
    again.control(train, n=1)
    reported = [t.intermediate_values for t in again.study.trials]
    assert len(reported) == 16
    assert all(values for values in reported)
    assert list(Path("pruned/claims/shared").iterdir()) == []


def test_a_metric_is_what_pruning_goes_by_if_it_is_the_goal() -> None:
    search = OptunaSearch(minimise="metrics.loss", x=(0.0, 1.0), pruner=optuna.pruners.NopPruner())
    assert search.prune_by == "loss"
    with pytest.raises(ValueError, match="needs prune_by="):
        OptunaSearch(minimise="result", x=(0, 1), pruner=optuna.pruners.NopPruner())
    with pytest.raises(ValueError, match="for one goal only"):
        OptunaSearch(minimise=["a", "b"], x=(0, 1), pruner=optuna.pruners.NopPruner())


def test_a_pruner_that_breaks_harms_no_run() -> None:
    class Broken(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            raise OSError("the disk is gone")

    @experiment(root="broken")
    def train(lr: float) -> float:
        log_metric("loss", lr, step=0)
        log_metric("loss", lr, step=1)
        return lr

    search = OptunaSearch(minimise="result", lr=(0.0, 1.0), pruner=Broken(), prune_by="loss")
    with pytest.warns(RecordingWarning, match="Nobody watches 'loss'"):
        search.control(train, n=1)
    (observation,) = train.observations()
    assert len(observation.points()) == 2


def test_runs_outside_of_the_range_and_numpy_numbers_do_no_harm() -> None:
    import numpy as np

    one = np.float64(1)

    @experiment(root="outside")
    def f(x: float, k: Any = one) -> float:
        return (x - 0.3) ** 2

    f(5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OptunaSearch(minimise="result", x=(0.0, 1.0), seed=1).control(f, n=3)
    assert len(f.observations()) == 4


def test_what_gives_no_number_and_what_is_never_pruned_is_told() -> None:
    @experiment(root="none")
    def none(x: float) -> None:
        log_metric("other", x)

    with pytest.warns(RunsFailedWarning, match=r"2 of 2 runs gave nothing to go by"):
        OptunaSearch(minimise="result", x=(0.0, 1.0)).control(none, n=2)

    @experiment(root="unpruned")
    def unpruned(x: float) -> float:
        log_metric("other", x)
        return x

    pruner = optuna.pruners.MedianPruner()
    with pytest.warns(RunsFailedWarning, match="no run has logged 'loss'"):
        OptunaSearch(minimise="result", x=(0.0, 1.0), pruner=pruner, prune_by="loss").control(
            unpruned, n=2
        )
    with pytest.raises(TypeError, match="pruner must be one of Optuna's"):
        OptunaSearch(minimise="result", x=(0.0, 1.0), pruner="median", prune_by="loss")
