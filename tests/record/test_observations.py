"""Looking at what was recorded: lists, tables, selections."""

from __future__ import annotations

import dataclasses
import enum
import math
import pickle
from typing import Any

import numpy as np
import pytest

from digital_experiments import Experiment, Observation, experiment


@dataclasses.dataclass
class Score:
    accuracy: float
    weights: Any


@pytest.fixture
def fit() -> Experiment[..., Any]:
    @experiment(tags=["test"])
    def fit(lr: float, data: Any = None) -> dict[str, Any]:
        if lr > 1:
            raise ValueError(f"<b>{lr}</b> is too large")
        return {"loss": math.nan if lr == 0 else lr, "model": Score(1 - lr, np.ones(3))}

    for lr in (0.5, 0.1, 0, 2.0):
        if lr > 1:
            with pytest.raises(ValueError, match="too large"):
                fit(lr, np.arange(3))
        else:
            fit(lr, np.arange(3))
    return fit


def test_a_table_has_a_column_for_each_field(fit: Experiment[..., Any]) -> None:
    table = fit.to_dataframe()
    assert list(table.columns) == [
        *("id", "result.loss", "result.model.accuracy", "result.model.weights"),
        *("config.lr", "config.data"),
    ]
    assert list(table["result.model.accuracy"]) == [0.5, 0.9, 1.0]
    assert list(table["config.data"]) == ["ndarray(3, int64)"] * 3
    full = fit.to_dataframe(include_metadata=True, status=None)
    assert list(full["metadata.status"]) == ["completed"] * 3 + ["failed"]
    assert full["metadata.timing.duration"].dtype == float
    assert "metadata.environment.system.python_version" in full.columns
    assert list(fit.to_dataframe(normalising_sep="_", lr=0.1)["config_lr"]) == [0.1]


def test_selecting(fit: Experiment[..., Any]) -> None:
    assert [o.config["lr"] for o in fit.observations(lr=0.1)] == [0.1]
    assert len(fit.observations(data=np.arange(3))) == 3
    assert len(fit.observations(data=np.arange(4))) == 0
    assert len(fit.observations(status=["failed", "completed"])) == 4
    assert len(fit.observations().filter(lambda o: o.result["loss"] < 0.3)) == 1
    assert fit.observations().filter(lr=0)[0].config["lr"] == 0


def test_the_best(fit: Experiment[..., Any]) -> None:
    found = fit.observations()
    assert found.best("result.loss").config["lr"] == 0.5
    assert found.best("result.loss", "min").config["lr"] == 0.1
    assert found.best("result.model.accuracy").config["lr"] == 0
    assert found.best("metadata.timing.duration").duration == max(o.duration or 0 for o in found)
    with pytest.raises(ValueError, match="'max' or 'min'"):
        found.best("result.loss", "most")
    with pytest.raises(KeyError, match=r"Did you mean 'result\.loss'"):
        found.best("result.los")


def test_a_notebook_shows_a_table_and_what_is_hidden(fit: Experiment[..., Any]) -> None:
    page = fit.observations()._repr_html_()
    assert page.count("<tr>") == 4
    assert "3 observations · hidden: 1 failed (status=None" in page
    everything = fit.observations(status=None)._repr_html_()
    assert "&lt;b&gt;2.0&lt;/b&gt; is too large" in everything
    assert "<b>2.0" not in everything
    assert "fit" in fit._repr_html_()


def test_a_list_stays_a_list(fit: Experiment[..., Any]) -> None:
    found = fit.observations()
    assert isinstance(found, list)
    assert type(found[1:]) is type(found)
    assert found[-1] == fit.load(found[-1].id)


def test_an_observation_has_four_parts_and_can_not_be_changed(fit: Experiment[..., Any]) -> None:
    found = fit.observations()[0]
    assert list(found._asdict()) == ["id", "config", "result", "metadata"]
    id, config, result, metadata = found
    assert (id, config["lr"], result["loss"], metadata["tags"]) == (found.id, 0.5, 0.5, ["test"])
    with pytest.raises(AttributeError):
        found.result = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(found)).result["loss"] == 0.5


def test_an_observation_made_by_hand_is_as_in_2x() -> None:
    made = Observation("a", {"x": 1}, 2, {})
    assert (made[0], made.config, made.status, made.error, made.duration) == (
        "a",
        {"x": 1},
        "completed",
        None,
        None,
    )
    assert made._replace(result=3).result == 3


def test_one_root_for_all_tells_experiments_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DE_ROOT", "everything")

    @experiment
    def one(x: int) -> int:
        return x

    @experiment
    def two(x: int) -> int:
        return x

    one(1), two(2)
    assert [o.result for o in one.observations(current_code_only=False)] == [1]
    assert [o.result for o in two.observations(current_code_only=False)] == [2]
    assert one.root == two.root


def test_keys_of_a_kind_of_text_make_no_damage() -> None:
    class Part(enum.StrEnum):
        LEFT = "left"

    recorded = experiment(root="kinds")(lambda parts: parts)
    for key in (Part.LEFT, np.str_("left")):
        recorded({key: 1})
    assert [o.result for o in recorded.observations()] == [{Part.LEFT: 1}, {"left": 1}]
    assert all(o.config["parts"] == o.result for o in recorded.observations())
    assert recorded.check().ok
