"""A search by Optuna learns from all that was run, and goes on where it stopped."""

from __future__ import annotations

import math
from typing import Any

import pytest

from digital_experiments import Experiment, experiment
from digital_experiments.controllers import Controller, OptunaSearch
from digital_experiments.errors import RunsFailedWarning, UnknownColumn
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
