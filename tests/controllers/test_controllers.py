"""Grid and random search, and controllers of one's own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from digital_experiments import experiment
from digital_experiments.controllers import (
    Controller,
    GridSearch,
    LatinHypercube,
    RandomSearch,
    Repeat,
    Sobol,
)
from digital_experiments.errors import RunsFailedWarning
from digital_experiments.testing import ControllerSuite


class TestGrid(ControllerSuite):
    def make(self) -> Controller:
        return GridSearch(x=[1, 2, 3])


class TestRandom(ControllerSuite):
    def make(self) -> Controller:
        return RandomSearch(x=[1, 2, 3])


class TestLatinHypercube(ControllerSuite):
    def make(self) -> Controller:
        return LatinHypercube(x=(0.0, 1.0))


class TestSobol(ControllerSuite):
    def make(self) -> Controller:
        return Sobol(x=(0.0, 1.0))


class TestRepeat(ControllerSuite):
    def make(self) -> Controller:
        return Repeat(5, {"x": 1})


@experiment
def score(a: Any, b: int = 1, c: tuple[int, ...] = (1,)) -> Any:
    return [a, b]


def test_a_grid_is_run_once_whatever_the_defaults() -> None:
    search = experiment(root="grid")(score.function)
    grid = GridSearch(a=[1, True, 1.0], b=range(3))
    grid.control(search, n=4)
    assert len(search.observations()) == 4
    grid.control(search)
    grid.control(search)
    assert len(search.observations()) == 9
    assert grid.suggest(search) is None


def test_overloads_take_part_in_what_is_done() -> None:
    search = experiment(root="grid")(score.function)
    GridSearch(a=[1, 2]).control(search, b=5)
    GridSearch(a=[1, 2, 3]).control(search, b=5)
    assert [o.config["a"] for o in search.observations()] == [1, 2, 3]


def test_a_repeated_value_is_one_point() -> None:
    search = experiment(root="grid")(score.function)
    GridSearch(a=[1, 1, 2]).control(search)
    assert len(search.observations()) == 2


def test_a_large_grid_costs_linear_time() -> None:
    def seconds(points: int) -> float:
        search = experiment(root=f"grid{points}")(score.function)
        search("warm")
        start = time.perf_counter()
        GridSearch(a=range(points // 16), b=range(16)).control(search)
        return time.perf_counter() - start

    small, large = seconds(256), seconds(2048)
    assert large < 8 * 4 * small  # eight times the points; quadratic would be 64 times the work


@pytest.mark.parametrize("values", ["text", 3, None])
def test_a_dimension_must_be_values(values: Any) -> None:
    for search in (GridSearch, RandomSearch):
        with pytest.raises(TypeError, match="Dimension 'a' must be"):
            search(a=values)
    with pytest.raises(ValueError, match="no value to choose from"):
        RandomSearch(a=[])


def test_a_seed_makes_draws_repeatable() -> None:
    def draws(seed: int | None) -> list[Any]:
        search = RandomSearch(seed=seed, a=stats.loguniform(1e-4, 1), b=range(1000))
        return [search.suggest(score) for _ in range(20)]

    assert draws(1) == draws(1) != draws(2)
    assert draws(None) != draws(None)
    assert all(type(d["a"]) is float and 1e-4 <= d["a"] <= 1 for d in draws(3))


def test_any_object_with_rvs_is_a_dimension() -> None:
    class Constant:
        def rvs(self) -> int:
            return 4

    assert RandomSearch(a=Constant()).suggest(score) == {"a": 4}


@pytest.mark.parametrize("n", [-1, 1.5, "3", True])
def test_the_number_of_runs_must_be_one(n: Any) -> None:
    with pytest.raises(ValueError, match="n must be a number of runs"):
        RandomSearch(a=[1]).control(score, n=n)


def test_a_controller_of_2x_runs_unchanged() -> None:
    class Three(Controller):
        def suggest(self, experiment: Any) -> dict[str, Any] | None:
            done = len(experiment.observations())
            return {"a": done} if done < 3 else None

    search = experiment(root="three")(score.function)
    Three().control(search)
    assert len(search.observations()) == 1
    Three().control(search, n=10, b=7)
    assert [o.config["b"] for o in search.observations()] == [1, 7, 7]


def test_a_run_that_fails_does_not_keep_the_others_from_being_run() -> None:
    def picky(x: int) -> float:
        return 1 / x

    search = experiment(root="picky")(picky)
    for _ in range(2):
        with pytest.warns(RunsFailedWarning, match=r"1 of \d runs failed, .* ZeroDivision"):
            GridSearch(x=[-1, 0, 1]).control(search)
    assert [o.config["x"] for o in search.observations()] == [-1, 1]
    assert len(search.observations(status="failed")) == 2


def test_a_parameter_that_there_is_not_is_told_before_anything_runs() -> None:
    for search in (GridSearch(wrong=[1]), RandomSearch(wrong=[1])):
        with pytest.raises(TypeError, match=r"wrong|missing"):
            search.control(score)
    assert score.with_(root="none").observations(status=None) == []


@pytest.mark.parametrize("design", [LatinHypercube, Sobol])
def test_designs_fill_their_space_and_resume(design: Any) -> None:
    @experiment(root="fit")
    def fit(lr: float, depth: int, kind: str) -> float:
        return lr * depth

    def search() -> Any:
        return design(seed=3, lr=(1e-4, 1.0, "log"), depth=(2, 9), kind=["a", "b"])

    search().control(fit, n=16)
    found = fit.to_dataframe()
    assert len(found) == 16
    assert found["config.lr"].between(1e-4, 1).all()
    decades = np.floor(np.log10(found["config.lr"])).value_counts()
    assert decades.to_dict() == dict.fromkeys([-4, -3, -2, -1], 4)
    assert found["config.depth"].value_counts().to_dict() == dict.fromkeys(range(2, 10), 2)
    assert found["config.kind"].value_counts().to_dict() == {"a": 8, "b": 8}
    search().control(fit, n=16)
    assert len(fit.observations()) == 16
    assert repr(search()).startswith(f"{design.__name__}(seed=3, lr=")
    design(lr=(0.1, 0.2)).control(fit, n=3, depth=2, kind="a", executor="thread")
    assert len(fit.observations()) == 19


@pytest.mark.parametrize(
    ("dimension", "error"),
    [
        ((1.0, 0.5), ValueError),
        ((0.0, 1.0, "log"), ValueError),
        ((0.1, 1.0, "exp"), ValueError),
        ((0.1, float("inf")), ValueError),
        (("a", "b"), ValueError),
        ((1,), TypeError),
        (range(3), TypeError),
        ([], TypeError),
        ("abc", TypeError),
    ],
)
def test_a_dimension_that_is_none_is_told(dimension: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Dimension 'lr'"):
        LatinHypercube(lr=dimension)


def test_a_design_needs_a_dimension() -> None:
    with pytest.raises(ValueError, match="Sobol needs a dimension"):
        Sobol()


def test_a_config_is_repeated() -> None:
    @experiment(root="roll")
    def roll(sides: int = 6) -> int:
        return sides

    Repeat(4).control(roll, executor="process", workers=2)
    Repeat(2, {"sides": 4}, {"sides": 8}).control(roll, n=3)
    assert [o.config["sides"] for o in roll.observations()] == [6, 6, 6, 6, 4, 8, 4]
