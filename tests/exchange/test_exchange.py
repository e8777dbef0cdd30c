"""Runs that other systems recorded come over whole, from stores that the real packages wrote."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from digital_experiments import (
    compare,
    experiment,
    log_features,
    log_metric,
    log_param,
    log_text,
    open_experiment,
    start_run,
)
from digital_experiments.cli import main
from digital_experiments.exchange import export, import_runs

FIXTURES = Path(__file__).parent / "fixtures"
of_mlflow = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def files_of(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("place", "store", "count"),
    [
        ("erm", "my_experiment", 3),
        ("mlruns", "team_fit", 2),
        ("mlflow/mlflow.db", "team_fit", 2),
        ("wandb", "fit", 2),
    ],
)
def test_every_run_comes_over_once(place: str, store: str, count: int, folder: Path) -> None:
    before = files_of(FIXTURES)
    first = import_runs(FIXTURES / place)
    assert (len(first.new), first.known, first.problems) == (count, 0, [])
    assert f"{count} runs" in repr(first)
    content = files_of(folder / "experiments")
    again = import_runs(FIXTURES / place)
    assert (len(again.new), again.known) == (0, count)
    assert files_of(folder / "experiments") == content
    assert files_of(FIXTURES) == before
    found = open_experiment(store)
    assert found.check().ok
    assert len(found.observations(status=None)) == count
    assert compare(found.observations(status=None)).html
    shutil.rmtree("experiments")
    assert [id for _, id in import_runs(FIXTURES / place).new] == [id for _, id in first.new]


def test_a_registry_of_experiment_results_manager() -> None:
    import_runs(FIXTURES / "erm")
    one, _, wide = open_experiment("my_experiment").observations()
    assert one.id.startswith("2023-05-01_12-00-00")
    assert one.config == {"objective": "rmse", "depth": 3, "lr": 0.1}
    assert one.metrics("rmse")["value"].tolist() == [0.9]
    assert one.dicts()["importance"] == {"age": 1.5, "fare": 0.5}
    assert sorted(one.figures()) == ["ROC curve", "scatter"]
    assert (one.dir / "model.pickle").read_bytes() == b"\x00model"
    assert (one.dir / "text").read_text() == "lorem ipsum"
    assert [o.metadata["variant"] for o in (one, wide)] == ["main", "wide"]


@pytest.mark.parametrize("place", ["mlruns", "mlflow/mlflow.db"])
def test_stores_of_mlflow(place: str) -> None:
    import_runs(FIXTURES / place)
    done, failed = open_experiment("team_fit").observations(status=None)
    assert (done.status, failed.status) == ("completed", "failed")
    assert done.config == {"lr": 0.1, "optimiser": "adam", "layers": 3, "flag": True}
    loss = done.metrics("train/loss")
    assert loss["value"].tolist() == [1 / (n + 1) for n in range(5)]
    assert loss["step"].tolist() == list(range(5))
    assert math.isnan(done.metrics("odd")["value"][0])
    assert (done.dir / "notes" / "a.txt").read_text() == "hello"
    assert json.loads((done.dir / "conf.json").read_text()) == {"a": 1}
    assert done.metadata["mlflow"]["tags"]["stage"] == "dev"
    assert done.metadata["mlflow"]["name"] == "try-0"
    assert done.duration
    table = open_experiment("team_fit").to_dataframe(where="config.lr < 0.15")
    assert table["metrics.train/loss"].tolist() == [0.2]


def test_offline_runs_of_wandb() -> None:
    import_runs(FIXTURES / "wandb")
    done, failed = open_experiment("fit").observations(status=None)
    assert (done.status, failed.status) == ("completed", "failed")
    assert done.config == {"lr": 0.1, "opt": {"name": "adam"}}
    assert done.metrics("loss")["value"].tolist() == [1 / (n + 1) for n in range(5)]
    assert done.metrics("acc")["step"].tolist() == list(range(5))
    assert done.metadata["wandb"]["summary"]["best"] == 3
    assert done.metadata["wandb"]["name"] == "try-0"
    assert done.tags == ["a"]


def test_a_torn_log_of_wandb_gives_what_it_holds(folder: Path) -> None:
    (source,) = (FIXTURES / "wandb").glob("*/run-svo874kp.wandb")
    whole = source.read_bytes()
    (folder / "run").mkdir()
    for cut in range(7, len(whole), 37):
        (folder / "run" / "run-svo874kp.wandb").write_bytes(whole[:cut])
        shutil.rmtree("out", ignore_errors=True)
        assert len(import_runs(folder / "run", "out").new) == 1


def test_names_can_not_leave_the_store(folder: Path) -> None:
    shutil.copytree(FIXTURES / "erm", "erm")
    (path,) = Path("erm/my_experiment/main").glob("*_00_00/erm_metadata.json")
    facts = json.loads(path.read_text())
    facts["experiment_id"] = "../../outside"
    facts["dicts"] = {"../../../evil": {"a": 1}}
    path.write_text(json.dumps(facts))
    import_runs("erm", "inside")
    assert not list(folder.glob("*evil*")) + list(folder.parent.glob("outside*"))
    facts["artifacts"] = {
        "x": {"filename": "../../../../secret", "id": "x", "artifact_type": "png"}
    }
    path.write_text(json.dumps(facts))
    found = import_runs("erm", "other")
    assert len(found.new) == 2
    (problem,) = found.problems
    assert "points outside" in problem
    assert str(path) in problem


def _is_deleted(run: Path) -> bool:
    facts = run / "meta.yaml"
    return facts.exists() and "lifecycle_stage: deleted" in facts.read_text()


@pytest.mark.parametrize(
    ("place", "file", "content"),
    [
        ("erm", "erm_metadata.json", b"{"),
        ("erm", "erm_metadata.json", b"[]"),
        ("mlruns", "loss", b"garbage"),
        ("mlruns", "lr", b"\xff"),
        ("mlruns", "meta.yaml", b"a: ["),
        ("mlruns", "meta.yaml", b""),
    ],
)
def test_a_damaged_run_costs_no_other(place: str, file: str, content: bytes, folder: Path) -> None:
    shutil.copytree(FIXTURES / place, "copy")
    whole = len(import_runs("copy", "whole").new)
    whole_runs = (p for p in sorted((folder / "copy").glob("*/*")) if not _is_deleted(p))
    path = next(path for run in whole_runs for path in run.rglob(file))
    path.write_bytes(content)
    found = import_runs("copy", "rest")
    assert (len(found.new), len(found.problems)) == (whole - 1, 1)
    assert "copy" in found.problems[0]


def test_what_still_runs_is_brought_over_later(folder: Path) -> None:
    shutil.copytree(FIXTURES / "mlruns", "copy")
    (path,) = (
        path
        for path in (folder / "copy").glob("*/*/meta.yaml")
        if "status: 3" in path.read_text() and "lifecycle_stage: active" in path.read_text()
    )
    path.write_text(path.read_text().replace("status: 3", "status: 1"))
    (problem,) = import_runs("copy").problems
    assert "still running" in problem
    path.write_text(path.read_text().replace("status: 1", "status: 3"))
    again = import_runs("copy")
    assert (len(again.new), again.known, again.problems) == (1, 1, [])


def test_a_truncated_database_is_told(folder: Path) -> None:
    data = (FIXTURES / "mlflow" / "mlflow.db").read_bytes()
    (folder / "cut.db").write_bytes(data[:5000])
    with pytest.raises(ValueError, match="is no store of"):
        import_runs(folder / "cut.db")


def test_what_is_no_store_is_told(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        import_runs("nothing")
    with pytest.raises(ValueError, match="is no store of erm or mlflow or wandb"):
        import_runs(folder)
    with pytest.raises(ValueError, match="is no store of mlflow"):
        import_runs(FIXTURES / "erm", source="mlflow")
    with pytest.raises(ValueError, match="Did you mean 'mlflow'"):
        import_runs(FIXTURES / "erm", source="mlflo")


@pytest.fixture
def fit() -> Any:
    @experiment(root="experiments/fit")
    def fit(lr: float, data: Any = None) -> dict[str, Any]:
        log_metric("loss", 1.0)
        log_metric("loss", lr)
        log_metric("odd, name", math.nan)
        log_param("device", "cpu")
        log_features(["age", "sex"])
        log_text("note", "hello")
        if lr > 1:
            raise ValueError("diverged")
        return {"accuracy": lr, "by": [1, 2]}

    fit(0.1, np.arange(3))
    fit(0.2)
    with pytest.raises(ValueError, match="diverged"):
        fit(2)
    return fit


def test_tables_for_other_programs(fit: Any, folder: Path) -> None:
    found = fit.observations(status=None)
    assert export(found, "csv", "out/all.csv") == folder / "out" / "all.csv"
    table = pd.read_csv("out/all.csv")
    assert table["config.lr"].tolist() == [0.1, 0.2, 2]
    assert table["metadata.status"].tolist() == ["completed", "completed", "failed"]
    export(found, "json", "all.json")
    loaded = json.loads(Path("all.json").read_text(), parse_constant=pytest.fail)
    assert [o["id"] for o in loaded] == [o.id for o in found]
    assert loaded[0]["metadata"]["metrics"]["loss"]["last"] == 0.1
    with pytest.raises(ValueError, match="Did you mean 'csv'"):
        export(found, "cvs", "x")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        export(found, "csv", folder)


def test_parquet(fit: Any) -> None:
    pytest.importorskip("pyarrow", reason="parquet is written by pyarrow")
    export(fit.observations(status=None), "parquet", "all.parquet")
    assert pd.read_parquet("all.parquet")["config.lr"].tolist() == [0.1, 0.2, 2]


@of_mlflow
def test_to_mlflow_and_back(fit: Any, folder: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow takes the runs")
    found = fit.observations(status=None)
    for _ in range(2):
        uri = export(found, "mlflow", folder / "out.db")
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("fit").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    (first,) = (run.data for run in runs if run.info.run_name == found[0].id)
    assert {**first.params, "data": ""} == {"device": "cpu", "lr": "0.1", "data": ""}
    assert first.tags["features"] == "age, sex"
    assert math.isnan(first.metrics["odd_ name"])
    with pytest.raises(ValueError, match="ends in"):
        export(found, "mlflow", folder / "out")
    import_runs(folder / "out.db", folder / "back")
    back = open_experiment(folder / "back" / "fit").observations(status=None)
    losses = sorted(o.metrics("loss")["value"].tolist() for o in back)  # begun in one millisecond
    assert losses == [[1, 0.1], [1, 0.2], [1, 2]]


@of_mlflow
def test_odd_names_and_values_go_to_mlflow(folder: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow takes the runs")
    odd: dict[str, Any] = {"a?": 1, "a!": 2, "": 3, "../x": 4, "n" * 300: 5, "k": 6}
    odd["text"] = "\ud800" + "x" * 9000
    with start_run("odd", variant="main", params=odd) as run:
        run.log_param("k", 7)
        run.log_metric("loss", 1, step=2**70)
        run.log_metric("loss", 2, step=2.6)
    assert run.observation is not None
    client = mlflow.MlflowClient(export([run.observation], "mlflow", folder / "odd.db"))
    (sent,) = client.search_runs([client.get_experiment_by_name("odd").experiment_id])
    assert len(sent.data.params) == 8
    assert (sent.data.params["a_"], sent.data.params["a_ 2"]) == ("1", "2")
    assert (sent.data.params["k"], sent.data.params["logged k"]) == ("6", "7")
    assert sent.data.tags["variant"] == "main"
    steps = [metric.step for metric in client.get_metric_history(sent.info.run_id, "loss")]
    assert sorted(steps) == [3, 2**63 - 1]


@of_mlflow
def test_a_run_that_mlflow_refuses_is_told_and_not_left_half_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow takes the runs")
    with start_run("one") as run:
        run.log_metric("loss", 1)
    assert run.observation is not None
    with monkeypatch.context() as patched:
        patched.setattr("digital_experiments.exchange.leaving._name", lambda name: "no:/../name")
        with pytest.raises(ValueError, match="does not take run"):
            export([run.observation], "mlflow", folder / "m.db")
    uri = export([run.observation], "mlflow", folder / "m.db")
    client = mlflow.MlflowClient(uri)
    (sent,) = client.search_runs([client.get_experiment_by_name("one").experiment_id])
    assert sent.info.status == "FINISHED"


def test_from_a_shell(fit: Any, folder: Path) -> None:
    def run(*words: str) -> str:
        seen = CliRunner().invoke(main, words)
        assert seen.exit_code == 0, seen.output
        return seen.output

    assert "3 runs brought over" in run("import", str(FIXTURES / "erm"), "--root", "brought")
    assert "0 runs brought over" in run("import", str(FIXTURES / "erm"), "--root", "brought")
    assert "all.csv" in run("export", "fit", "--to", "csv", "-o", "all.csv", "-w", "config.lr < 1")
    assert len(pd.read_csv("all.csv")) == 2
    assert os.path.exists(run("export", "fit", "--to", "json").strip())
