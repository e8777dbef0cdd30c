"""Whatever a person asks for is what is found, and what can't be asked is told at the place."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from digital_experiments import (
    Experiment,
    Observation,
    compare,
    diff,
    experiment,
    open_experiment,
)
from digital_experiments.backends import PickleBackend
from digital_experiments.errors import (
    InvalidExpression,
    ObservationNotFound,
    StoreNotFound,
    UnknownColumn,
)
from digital_experiments.selection import moment, select
from digital_experiments.store.query import Query


@dataclasses.dataclass
class Model:
    depth: int = 3


@pytest.fixture
def train() -> Experiment[..., Any]:
    @experiment(root="runs/train", tags=["mnist"])
    def train(lr: float, optimiser: str = "adam", flag: Any = None, sizes: Any = ()) -> Any:
        if lr > 5:
            raise ValueError("diverged")
        return {"accuracy": 1 - lr, "names": ["a", "b"]}

    train(0.1)
    train(0.2, "sgd", flag=True)
    train(0.5, "sgd", flag=1, sizes=[1, 2])
    train(1, "adam w", flag=False, sizes=np.arange(3))
    with pytest.raises(ValueError, match="diverged"):
        train(10.0)
    return train


def rates(found: Any) -> list[float]:
    return [o.config["lr"] for o in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("config.lr < 0.2", [0.1]),
        ("config.lr <= 0.2 and result.accuracy > 0.85", [0.1]),
        ("config.lr == 1", [1]),
        ("config.lr == 1.0", [1]),
        ("0.1 < config.lr < 1", [0.2, 0.5]),
        ("0.5 == config.lr", [0.5]),
        ("not config.optimiser == 'adam'", [0.2, 0.5, 1]),
        ("config.optimiser != 'adam'", [0.2, 0.5, 1]),
        ("config.optimiser in ['sgd', 'adam']", [0.1, 0.2, 0.5]),
        ("config.optimiser not in ('sgd',)", [0.1, 1]),
        ("'adam' in config.optimiser", [0.1, 1]),
        ("config.optimiser > 'adam'", [0.2, 0.5, 1]),
        ("config.flag is None", [0.1]),
        ("config.flag == None", [0.1]),
        ("config.flag is not None", [0.2, 0.5, 1]),
        ("config.flag == True", [0.2]),
        ("config.flag == 1", [0.5]),
        ("config.flag", [0.2]),
        ("config.flag > 0", [0.5]),
        ("2 in config.sizes", [0.5]),
        ("'b' in result.names", [0.1, 0.2, 0.5, 1]),
        ("config['lr'] > 0.3 or config.lr < -1e9", [0.5, 1]),
        ("config.lr > result.accuracy", [1]),
        ("config.lr == result.accuracy", [0.5]),
        ("status == 'failed'", [10.0]),
        ("config.lr > 0.4 and status in ['failed', 'completed']", [0.5, 1, 10.0]),
        ("'mnist' in tags and config.lr < 0.2", [0.1]),
        ("'other' in tags", []),
        ("duration < 60 and start > '2020' and note is None", [0.1, 0.2, 0.5, 1]),
        ("metadata.error.type == 'ValueError' and status == 'failed'", [10.0]),
        ("metadata.environment.system.system != 'Amiga' and config.lr == 0.1", [0.1]),
        ("  config.lr < 0.2\n and config.lr > 0", [0.1]),
    ],
)
def test_an_expression_selects(
    train: Experiment[..., Any], expression: str, expected: list[float]
) -> None:
    assert rates(train.observations(where=expression)) == expected
    assert (
        list(train.to_dataframe(where=expression, columns=["config.lr"])["config.lr"]) == expected
    )


@pytest.mark.parametrize(
    ("expression", "place", "message"),
    [
        ("config.lr = 3", 10, "compared by `==`"),
        ("config.lr <", 11, "can't be read"),
        ("", 0, "can't be read"),
        ("config.lr < 1 & config.lr > 0", 12, "joined by `and`"),
        ("(config.lr < 1) | (config.lr > 0)", 0, "joined by `and`"),
        ("1 < 2", 0, "compares no column"),
        ("config.lr < max(1, 2)", 12, "expected a number"),
        ("__import__('os').system('true')", 0, "expected a comparison"),
        ("config.lr < (lambda: 1)()", 12, "expected a number"),
        ("config.lr < None", 12, "neither less nor greater"),
        ("config.lr in 3", 13, "expected a list"),
        ("3 in tags", 0, "a tag is a text"),
        ("tags == 'best'", 0, '"best" in tags'),
        ("x" * 20_000, 0, "longer than"),
        (" and ".join(["config.lr < 1"] * 300), 0, "more than 200 comparisons"),
        ("(" * 500 + "config.lr < 1" + ")" * 500, 0, "can't be read"),
    ],
)
def test_a_wrong_expression_is_told_at_its_place(
    train: Experiment[..., Any], expression: str, place: int, message: str
) -> None:
    with pytest.raises(InvalidExpression, match=message) as caught:
        train.observations(where=expression)
    if place:
        assert str(caught.value).splitlines()[2] == " " * (place + 2) + "^"


def test_an_unknown_column_is_told_at_its_place_with_the_nearest(
    train: Experiment[..., Any],
) -> None:
    with pytest.raises(UnknownColumn, match=r"Did you mean 'config\.optimiser'") as caught:
        train.observations(where="config.lr < 1 and config.optimizer == 'sgd'")
    assert str(caught.value).splitlines()[2] == " " * 20 + "^"


def test_config_values_select_with_their_types(train: Experiment[..., Any]) -> None:
    assert rates(train.observations(lr=0.1)) == [0.1]
    assert rates(train.observations(lr=1.0)) == [1]
    assert rates(train.observations(flag=True)) == [0.2]
    assert rates(train.observations(flag=1)) == [0.5]
    assert rates(train.observations(flag=None)) == [0.1]
    assert rates(train.observations(sizes=[1, 2])) == [0.5]
    assert rates(train.observations(sizes=(1, 2))) == []
    assert rates(train.observations(sizes=np.arange(3))) == [1]
    assert rates(train.observations(sizes=np.arange(3), optimiser="adam w")) == [1]
    assert list(train.to_dataframe(sizes=[1, 2])["config.lr"]) == [0.5]
    with pytest.raises(TypeError, match="Did you mean 'optimiser'"):
        train.observations(optimizer="sgd")


def test_a_text_does_not_find_what_is_only_shown_so() -> None:
    @experiment
    def fit(model: Any) -> None: ...

    fit(range(3))
    fit("range(0, 3)")
    assert [o.config["model"] for o in fit.observations(model="range(0, 3)")] == ["range(0, 3)"]
    assert [o.config["model"] for o in fit.observations(model=range(3))] == [range(3)]


def test_times_select(train: Experiment[..., Any]) -> None:
    first = train.observations()[0].metadata["timing"]["start"]
    third = train.observations()[2].metadata["timing"]["start"]
    assert rates(train.observations(since=third)) == [0.5, 1]
    assert rates(train.observations(until=third)) == [0.1, 0.2]
    assert rates(train.observations(since=first, until=third)) == [0.1, 0.2]
    assert rates(train.observations(since="1h")) == [0.1, 0.2, 0.5, 1]
    assert rates(train.observations(since=timedelta(days=1), until="2999-01-01")) == [
        *(0.1, 0.2, 0.5, 1)
    ]
    assert rates(train.observations(until="7 days ago")) == []
    today = datetime.now().astimezone().date()
    assert len(train.observations(since=today - timedelta(days=1), until=today)) == 4
    assert len(train.observations(since=datetime.now(UTC))) == 0
    with pytest.raises(ValueError, match=r"since='last week' is no time: expected ISO 8601"):
        train.observations(since="last week")
    with pytest.raises(ValueError, match="beyond all calendars"):
        train.observations(since="99999999999d")
    with pytest.raises(TypeError, match="since must be a time"):
        train.observations(since=3)  # type: ignore[arg-type]


def test_limit_and_order(train: Experiment[..., Any]) -> None:
    assert rates(train.observations(limit=2)) == [0.1, 0.2]
    assert rates(train.observations(limit=2, newest_first=True)) == [1, 0.5]
    assert rates(train.observations(limit=0)) == []
    assert list(train.to_dataframe(limit=1, newest_first=True)["config.lr"]) == [1]
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(ValueError, match="limit must be a number of observations"):
            train.observations(limit=wrong)  # type: ignore[arg-type]


def test_tags_and_notes_are_added_show_and_select(train: Experiment[..., Any]) -> None:
    first, second = train.observations()[:2]
    train.annotate(first.id, tags=["best", "paper"], note="figure 3")
    train.annotate(second.id, tags="best")
    assert rates(train.observations(tags=["best"])) == [0.1, 0.2]
    assert rates(train.observations(tags=["best", "paper"])) == [0.1]
    assert rates(train.observations(where="'paper' in tags and note == 'figure 3'")) == [0.1]
    assert rates(train.observations(tags="mnist", limit=1)) == [0.1]
    again = train.load(first.id)
    assert (again.tags, again.note) == (["mnist", "best", "paper"], "figure 3")
    assert ", mnist, best, paper)" in repr(train.observations()[0])
    assert "figure 3" in train.observations()._repr_html_()
    table = train.to_dataframe(columns=["config.lr", "tags", "note"])
    assert list(table["tags"][:2]) == [["mnist", "best", "paper"], ["mnist", "best"]]
    assert table["note"][0] == "figure 3"
    assert train.untag(first.id, ["best", "mnist"]).tags == ["paper"]
    assert rates(train.observations(tags="best")) == [0.2]
    assert train.annotate(first.id, note="").note is None
    assert train.annotate(first.id, tags="best").tags == ["best", "paper"]
    assert train.load(first.id).metadata["tags"] == ["mnist"]  # the record is as it was


def test_wrong_tags_and_notes_are_told(train: Experiment[..., Any]) -> None:
    id = train.observations()[0].id
    for wrong, error in ((["a\nb"], ValueError), ([""], ValueError), ([3], TypeError)):
        with pytest.raises(error, match="tag"):
            train.annotate(id, tags=wrong)
    with pytest.raises(TypeError, match="note must be a text"):
        train.annotate(id, note=3)  # type: ignore[arg-type]
    with pytest.raises(ObservationNotFound):
        train.annotate("2020-01-01_00-00-00_000000_aaaaaa", tags=["x"])


def test_a_part_of_an_id_is_enough(train: Experiment[..., Any]) -> None:
    found = train.observations()[0]
    assert train.load(found.id[-6:]) == found
    assert train.load(found.id[:27]) == found
    with pytest.raises(ObservationNotFound, match="give more of the id"):
        train.load(found.id[:4])
    with pytest.raises(ObservationNotFound, match="No observation"):
        train.load("zzzzzz")


def test_a_store_is_opened_without_the_function(train: Experiment[..., Any], folder: Path) -> None:
    store = open_experiment("runs/train")
    assert rates(store.observations()) == [0.1, 0.2, 0.5, 1]
    assert store.observations().hidden == {"failed": 1}
    assert store.to_dataframe().equals(train.to_dataframe())
    assert store.load(store.observations()[0].id).result["accuracy"] == 0.9
    assert rates(open_experiment("runs/train", name="other").observations()) == []
    with pytest.raises(TypeError, match="not at hand"):
        store.observations(current_code_only=True)
    with pytest.raises(StoreNotFound, match=r"is a folder of stores. Open one of them: 'train'"):
        open_experiment("runs")
    with pytest.raises(StoreNotFound, match="There is no store at 'nowhere'"):
        open_experiment("nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(StoreNotFound, match="no store: nothing was recorded"):
        open_experiment("empty")


def test_an_experiment_is_opened_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(name="here")(lambda: 1)()
    assert len(open_experiment("here").observations()) == 1
    with pytest.raises(StoreNotFound, match="there are 'here'"):
        open_experiment("there")
    monkeypatch.setenv("DE_ROOT", "everything")
    experiment(name="one")(lambda: 1)()
    experiment(name="two")(lambda: 2)()
    assert [o.result for o in open_experiment("two").observations()] == [2]
    assert len(open_experiment("everything").observations()) == 2


def test_observations_stream(train: Experiment[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digital_experiments.store.query.PAGE", 2)
    stream = train.iter_observations(newest_first=True)
    assert next(stream).config["lr"] == 1
    train(0.3)  # what is recorded meanwhile does not disturb
    assert rates(stream) == [0.5, 0.2, 0.1]
    assert rates(train.iter_observations(status=None, limit=3)) == [0.1, 0.2, 0.5]
    assert rates(train.iter_observations(sizes=[1, 2])) == [0.5]


HALF = "caf\udce9"  # a file's name in another encoding, as Python hands it on


def test_texts_that_are_no_unicode_are_listed_with_all_others(folder: Path) -> None:
    @experiment(root="odd")
    def odd(**settings: Any) -> Any:
        if settings.get("fails"):
            raise ValueError(HALF)
        return {HALF: settings}

    odd(x=1)
    odd(**{HALF: HALF, "a\x00b": 2})
    with pytest.raises(ValueError, match="caf"):
        odd(fails=True)
    odd.annotate(odd.observations()[-1].id, note=HALF)
    found = odd.observations(status=None)
    assert [o.status for o in found] == ["completed", "completed", "failed"]
    assert odd.observations(settings={HALF: HALF, "a\x00b": 2})[0].result[HALF][HALF] == HALF
    assert odd.observations()[-1].note == HALF
    table = odd.to_dataframe()
    assert table["config.settings.caf\\udce9"].tolist() == [None, HALF]
    assert table["config.settings.a\x00b"].tolist()[1] == 2
    assert len(odd.observations(where="config.settings.x == 1")) == 1
    assert "caf\\udce9" in repr(found)
    found._repr_html_().encode()
    compare(found).html.encode()
    str(diff(found[0], found[1])).encode()
    for command in (["ls", "odd"], ["ls", "odd", "--json"], ["show", found[2].id, "-s", "odd"]):
        job = [sys.executable, "-m", "digital_experiments", *command]
        assert (
            "caf\\udce9" in subprocess.run(job, capture_output=True, text=True, check=True).stdout
        )


@pytest.mark.parametrize("addition", ['{"tags": {"a": []}}', '{"tags": {}, "note": {}}', "[]"])
def test_a_note_that_is_none_costs_no_list(
    train: Experiment[..., Any], folder: Path, addition: str
) -> None:
    from digital_experiments.store.seal import seal

    id = train.observations()[0].id
    place = train.root / "notes"
    place.mkdir(exist_ok=True)
    (place / f"{id}.2026-11-21_10-15-00_123456_k3f9xq.json").write_bytes(seal(addition.encode()))
    assert train.observations()[0].note is None
    assert not train.check().ok


@pytest.fixture
def kept() -> Experiment[..., Any]:
    """Values that are neither numbers of SQLite's nor texts."""

    @experiment(root="runs/kept")
    def keep(value: Any, timing_backend: str = "cuda") -> Any:
        return value

    return keep


def test_large_whole_numbers_compare_and_sort_as_numbers(kept: Experiment[..., Any]) -> None:
    for seed in (2**66, 5, -(2**70), 2**70, 2.5):
        kept(seed)

    def found(where: str) -> list[Any]:
        return [o.result for o in kept.observations(where=where)]

    assert found("result > 5") == [2**66, 2**70]
    assert found("result >= 1e20 and result < 100000000000000000000000") == [2**70]
    assert found("result > -100000000000000000000") == [2**66, 5, 2**70, 2.5]
    assert found("result < 100000000000000000000") == [2**66, 5, -(2**70), 2.5]
    assert found(f"result == {2**70} or result == {float(2**66)}") == [2**66, 2**70]
    assert found("result in [5, 2.5]") == [5, 2.5]
    selection = select(order=("result", True))
    ids = Query(kept.backend.index, selection).table(["id", "result"])
    assert ids["result"] == [2**70, 2**66, 5, 2.5, -(2**70)]


def test_what_is_no_number_is_sorted_last(kept: Experiment[..., Any]) -> None:
    for value in (0.9, float("nan"), 0.1, None):
        kept(value)
    for descending, numbers in ((True, [0.9, 0.1]), (False, [0.1, 0.9])):
        table = Query(kept.backend.index, select(order=("result", descending))).table(["result"])
        assert list(table["result"])[:2] == numbers


TIMES = [
    date(2020, 1, 1),
    datetime(2026, 5, 5),
    datetime(2026, 5, 5, tzinfo=timezone(timedelta(hours=2))),
    datetime(2026, 5, 5, tzinfo=ZoneInfo("UTC")),
    pd.Timestamp("2030-01-01"),
    np.datetime64("2031-01-01"),
]


def test_times_of_all_kinds_are_times(kept: Experiment[..., Any]) -> None:
    for time in TIMES:
        kept(time)
    assert [o.result for o in kept.observations()] == TIMES
    found = kept.observations(where="result > '2026-01-01' and result < '2030-01-02'")
    assert [o.result for o in found] == TIMES[1:5]
    assert [o.result for o in kept.observations(where="'2026-05-05T00:00Z' == result")][-1:] == [
        TIMES[3]
    ]
    assert len(kept.observations(where="not (result >= '2021-01-01')")) == 1
    column = kept.to_dataframe()["result"]
    assert all(isinstance(value, datetime) for value in column)
    assert column[5] == datetime(2031, 1, 1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (timedelta(hours=1), 3600.0),
        (pd.Timedelta("1h"), 3600.0),
        (np.timedelta64(90, "m"), 5400.0),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (PurePosixPath("/data/x"), "/data/x"),
    ],
)
def test_what_stands_for_a_number_or_a_text_selects(
    kept: Experiment[..., Any], value: Any, shown: Any
) -> None:
    kept(value)
    kept("else")
    assert kept.to_dataframe()["result"][0] == shown
    assert [o.result for o in kept.observations(where=f"result == {shown!r}")] == [value]


def test_a_missing_time_is_missing(kept: Experiment[..., Any]) -> None:
    for nothing in (pd.NaT, np.datetime64("NaT")):
        kept(nothing)
    assert kept.to_dataframe()["result"].isna().all()
    assert kept.observations(where="result > '2000-01-01'") == []


def test_a_name_like_timing_makes_no_time(kept: Experiment[..., Any]) -> None:
    kept(1)
    assert list(kept.to_dataframe()["config.timing_backend"]) == ["cuda"]


def test_numbers_of_numpy_select_as_those_of_python(kept: Experiment[..., Any]) -> None:
    for value in np.arange(3):
        kept(value)
    for wanted in (np.int64(2), np.float64(2), np.int8(2), 2):
        assert [o.result for o in kept.observations(value=wanted)] == [2]
        assert [o.result for o in kept.observations().filter(value=wanted)] == [2]
        assert len(kept.to_dataframe(value=wanted)) == 1


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("7d", timedelta(days=7)),
        ("1d12h", timedelta(hours=36)),
        ("1 hour, 30 minutes ago", timedelta(minutes=90)),
        ("2 weeks ago", timedelta(weeks=2)),
        (" 30 S ", timedelta(seconds=30)),
    ],
)
def test_how_long_ago(text: str, span: timedelta) -> None:
    told = moment(text, "since")
    assert told is not None
    assert abs(datetime.now(UTC) - span - datetime.fromisoformat(told)) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["6 months", "3 miles", "1y", "7", "d", "1d 2", "1 d o"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time: expected ISO 8601.*'1h 30m'"):
        moment(text, "since")


def test_times_of_pandas_are_times() -> None:
    assert moment(pd.Timestamp("2026-01-01"), "since") == moment("2026-01-01T00:00", "since")
    assert moment(pd.Timestamp("2026-01-01", tz="UTC"), "since") == moment(
        "2026-01-01T00:00Z", "since"
    )


def test_a_condition_on_the_status_in_the_metadata_decides_on_it(
    train: Experiment[..., Any],
) -> None:
    failed = train.observations(status="failed")
    assert failed
    assert train.observations(where="metadata.status == 'failed'") == failed
    assert train.observations(where="status == 'failed'") == failed


def test_what_can_be_no_tag_or_note_is_refused(train: Experiment[..., Any]) -> None:
    one = train.observations()[0]
    for wrong in (5, None):
        with pytest.raises(TypeError, match="tags must be a text or a list of texts"):
            train.annotate(one.id, tags=wrong)  # type: ignore[arg-type]
    assert train.annotate(one.id, note="half \ud800").note == "half \ud800"
    with pytest.raises(ValueError, match="expected a text of one line"):
        train.annotate(one.id, tags="two\nlines")
    tag = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}"
    assert train.annotate(one.id, tags=tag).tags == ["mnist", tag]


def test_a_folder_of_other_files_is_no_store(folder: Path) -> None:
    (folder / "app").mkdir()
    for name in ("package.json", "settings.yaml", "model.pkl"):
        (folder / "app" / name).write_text('{"name": "app", "version": "1"}')
    with pytest.raises(StoreNotFound, match="is a folder, but no store"):
        open_experiment("app")
    PickleBackend(folder / "app").record(Observation("my-run", {"x": 1}, 2, {}))
    assert open_experiment("app").load("my-run").result == 2
