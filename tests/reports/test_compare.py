"""Runs side by side: what differs stands out, nothing of the user's runs, no network is asked."""

from __future__ import annotations

import html.parser
import math
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import digital_experiments as de
from digital_experiments import Experiment, Observation, compare, diff, experiment, start_run
from digital_experiments.facts import rows_of

EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture
def fit() -> Experiment[..., Any]:
    @experiment
    def fit(lr: float, name: str = "adam", size: int = 3) -> dict[str, float]:
        for step in range(50):
            de.log_metric("train/loss", math.exp(-lr * step), step=step)
        de.log_metric("accuracy", lr)
        de.log_param("device", "cpu")
        de.log_features(["age", *(["sex"] if lr > 0.5 else [])])
        de.log_dict("matrix", {"tp": lr, "fp": 1})
        de.log_text("summary", f"it converged at {lr}")
        de.log_table("errors", [{"case": 1, "error": lr}])
        de.log_image("weights", np.full((4, 4), 0.5))
        return {"loss": 1 - lr, "steps": 50}

    fit(0.1)
    fit(0.9)
    return fit


class Tags(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def row_of(page: str, name: str) -> str:
    found = re.search(
        rf'<tr class="([^"]*)"><th class="name">{re.escape(name)}</th>(.*?)</tr>', page, re.S
    )
    assert found, name
    return found[1] + found[2]


def test_what_differs_is_shown_and_what_is_equal_is_folded(fit: Experiment[..., Any]) -> None:
    page = compare(fit.observations()).html
    assert row_of(page, "lr").startswith("<td") or not row_of(page, "lr").startswith("same")
    for name in ("name", "size", "steps", "device", "age", "matrix.fp", "weights"):
        assert row_of(page, name).startswith("same"), name
    for name in ("lr", "loss", "accuracy", "matrix.tp", "sex", "errors", "summary", "train/loss"):
        assert not row_of(page, name).startswith("same"), name
    assert "0.9" in row_of(page, "lr")
    assert "it converged at 0.9" in row_of(page, "summary")
    assert page.count("<svg") == 1  # the series; accuracy is one point
    for observation in fit.observations():
        assert observation.id[-6:] in page


def test_the_best_metric_is_marked(fit: Experiment[..., Any]) -> None:
    page = compare(fit.observations()).html
    assert re.search(r'class="best">0.9<', row_of(page, "accuracy"))
    assert row_of(page, "train/loss").count("best") == 1
    best = {"accuracy": "min"}
    page = compare(fit.observations(), best=best).html
    assert re.search(r'class="best">0.1<', row_of(page, "accuracy"))


def test_one_run_is_shown_whole(fit: Experiment[..., Any]) -> None:
    page = compare(fit.observations()[0]).html
    assert page.count('type="checkbox"') == 2  # packages and system are folded
    assert not row_of(page, "name").startswith("same")
    assert "def fit(" in page


def test_code_is_laid_side_by_side(folder: Path) -> None:
    with start_run("r", root="r") as one:
        pass
    with start_run("r", root="r") as other:
        pass
    assert one.observation
    assert other.observation
    changed = other.observation._replace(
        metadata={**other.observation.metadata, "code": "def f(x):\n    return x + 1\n"}
    )
    plain = one.observation._replace(
        metadata={**one.observation.metadata, "code": "def f(x):\n    return x\n"}
    )
    page = compare(plain, changed).html
    assert "<ins> + 1</ins>" in page
    assert "+    return x + 1" in diff(plain, changed).code


def test_every_text_is_escaped(folder: Path) -> None:
    with suppress(ValueError), start_run("x", params={EVIL: EVIL}) as run:
        run.log_metric("a<b", 1)
        run.log_metric("a<b", 2)
        run.log_param("p", EVIL)
        run.log_features([EVIL])
        run.log_text("<b>t", EVIL)
        run.log_dict("d", {EVIL: EVIL})
        run.log_table("t", [{EVIL: EVIL}])
        run.log_image("i", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
        (run.dir / "figures").mkdir()
        (run.dir / "figures" / "f.plotly.json").write_text('{"data": "</script><img src=x>"}')
        (run.dir / "figures" / "g.plotly.json").write_text("</script><img src=x>")
        raise ValueError(EVIL)
    (found,) = de.open_experiment("x").observations(status=None)
    found = de.open_experiment("x").load(found.id)
    report = compare(found, found, title=EVIL)
    for page in (
        report.html,
        report._repr_html_(),
        diff(found, found._replace(config={}))._repr_html_(),
    ):
        tags = Tags(page).found
        assert not [a for _, a in tags if any(name.startswith("on") for name in a)]
        assert not [a for tag, a in tags if tag == "img" and not str(a["src"]).startswith("data:")]
        assert "<script>document" not in page


def test_a_missing_field_damage_and_an_empty_run_are_told_apart(fit: Experiment[..., Any]) -> None:
    one, other = fit.observations()
    with start_run("empty") as run:
        pass
    assert run.observation
    page = compare(one, other, run.observation).html
    assert row_of(page, "lr").count("—") == 1
    shutil.rmtree("experiments/fit/blobs")
    page = compare(de.open_experiment("fit").observations()).html
    assert "0.9" in row_of(page, "lr")


def test_wrong_arguments_are_told(fit: Experiment[..., Any]) -> None:
    with pytest.raises(TypeError, match="expects observations"):
        compare("2026")
    with pytest.raises(TypeError, match="expects observations"):
        compare([1])
    with pytest.raises(ValueError, match="at least one"):
        compare(fit.observations(lr=3))
    with pytest.raises(ValueError, match="'min' or 'max'"):
        compare(fit.observations(), best={"loss": "low"})
    with pytest.raises(TypeError, match="best must be a dict"):
        compare(fit.observations(), best=["loss"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="plot expects names"):
        fit.observations().plot(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two observations"):
        diff(fit.observations()[0], 5)  # type: ignore[arg-type]


def test_a_page_is_not_saved_over_a_folder(fit: Experiment[..., Any], folder: Path) -> None:
    found = fit.observations()
    for shown in (compare(found), found.plot("config.lr", "result.loss")):
        (folder / "page.html").mkdir(exist_ok=True)
        with pytest.raises(IsADirectoryError, match="name a file in it"):
            shown.save(folder / "page.html")


def test_a_report_is_saved_and_shows_itself(fit: Experiment[..., Any], folder: Path) -> None:
    report = compare(fit.observations())
    assert report.save("new/report.html") == folder / "new" / "report.html"
    assert (folder / "new" / "report.html").read_text() == report.html
    assert report._repr_html_().startswith("<iframe srcdoc=")
    assert "report.html" in repr(report)


class Plain:
    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1, 2]), np.array([1, 3])),
        ({"w": np.zeros(3)}, {"w": np.ones(3)}),
        ([np.zeros(20_000)], [np.ones(20_000)]),
        ({"view": {"a": np.zeros(3)}}, {"view": {"a": np.ones(3)}}),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
        (Plain(1), Plain(2)),
        (0.1 + 0.2, 0.3),
        ("a" * 500 + "b", "a" * 500 + "c"),
    ],
)
def test_values_that_only_look_equal_differ(one: Any, other: Any) -> None:
    same = experiment(name="same")(lambda value: value)
    for value in (one, other, one):
        same(value)
    first, second, third = same.observations()
    found = diff(first, second)
    assert found.config
    assert found.result
    assert not diff(first, third)
    before, after = repr(found).split("value")[1].split("\n")[0].split(" → ")
    assert before.strip() != after.strip()


def test_what_was_logged_differs_too() -> None:
    def logged(number: int, variant: str = "main") -> Any:
        with start_run("logged", variant=variant) as run:
            run.log_text("told", f"text {number}")
            run.log_metric("loss", number)
            run.log_metric("loss", 5)
        return run.observation

    found = diff(logged(1), logged(2))
    assert list(found.files) == ["texts/told.txt"]
    assert found.metrics["loss"][0]["min"] == 1
    assert not diff(logged(1), logged(1))
    assert diff(logged(1), logged(1, "wide")).outcome == {"variant": ("main", "wide")}


def test_the_observation_of_a_run_can_be_pickled() -> None:
    with start_run("logged", params={"x": 1}) as run:
        run.result = np.arange(3)
    again = pickle.loads(pickle.dumps(run.observation))
    assert again.config == {"x": 1}
    assert again.result.tolist() == [0, 1, 2]
    assert again.metadata["environment"]["system"]["platform"]


EXTREME = [
    *([0, 5e-324], [1e308, -1e308], [0, 1.7e308], [5e-324, 1.79e308], [1e-20, 2e-20]),
    *([1, 1 + 1e-16], [0], [math.nan], [math.inf, -math.inf], [1e-320, 1e-310]),
]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", EXTREME)
def test_the_most_extreme_numbers_are_drawn(values: list[float], log: bool) -> None:
    with start_run("extreme", params={"v": 10**400, "w": values[0]}) as run:
        for value in values:
            run.log_metric("loss", value)
        run.result = values[-1]
    assert run.observation is not None
    runs = de.open_experiment("extreme").observations()
    for svg in (
        runs.plot("loss", log=log).svg,
        runs.plot("config.v", "result", log=log).svg,
        runs.plot("config.v", "config.w", "result").svg,
        compare(runs).html,
        run.observation._repr_html_(),
    ):
        assert not re.search(r'd="[^"]*(inf|nan)', svg)
        assert not re.search(r'c[xy]="(inf|nan)', svg)


def test_a_difference_is_an_object_and_a_text(fit: Experiment[..., Any]) -> None:
    one, other = fit.observations()
    found = diff(one, other)
    assert found
    assert found.config == {"lr": (0.1, 0.9)}
    assert found.result["loss"] == (0.9, pytest.approx(0.1))
    assert found.features["sex"][1] == "✓"
    assert found.packages == {}
    assert found.code == ""
    assert "0.1 → 0.9" in repr(found)
    assert not diff(one, one)
    assert "the same config" in repr(diff(one, one))
    with pytest.raises(AttributeError):
        found.nothing


def test_equal_is_what_python_and_a_person_call_equal() -> None:
    facts: list[Any] = [{"config": {"a": 1, "b": 1, "c": [1, 2]}}]
    facts.append({"config": {"a": 1.0, "b": True, "c": [1, 2]}})
    assert [row.same for row in rows_of(facts, "config")] == [True, False, True]


@pytest.fixture
def chromium() -> str:
    found = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if found is None:
        if os.environ.get("DE_CI"):
            pytest.fail("CI needs a browser: apt-get install chromium")
        pytest.skip("Chromium is not installed")
    return found


def test_the_page_opens_without_errors_and_asks_no_network(
    fit: Experiment[..., Any], chromium: str, folder: Path
) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    with start_run("fit", params={"lr": EVIL}) as run:
        run.log_figure("dots", graph_objects.Figure(data=[{"y": [1, 3, 2]}]))
        run.log_text("evil", EVIL)
    observations = de.open_experiment("fit").observations()
    path = compare(observations, title="calm").save("report.html")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"]
    words += ["--disable-background-networking", "--enable-logging=stderr", "--v=0", "--dump-dom"]
    words += [f"--log-net-log={folder}/net.json", f"--user-data-dir={folder}/profile"]
    seen = subprocess.run(
        [chromium, *words, path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    assert "CONSOLE" not in seen.stderr, seen.stderr
    assert "<title>calm</title>" in seen.stdout
    assert 'class="main-svg"' in seen.stdout  # the figure was drawn
    asked = set(_requests((folder / "net.json").read_text()))
    own = ("google", "gvt1.com")  # what the browser asks for itself
    assert not [u for u in asked if u.startswith("http") and not any(o in u for o in own)], asked
    for _, attributes in Tags(path.read_text()).found:
        for name in ("src", "href"):
            assert str(attributes.get(name, "data:")).startswith("data:")


def _requests(log: str) -> Iterator[str]:
    yield from re.findall(r'"url":"([^"]+)"', log)


def test_charts_of_every_shape_are_sound_svg() -> None:
    from xml.etree.ElementTree import fromstring

    from digital_experiments.charts import Line, lines, parallel, points

    nan, inf = math.nan, math.inf
    shapes: list[list[float]] = [
        [],
        [1.0],
        [2.0, 2.0],
        [nan],
        [1, nan, 3],
        [inf, 1, -inf],
        [1e-9, 1e9],
    ]
    for y in shapes:
        for log in (False, True):
            line = Line("a & b", "#000", list(range(len(y))), y)
            fromstring(lines([line], "x < y", "y", log=log, legend=True))
        fromstring(points(y, y, ["<p>"] * len(y), "x", "y"))
        fromstring(parallel([("a", y), ("b", ["t"] * len(y))], ["l"] * len(y)))
    many = np.random.default_rng(1).random(100_000)
    many[50_000] = 7
    drawn = lines([Line("a", "#000", np.arange(100_000), many)], "", "")
    assert len(drawn) < 30_000
    assert "M" in drawn


def test_observations_of_any_kind_are_compared() -> None:
    made = [Observation(str(n), {"x": n}, {"loss": n}, {}) for n in range(20)]
    page = compare(made).html
    assert page.count('class="dot"') >= 20


def test_plots_of_series_columns_and_all(fit: Experiment[..., Any], folder: Path) -> None:
    from digital_experiments.errors import UnknownColumn

    found = fit.observations()
    series = found.plot("train/loss")
    assert series.svg.count('class="line"') == 2
    assert "lr=0.1 (" in series.svg
    assert series._repr_html_() == series.svg
    assert fit.plot("train/loss", log=True).svg != series.svg
    assert fit.plot("config.lr", "result.loss").svg.count("<circle") == 2
    assert repr(fit.plot()) == "Chart of result.loss over config.lr of 2 observations"
    assert "config.size" in repr(fit.plot("config.lr", "config.size", "metrics.accuracy"))
    assert series.save("chart.svg").read_text() == series.svg
    assert "<!doctype html>" in series.save(folder / "chart.html").read_text()
    for names, text in ((("x",), "Did you mean|plot"), (("config.x", "result.loss"), "config.lr")):
        with pytest.raises(UnknownColumn, match=text):
            found.plot(*names)
    with pytest.raises(UnknownColumn, match="no numbers"):
        found.plot("config.name", "result.loss")
    with pytest.raises(UnknownColumn, match="nothing to plot"):
        found[:1].plot()
    with pytest.raises(ValueError, match=r"\.svg or \.html"):
        series.save("chart.png")


def test_an_observation_shows_itself_as_a_card(fit: Experiment[..., Any]) -> None:
    card = fit.observations()[0]._repr_html_()
    assert "train/loss" in card
    assert "<svg" in card
    assert "data:image/png" in card
    with suppress(ValueError), start_run("x", params={EVIL: EVIL}) as run:
        run.log_features([EVIL])
        raise ValueError(EVIL)
    assert run.observation
    assert "<script>" not in run.observation._repr_html_()
    assert "onerror" not in [n for _, a in Tags(run.observation._repr_html_()).found for n in a]
