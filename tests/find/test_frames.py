"""A table has the columns and the types that a person expects, from an index and from a list."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from digital_experiments import (
    Backend,
    Callback,
    Observation,
    experiment,
    open_experiment,
    register_backend,
)
from digital_experiments.backends import JSONBackend
from digital_experiments.errors import UnknownColumn
from digital_experiments.ids import new_id


@dataclasses.dataclass
class Settings:
    width: int
    inner: dict[str, Any]


VALUES: dict[str, list[Any]] = {
    "floats": [0.5, math.inf, -0.0, math.nan],
    "ints": [1, -(2**63), 2**63 - 1],
    "ints and floats": [1, 2.5],
    "ints and none": [1, None],
    "huge ints": [1, 2**80],
    "ints beyond floats": [2**60 + 1, None],
    "bools": [True, False],
    "bools and none": [True, None],
    "bools and ints": [True, 1],
    "texts": ["a", "snow ☃", "", "1", "\x00"],
    "surrogates": ["a", "\ud800"],
    "texts and none": ["a", None],
    "texts and numbers": ["1", 1, 1.0],
    "bytes": [b"t", b"f", b"n", b"p", b""],
    "lists": [[1, 2], [], [[None]]],
    "tuples": [(1, 2), ()],
    "sets": [{1}, set()],
    "dicts": [{"a": 1, "b": {"c": [1]}}, {"a": 2}, {}],
    "int keys": [{1: 2}, {(1, 2): 3}],
    "tag-like": [{"$blob": "x"}, {"$pickle": 1}],
    "dotted": [{"a.b": 1, "a": {"b": 2}}],
    "times": [datetime(2026, 11, 21, 10, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)],
    "arrays": [np.arange(3), np.zeros((2, 2))],
    "objects": [Settings(3, {"deep": [1]}), range(3)],
    "lists of objects": [[range(3), 1], [Settings(1, {})]],
    "none": [None, None],
}


@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
@pytest.mark.parametrize("name", VALUES)
def test_a_table_from_the_index_is_the_table_of_the_list(name: str, backend: str) -> None:
    @experiment(backend=backend)
    def keep(value: Any) -> Any:
        return {"same": value}

    @experiment(backend=backend)
    def bare(value: Any) -> Any:
        return value

    for function in (keep, bare):
        for value in VALUES[name]:
            function(value)
        fast = function.to_dataframe()
        slow = function.observations().to_dataframe()
        pd.testing.assert_frame_equal(fast, slow, check_like=True)
        assert [repr(o.config["value"]) for o in function.observations()] == [
            repr(v) for v in VALUES[name]
        ]
        metadata = function.to_dataframe(include_metadata=True)
        listed = function.observations().to_dataframe(include_metadata=True)
        assert set(metadata.columns) == set(listed.columns)


def test_numbers_are_numbers_and_times_are_times() -> None:
    @experiment
    def fit(lr: float, epochs: int, augment: bool, name: str) -> Any:
        return {"loss": lr * epochs, "steps": epochs if epochs > 1 else None}

    for epochs in (1, 2, 3):
        fit(0.5, epochs, epochs > 1, "x")
    table = fit.to_dataframe(include_metadata=True)
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert kinds["config.lr"] == "float64"
    assert kinds["config.epochs"] == "int64"
    assert kinds["config.augment"] == "bool"
    assert kinds["config.name"] in ("str", "object")
    assert kinds["result.steps"] == "float64"
    assert kinds["metadata.timing.start"].startswith("datetime64")
    assert str(table["metadata.timing.start"].dt.tz) == "UTC"
    assert kinds["metadata.timing.duration"] == "float64"
    assert "metadata.environment.system.python_version" in table
    assert "def fit" in table["metadata.code"][0]
    assert list(fit.to_dataframe().columns) == [
        *("id", "result.loss", "result.steps"),
        *("config.lr", "config.epochs", "config.augment", "config.name"),
    ]


def test_columns_are_chosen_in_their_order() -> None:
    @experiment
    def fit(lr: float, seed: int = 0) -> Any:
        return {"loss": lr}

    fit(0.5)
    fit(0.25, 1)
    table = fit.to_dataframe(
        columns=["result.loss", "config", "status", "metadata.timing.duration"]
    )
    assert list(table.columns) == [
        *("result.loss", "config.lr", "config.seed", "status", "metadata.timing.duration")
    ]
    assert list(table["status"]) == ["completed", "completed"]
    extra = fit.to_dataframe(
        columns=["start", "duration", "experiment", "fingerprint", "tags", "note"]
    )
    assert str(extra["start"].dtype).startswith("datetime64")
    assert list(extra["experiment"]) == ["fit", "fit"]
    assert list(extra["fingerprint"]) == [fit.fingerprint] * 2
    with pytest.raises(UnknownColumn, match=r"Did you mean 'config\.lr'"):
        fit.to_dataframe(columns=["config.lrr"])
    with pytest.raises(TypeError, match="a list of names"):
        fit.to_dataframe(columns="config.lr")
    with pytest.raises(TypeError, match="a list of names"):
        fit.to_dataframe(columns=[3])  # type: ignore[list-item]
    assert list(fit.to_dataframe(normalising_sep="/")) == [
        *("id", "result/loss", "config/lr", "config/seed")
    ]


def test_nothing_recorded_is_an_empty_table() -> None:
    @experiment
    def never() -> None: ...

    assert list(never.to_dataframe().columns) == ["id"]
    assert len(never.to_dataframe(where="status == 'failed'")) == 0


def test_metrics_have_columns_of_their_names() -> None:
    class Metrics(Callback):
        def end(self, observation: Observation) -> None:
            observation.metadata["metrics"] = {"loss": {"last": 0.5, "min": 0.25, "count": 3}}

    @experiment(callbacks=[Metrics()])
    def fit(x: int) -> int:
        return x

    fit(1)
    assert list(fit.to_dataframe().columns) == ["id", "result", "config.x", "metrics.loss"]
    assert fit.observations(where="metrics.loss < 1").best("metrics.loss").config == {"x": 1}
    assert fit.to_dataframe(include_metadata=True)["metadata.metrics.loss.min"][0] == 0.25


def test_more_columns_than_a_table_can_have() -> None:
    @experiment
    def wide(n: int) -> Any:
        return {f"field {n} {i}": i for i in range(900)}

    for n in range(3):
        wide(n)
    table = wide.to_dataframe()
    assert table.shape == (3, 1 + 2700 + 1)
    assert table["result.field 2 899"].tolist()[2] == 899
    assert [o.config["n"] for o in wide.observations(where="result['field 2 899'] == 899")] == [2]
    assert [o.result["field 1 7"] for o in wide.observations(n=1)] == [7]


def test_a_backend_of_ones_own_is_listed_in_the_same_way(folder: Path) -> None:
    @register_backend("kept")
    class Kept(Backend):
        kept: dict[str, Observation] = {}  # noqa: RUF012 - shared on purpose

        def record(self, observation: Observation) -> None:
            observation.freeze_result()
            self.kept[observation.id] = observation

        def load(self, id: str) -> Observation:
            return self.kept[id]

        def all_ids(self) -> list[str]:
            return list(self.kept)

    @experiment(backend="kept")
    def square(x: int) -> int:
        return x * x

    assert [square(i) for i in range(5)] == [0, 1, 4, 9, 16]
    assert list(square.to_dataframe(where="result > 3")["config.x"]) == [2, 3, 4]
    assert square.observations(x=2)[0] is Kept.kept[square.observations(x=2)[0].id]
    del Kept.kept[square.observations()[0].id]
    assert [o.result for o in square.observations()] == [1, 4, 9, 16]
    Kept.kept["later"] = Observation(new_id(), {"x": 9}, 81, {"status": "completed"})
    with pytest.raises(TypeError, match="kept by Kept"):
        square.delete("later")


def test_a_large_table_is_the_same_when_it_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digital_experiments.store.results.LARGE", 5)

    @experiment
    def fit(x: int, name: str = "a", flag: bool = True, odd: Any = None) -> float:
        return x / 2

    for x in range(10):
        fit(x, name=f"line\n{x}", odd=x if x % 2 else "even")
    whole = fit.to_dataframe()
    for selection in ({}, {"where": "config.x > 2"}, {"newest_first": True}, {"odd": [1]}):
        first = fit.to_dataframe(**selection)
        again = fit.to_dataframe(**selection)
        pd.testing.assert_frame_equal(first, again)
        again.loc[:, "config.x"] = 0  # it may be written to
        pd.testing.assert_frame_equal(first, fit.to_dataframe(**selection))
    kept = list(Path(os.environ["DE_CACHE_DIR"]).rglob("*-table-*"))
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:-20])
    assert fit.to_dataframe(newest_first=True)["id"].tolist() == whole["id"].tolist()[::-1]
    fit(11)
    assert len(fit.to_dataframe()) == 11
    fit.annotate(fit.observations()[0].id, tags=["best"])
    assert len(fit.to_dataframe(columns=["tags"], tags="best")) == 1
    fit.delete(fit.observations()[0])
    assert fit.to_dataframe()["config.x"].tolist() == [*range(1, 10), 11]


@pytest.mark.parametrize("metadata", [False, True])
def test_whole_columns_are_the_table_that_rows_give(
    metadata: bool, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("digital_experiments.store.results.LARGE", 5)
    for number, function in enumerate(
        (
            lambda x, name="a": {"y": x / 2, "flag": x > 2},
            lambda x, sizes=(): {"y": x if x % 2 else "even", "caf\udce9": None},
            lambda x: range(x) if x % 2 else math.nan,
        )
    ):
        fit = experiment(root="mixed", name=f"fit{number}")(function)
        for x in range(4):
            fit(x)
    for x in range(4):
        experiment(root="mixed", name="fit0")(lambda x: 2**70 + x)(x)
    store = open_experiment("mixed")
    store.annotate(store.observations()[3].id, tags=["a"], note="b")
    shutil.rmtree(folder / "cache")
    asked: dict[str, Any] = {"include_metadata": metadata}
    columns = ["result", "id"]
    whole = open_experiment("mixed")
    found, few = whole.to_dataframe(**asked), whole.to_dataframe(columns=columns)
    assert whole.backend.index.has_chunks
    (index,) = (folder / "cache").rglob("*.sqlite")
    with sqlite3.connect(index) as database:
        database.execute("DELETE FROM meta WHERE key = 'packed'")
    by_rows = open_experiment("mixed")
    pd.testing.assert_frame_equal(found, by_rows.to_dataframe(**asked))
    pd.testing.assert_frame_equal(few, by_rows.to_dataframe(columns=columns))
    assert not by_rows.backend.index.has_chunks


def test_two_records_of_one_id_are_one_row(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("digital_experiments.store.results.LARGE", 5)
    fit = experiment(root="fit", name="fit")(lambda x: x)
    for x in range(6):
        fit(x)
    for record in Path("fit").glob("*.pkl"):
        other = JSONBackend(folder / "fit")
        other.record(fit.load(record.stem))
    assert open_experiment("fit").to_dataframe()["config.x"].tolist() == list(range(6))


def test_columns_may_be_named_as_the_table_names_them() -> None:
    @experiment(root="named")
    def train(lr: float) -> dict[str, float]:
        return {"loss": lr}

    train(0.5)
    for names in (["config/lr", "result/loss"], ["config.lr", "result.loss"]):
        table = train.to_dataframe(normalising_sep="/", columns=names)
        assert table.to_dict("records") == [{"config/lr": 0.5, "result/loss": 0.5}]
