"""What a run logs is kept beside it under its name, and is read back as it was."""

from __future__ import annotations

import contextvars
import json
import math
import os
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import digital_experiments as de
from digital_experiments import Observation, current_run, experiment, start_run
from digital_experiments.errors import (
    InvalidName,
    NoActiveRun,
    RecordingWarning,
    UnknownColumn,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def logged(*calls: tuple[Any, ...]) -> Observation:
    """The observation of a run that logged some things: name of the function, and arguments."""
    with start_run("logged") as run:
        for function, *arguments in calls:
            getattr(de, function)(*arguments)
    assert run.observation is not None
    return de.open_experiment("logged").load(run.id)


def test_a_series_is_read_back_and_summarised() -> None:
    @experiment
    def fit(n: int) -> None:
        for step in range(n):
            de.log_metric("train/loss", 1 / (step + 1), step=step)
            de.log_metrics({"acc": step, "lr": 0.1})

    fit(3)
    (found,) = fit.observations()
    loss = found.metrics("train/loss")
    assert loss["step"].tolist() == [0, 1, 2]
    assert loss["value"].tolist() == [1, 1 / 2, 1 / 3]
    assert str(loss["time"].dtype) == "datetime64[us, UTC]"
    assert loss["time"].is_monotonic_increasing
    everything = found.metrics()
    assert everything.columns.tolist() == ["key", "step", "value", "time"]
    assert everything["key"].tolist() == ["train/loss", "acc", "lr"] * 3
    summary = found.metadata["metrics"]
    assert summary["train/loss"] == {"last": 1 / 3, "min": 1 / 3, "max": 1, "count": 3}
    assert found.metrics("lr")["step"].tolist() == [0, 1, 2]
    table = fit.to_dataframe()
    assert table["metrics.train/loss"].tolist() == [1 / 3]
    assert fit.to_dataframe(where="metrics.acc > 1")["metrics.acc"].tolist() == [2]
    with pytest.raises(UnknownColumn, match="Did you mean 'train/loss'"):
        found.metrics("train/los")


def test_numbers_of_all_kinds_are_taken_and_odd_ones_kept() -> None:
    values = [1, True, 2.5, np.float32(0.5), np.int64(7), np.array(3.0), Decimal("0.25"), 2**70]
    odd = [math.nan, math.inf, -math.inf, 1.0]
    found = logged(
        *(("log_metric", "plain", value) for value in values),
        *(("log_metric", "odd", value) for value in odd),
        ("log_metric", "step", 1, 0.5),
        ("log_metric", "step", 1, np.int64(3)),
    )
    assert found.metrics("plain")["value"].tolist() == [1, 1, 2.5, 0.5, 7, 3, 0.25, float(2**70)]
    assert found.metrics("odd")["value"].tolist()[1:] == odd[1:]
    assert math.isnan(found.metrics("odd")["value"][0])
    assert found.metadata["metrics"]["odd"] == {
        "last": 1.0,
        "min": -math.inf,
        "max": math.inf,
        "count": 4,
    }
    assert found.metrics("step")["step"].tolist() == [0.5, 3]
    assert logged(("log_metric", "n", math.nan)).metadata["metrics"]["n"]["min"] is None
    assert logged(("log_text", "a", "b")).metrics().empty


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (("log_metric", "loss", "0.1"), TypeError, "must be a number, not str"),
        (("log_metric", "loss", None), TypeError, "must be a number"),
        (("log_metric", "loss", [1.0]), TypeError, "must be a number"),
        (("log_metric", "loss", 1 + 2j), TypeError, "must be a number"),
        (("log_metric", "loss", 1.0, "one"), TypeError, "step"),
        (("log_metric", "loss", 1.0, math.nan), ValueError, "finite"),
        (("log_metric", "loss", 10**400), OverflowError, "less than"),
        (("log_metric", "caf\udce9", 1.0), InvalidName, "no character"),
        (("log_param", "caf\udce9", 1), InvalidName, "no character"),
        (("log_features", None), TypeError, "expects names"),
        (("log_metric", "", 1.0), InvalidName, "empty"),
        (("log_metric", "../loss", 1.0), InvalidName, "starts with a dot"),
        (("log_metric", 3, 1.0), InvalidName, "expected a str"),
        (("log_metrics", ["loss"]), TypeError, "a dict of names and values"),
        (("log_param", "a//b", 1), InvalidName, "Of its parts"),
        (("log_features", [1]), TypeError, "expects names"),
        (("log_dict", "name", [1]), TypeError, "a name and a dict"),
        (("log_text", "name", 5), TypeError, "not int"),
        (("log_text", "/etc/passwd", "x"), InvalidName, "empty"),
        (("log_text", "a/../../b", "x"), InvalidName, "'..'"),
        (("log_text", "a\x00b", "x"), InvalidName, "no character"),
        (("log_image", "name", b"no image"), ValueError, "these bytes are none"),
        (("log_image", "name", "missing.png"), FileNotFoundError, "missing.png"),
        (("log_image", "name", 5), TypeError, "not int"),
        (("log_image", "name", np.zeros((2, 2, 7))), ValueError, "shape"),
        (("log_image", "name", np.full((2, 2), 3.0)), ValueError, "from 0 to 1"),
        (("log_figure", "name", "figure"), TypeError, "a figure or axes"),
        (("log_figure", object(), "name"), TypeError, "name first"),
        (("log_table", "name", 5), TypeError, "a list of dicts"),
        (("log_artefact", "missing"), FileNotFoundError, "missing"),
        (("log_artefact", b"data"), TypeError, "a name for bytes"),
        (("log_artefact", None), TypeError, "the path of a file"),
        (("log_image", np.zeros((2, 2)), "name"), InvalidName, "expected a str"),
        (("log_artefact", b"data", "metrics.jsonl"), ValueError, "series"),
        (("log_artefact", b"data", "metrics.jsonl/x"), ValueError, "series"),
        (("log_image", "name", PIL.Image.new("F", (2, 2))), ValueError, "of mode 'F'"),
        (("log_artefact", "."), ValueError, "the run's own folder"),
    ],
)
def test_what_is_wrong_is_told_where_it_is_logged(
    call: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        logged(call)
    assert de.open_experiment("logged").observations(status="failed")


def test_outside_of_a_run_and_after_it_nothing_can_be_logged() -> None:
    for function in ("log_metric", "log_text", "log_param"):
        with pytest.raises(NoActiveRun, match="No run is in flight"):
            getattr(de, function)("a", 1)
    run = start_run("later")
    with pytest.raises(NoActiveRun, match="has not begun"):
        run.log_metric("a", 1)
    with run:
        run.log_metric("a", 1)
    for log in (run.log_metric, run.log_text, run.log_param, run.log_dict):
        with pytest.raises(NoActiveRun, match="has ended"):
            log("a", 2)


def test_params_features_dicts_and_texts() -> None:
    found = logged(
        ("log_param", "device", "cpu"),
        ("log_params", {"device": "gpu", "sizes": (1, 2)}),
        ("log_features", ["age", "sex"]),
        ("log_features", ["sex", "fare"]),
        ("log_dict", "matrix", {"tp": 1, "by": {"a": np.arange(2)}}),
        ("log_dict", "matrix", {"fp": math.inf, 3: Path("x")}),
        ("log_text", "notes/first", "grüße \ud800"),
        ("log_text", "raw", b"\xff!"),
    )
    assert found.params == {"device": "gpu", "sizes": (1, 2)}
    assert found.features == ["age", "sex", "fare"]
    matrix = {"tp": 1, "by": {"a": [0, 1]}, "fp": math.inf, "3": "x"}
    assert found.dicts()["matrix"] == matrix
    assert dict(found.texts()) == {"notes/first": "grüße \\ud800", "raw": "\\xff!"}
    with pytest.raises(UnknownColumn, match="Did you mean 'raw'"):
        found.texts()["rawe"]
    assert "raw" in repr(found.texts())


def test_tables_come_back_with_their_types() -> None:
    days = pd.to_datetime(["2026-01-01 00:00", "2026-01-02 03:04"])
    table = pd.DataFrame(
        {
            "n": [1, 2],
            "x": [0.1, None],
            "name": ["NA", "b,\n"],
            "ok": [True, False],
            "id": ["007", "08"],
            "day": days,
            "utc": days.tz_localize("UTC"),
            "took": pd.to_timedelta([1, 2], unit="h"),
        }
    )
    tables = {
        "frame": table,
        "named index": table.set_index("id"),
        "two indices": table.set_index(["id", "n"]),
        "unnamed index": table[["x"]].set_axis(["r1", "02"], axis=0),
        "times": table.set_index("day"),
        "numbered columns": pd.DataFrame([[1, "02"]]),
        "one name": pd.DataFrame([[1, "02"]], columns=["a", "a"]),
        "two levels": pd.DataFrame(
            [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
        ),
        "empty": pd.DataFrame(),
        "no rows": pd.DataFrame({"a": []}),
    }
    calls = [("log_table", name, frame) for name, frame in tables.items()]
    found = logged(*calls, ("log_table", "rows", [{"a": 1}, {"a": 2, "b": 3}])).tables()
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(found[name], frame, check_dtype=False)
    assert found["rows"]["b"].tolist()[1] == 3


def test_a_table_that_was_altered_is_read_as_it_is() -> None:
    found = logged(("log_table", "t", [{"id": "007"}]))
    path = found.dir / "tables" / "t.csv"
    path.write_text("id,n\n1,2\n")
    assert found.tables()["t"].to_dict("list") == {"id": [1], "n": [2]}
    path.write_text("id\n007\n")
    (path.parent / "t.csv.schema.json").write_text("{")
    assert found.tables()["t"]["id"].tolist() == [7]
    (path.parent / "t.csv.schema.json").write_text('{"index": 0, "columns": [{"kind": "integer"}]}')
    assert found.tables()["t"]["id"].tolist() == [7]


def test_images_and_figures_of_every_kind(tmp_path: Path) -> None:
    from matplotlib.figure import Figure
    from PIL import Image

    (tmp_path / "in.jpg").write_bytes(b"\xff\xd8\xff" + bytes(9))
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2])
    found = logged(
        ("log_image", "bytes", PNG),
        ("log_image", "path", tmp_path / "in.jpg"),
        ("log_image", "vector", b"<?xml version='1.0'?><svg/>"),
        ("log_image", "pil.png", Image.new("RGB", (3, 2))),
        ("log_image", "grey", np.linspace(0, 1, 6).reshape(2, 3)),
        ("log_image", "colours", np.zeros((2, 3, 3), dtype=np.uint8)),
        ("log_figure", "plots/curve", figure),
        ("log_figure", "axes", axes),
    )
    names = {name: path.suffix for name, path in found.images().items()}
    assert names == {
        "bytes": ".png",
        "colours": ".png",
        "grey": ".png",
        "path": ".jpg",
        "pil": ".png",
        "vector": ".svg",
    }
    assert np.asarray(Image.open(found.images()["grey"])).tolist() == [
        [0, 51, 102],
        [153, 204, 255],
    ]
    figures = found.figures()
    assert {name: [p.suffix for p in paths] for name, paths in figures.items()} == {
        "axes": [".png", ".svg"],
        "plots/curve": [".png", ".svg"],
    }
    assert figures["axes"][0].read_bytes()[:4] == PNG[:4]


def test_figures_of_plotly_are_kept_as_json() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    found = logged(("log_figure", "dots", graph_objects.Figure(data=[{"y": [1, 2]}])))
    (path,) = found.figures()["dots"]
    assert json.loads(path.read_text())["data"][0]["y"] == [1, 2]


def test_artefacts_are_copied(tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_bytes(b"12")
    (tmp_path / "notes.txt").write_text("a")

    @experiment(root=tmp_path / "runs")
    def fit() -> None:
        de.log_artefact(tmp_path / "model")
        de.log_artifact(tmp_path / "notes.txt", "texts/renamed.txt")
        de.log_artefact(b"42", "answer")
        (de.current_dir() / "own").write_text("o")
        de.log_artefact(de.current_dir() / "own")

    fit()
    (found,) = fit.observations()
    assert [path.name for path in found.artefacts()] == ["answer", "model", "own", "texts"]
    assert (found.dir / "model" / "deep" / "weights").read_bytes() == b"12"
    assert found.texts()["renamed"] == "a"  # files are found by their places


def test_threads_and_nested_runs_log_to_their_own_run() -> None:
    @experiment
    def inner(x: int) -> None:
        de.log_metric("x", x)

    @experiment
    def outer() -> None:
        def work(n: int) -> None:
            for _ in range(5000):
                de.log_metric("thread", n)

        threads = []
        for n in range(4):
            context = contextvars.copy_context()
            threads.append(threading.Thread(target=context.run, args=(work, n)))
        for thread in threads:
            thread.start()
        inner(3)
        for thread in threads:
            thread.join()
        de.log_metric("x", 9)

    outer()
    (found,) = outer.observations()
    points = found.metrics("thread")
    assert sorted(points["step"]) == list(range(20_000))
    assert all(Path(found.series_path()).read_bytes().splitlines())
    assert points["value"].value_counts().tolist() == [5000] * 4
    assert found.metadata["metrics"]["thread"]["count"] == 20_000
    assert found.metrics("x")["value"].tolist() == [9]
    assert inner.observations()[0].metrics("x")["value"].tolist() == [3]


def test_callbacks_see_the_metrics_and_may_log_too() -> None:
    seen = []

    class Watcher(de.Callback):
        def end(self, observation: Observation) -> None:
            seen.append(observation.metadata["metrics"]["a"]["last"])
            current_run().log_metric("b", 2)

    @experiment(callbacks=[Watcher()])
    def fit() -> None:
        de.log_metric("a", 1)

    fit()
    assert seen == [1]
    assert fit.observations()[0].metrics("b")["value"].tolist() == [2]
    assert fit.to_dataframe()["metrics.b"].tolist() == [2]


def test_what_the_store_does_not_take_is_kept_elsewhere_and_told(folder: Path) -> None:
    @experiment(root=folder / "store")
    def fit() -> None:
        de.log_metric("a", 1)
        (folder / "store" / "storage").mkdir(parents=True)
        place = de.current_dir()
        place.rmdir()
        place.write_text("a file where the folder was")
        de.log_text("note", "kept")

    with pytest.warns(RecordingWarning, match="go to .*rescue"):
        fit()
    (found,) = fit.observations()
    rescued = list((folder / "tmp").rglob("note.txt"))
    assert [path.read_text() for path in rescued] == ["kept"]
    assert list((folder / "tmp").rglob("metrics.jsonl"))
    assert found.metadata["metrics"]["a"]["count"] == 1


def test_a_torn_line_costs_one_point(folder: Path) -> None:
    found = logged(*(("log_metric", "a", n) for n in range(5)))
    path = found.dir / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        kept = 5 if cut == 1 else 4
        assert found.metrics("a")["value"].tolist() == list(range(kept))
    path.write_bytes(whole.replace(b'["a",2', b'["a",#'))
    assert found.metrics("a")["value"].tolist() == [0, 1, 3, 4]
    path.unlink()
    assert found.metrics().empty


def test_names_that_look_like_json_do_not_break_lines() -> None:
    name = 'a],["b\\'
    found = logged(("log_metric", name.rstrip("\\"), 1), ("log_metric", 'x"', 2))
    assert found.metrics()["key"].tolist() == ['a],["b', 'x"']


def test_params_of_any_value_are_kept_as_they_were() -> None:
    sizes = [1, 2]
    with start_run("logged") as run:
        run.log_param("array", np.arange(20_000))
        run.log_param("sizes", sizes)
        sizes.append(3)
    assert run.observation is not None
    for found in (run.observation, de.open_experiment("logged").load(run.id)):
        assert np.array_equal(found.params["array"], np.arange(20_000))
        assert found.params["sizes"] == [1, 2]


def test_a_run_is_used_once() -> None:
    run = start_run("once")
    with run:
        pass
    with pytest.raises(RuntimeError, match="has been used already"), run:
        pass


def test_a_key_that_is_no_text_is_told() -> None:
    with pytest.raises(InvalidName, match="expected a str, got list"):
        logged(("log_metric", ["loss"], 1.0))


def test_empty_and_altered_files_are_read_as_far_as_can_be() -> None:
    found = logged(("log_table", "none", pd.DataFrame()), ("log_dict", "d", {"a": 1}))
    assert found.tables()["none"].empty
    (found.dir / "dicts" / "d.json").write_text("{")
    (found.dir / "images").mkdir()
    (found.dir / "images" / "gone.png").symlink_to("nowhere")
    (found.dir / "tables" / "bad.csv").write_bytes(b'a,b\n1,"2\n\xff')
    assert "can&#39;t be read" in de.compare(found).html
    assert found._repr_html_()


def test_a_series_that_its_disk_does_not_take_goes_on_elsewhere_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.write, [300_000]

    def write(descriptor: int, data: bytes) -> int:
        """A disk that is full after 300,000 bytes; the temporary folder is on another."""
        if "tmp" in os.readlink(f"/proc/self/fd/{descriptor}").split(str(folder))[-1][:5]:
            return real(descriptor, data)
        if not left[0]:
            raise OSError(28, "No space left on device")
        written = real(descriptor, bytes(data)[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    run = start_run("full", root="full")

    def fill() -> None:
        with run:
            for step in range(20_000):
                run.log_metric("a", step)

    with pytest.warns(RecordingWarning, match="series"):
        fill()
    monkeypatch.undo()
    assert run.observation is not None
    assert run.observation.metadata["metrics"]["a"]["count"] == 20_000
    (kept,) = (folder / "tmp").glob("*/full/storage/*/metrics.jsonl")
    assert [json.loads(line)[2] for line in kept.read_text().splitlines()] == list(range(20_000))


@pytest.mark.parametrize(
    "line",
    [
        *('{"x": 1}', '"text"', '"four"', "null", "[1, 2, 3, 4]", '["a", null, 1, 1]'),
        *('["a", 1, "x", 1]', '["a", "1", 1, 1]', '["a", 1, 1, "now"]', '[["a"], 1, 1, 1]'),
        '{"a": 1, "b": 2, "c": 3, "d": 4}',
    ],
)
def test_a_line_that_is_no_point_costs_no_other(line: str) -> None:
    found = logged(("log_metric", "loss", 1.0), ("log_metric", "loss", 2.0))
    path = found.dir / "metrics.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{second}\n")
    assert found.metrics("loss")["value"].tolist() == [1, 2]
    assert [point[2] for point in found.points()] == [1, 2]
    assert len(found.metrics()) >= 2
    assert "loss" in de.compare(found).html
    assert "loss" in found._repr_html_()


def test_threads_that_note_at_once_lose_nothing() -> None:
    def note(run: de.Run, number: int) -> None:
        for n in range(50):
            run.log_param(f"{number}.{n}", n)
            run.log_features([f"{number}.{n}"])
            run.log_dict("all", {f"{number}.{n}": n})

    with start_run("logged") as run:
        threads = [threading.Thread(target=note, args=(run, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert run.observation is not None
    assert len(run.observation.params) == len(run.observation.features) == 400
    assert len(run.observation.dicts()["all"]) == 400


def test_a_picture_logged_again_replaces_its_files() -> None:
    import matplotlib.figure
    import plotly.graph_objects

    grey = np.zeros((2, 2))
    found = logged(
        ("log_image", "shot", b"GIF89a" + bytes(9)),
        ("log_image", "shot", grey),
        ("log_figure", "roc", plotly.graph_objects.Figure()),
        ("log_figure", "roc", matplotlib.figure.Figure()),
    )
    assert found.images()["shot"].name == "shot.png"
    assert [path.name for path in found.figures()["roc"]] == ["roc.png", "roc.svg"]
    assert not list(found.dir.rglob("*.gif"))


def test_images_in_colours_for_print_are_taken() -> None:
    found = logged(("log_image", "print", PIL.Image.new("CMYK", (2, 2))))
    with PIL.Image.open(found.images()["print"]) as image:
        assert image.mode == "RGB"


def test_a_dict_that_holds_itself_is_told() -> None:
    data: dict[str, Any] = {}
    data["again"] = data
    with pytest.raises(ValueError, match="hold itself"):
        logged(("log_dict", "name", data))


def test_ends_of_lines_stay_as_they_are() -> None:
    assert logged(("log_text", "a", "1\r\n2\r3\n")).texts()["a"] == "1\r\n2\r3\n"


def test_any_whole_number_is_a_step() -> None:
    found = logged(("log_metric", "loss", 1, 2**70), ("log_metric", "loss", 1, -(2**63)))
    assert found.metrics("loss")["step"].tolist() == [2.0**70, -(2.0**63)]


def test_what_goes_wrong_with_the_log_does_not_cost_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(points: Any) -> bytes:
        raise MemoryError("no room")

    def fit() -> int:
        de.log_metric("loss", 1)
        time.sleep(1.2)  # the thread that writes meets it too
        return 5

    with monkeypatch.context() as patched:
        patched.setattr("digital_experiments.series.lines_of", fail)
        with pytest.warns(RecordingWarning, match="no room"):
            experiment(name="logged")(fit)()
    assert de.open_experiment("logged").observations()[0].result == 5
    with start_run("logged") as later:
        later.log_metric("loss", 1)
        wait_for_points(later)


def wait_for_points(run: de.Run) -> None:
    end = time.time() + 20
    while not (run.dir / "metrics.jsonl").exists():
        assert time.time() < end, "nobody writes out what runs log"
        time.sleep(0.05)


def test_a_metric_of_any_name_is_found_beside_others() -> None:
    one = logged(("log_metric", "$/kWh", 3), ("log_metric", "nan", math.nan))
    two = logged(("log_metric", "$/kWh", 4), ("log_metric", "nan", math.nan))
    found = de.open_experiment("logged")
    assert found.to_dataframe()["metrics.$/kWh"].tolist() == [3, 4]
    assert found.observations().best("metrics.$/kWh").id == two.id
    assert de.diff(one, two).metrics == {"$/kWh": (3, 4)}


def test_tables_of_pivots_slices_and_rough_texts_come_back() -> None:
    frame = pd.DataFrame({"k": ["a", "a", "b"], "year": [2024, 2025, 2024], "v": [1.0, 2.0, 3.0]})
    tables = {
        "pivot": frame.pivot_table(index="k", columns="year", values=["v"]),
        "slice": frame.tail(2),
        "texts": pd.DataFrame({"log": ["ok", "50%\r100%", "\r", 'say "a",\nb'], "n": range(4)}),
        "whole": pd.DataFrame({"n": pd.array([2**53 + 1, None], dtype="Int64")}),
    }
    found = logged(*(("log_table", name, table) for name, table in tables.items())).tables()
    for name, table in tables.items():
        pd.testing.assert_frame_equal(found[name], table, check_dtype=name == "whole")


def test_a_signal_may_log_while_its_thread_does() -> None:
    code = (
        "import signal, sys\n"
        "from digital_experiments import experiment, log_metric, log_param\n"
        "@experiment\n"
        "def fit():\n"
        "    def asked(*_):\n"
        "        log_metric('asked', 1)\n"
        "        log_param('asked', True)\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0.002)\n"
        "    signal.signal(signal.SIGALRM, asked)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "    for i in range(300_000):\n"
        "        log_metric('loss', 1.0, step=i)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "log_metric.__module__, __import__('orjson')\n"
        "fit()\n"
        "found = fit.observations()[0]\n"
        "assert found.metrics('loss')['step'].tolist() == list(range(300_000))\n"
        "assert len(found.metrics('asked')) > 3, len(found.metrics('asked'))\n"
        "assert found.params == {'asked': True}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_dict_that_is_refused_does_not_spoil_its_name() -> None:
    with start_run("logged") as run:
        with pytest.raises(ValueError, match="digits"):
            run.log_dict("d", {"n": 10**5000})
        run.log_dict("d", {"b": 2})
    assert run.observation is not None
    assert run.observation.dicts()["d"] == {"b": 2}


def test_an_image_may_be_named_with_its_ending() -> None:
    found = logged(("log_image", "shot.png", np.zeros((2, 2))), ("log_image", "x.jpg", PNG))
    assert sorted(found.images()) == ["shot", "x"]
    assert found.images()["shot.png"] == found.images()["shot"]
    assert found.images()["x"].name == "x.png"
    with pytest.raises(UnknownColumn, match="Did you mean 'shot'"):
        found.images()["shop"]


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("it says nothing")


def test_values_that_can_not_even_be_shown_are_told_or_kept() -> None:
    with pytest.raises(TypeError, match="must be a number, not Mute"):
        logged(("log_metric", "loss", Mute()))
    found = logged(("log_dict", "d", {"mute": Mute()}), ("log_metric", "loss", 1))
    assert "Mute" in found.dicts()["d"]["mute"]
    for wrong in (5, ["loss"]):
        with pytest.raises(TypeError, match="the name of one series"):
            found.metrics(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a list of callbacks"):
        start_run("x", callbacks=5)  # type: ignore[arg-type]
