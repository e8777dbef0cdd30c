"""All three backends keep the contract, and keep every kind of value."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import math
import os
import pickle
import string
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digital_experiments import Backend, Observation, experiment, register_backend
from digital_experiments.backends import JSONBackend, PickleBackend, YAMLBackend
from digital_experiments.digest import digest
from digital_experiments.errors import DamagedRecord, NewerFormat, UnknownBackend
from digital_experiments.ids import new_id
from digital_experiments.testing import BackendSuite
from digital_experiments.views import ValueView

BACKENDS = [PickleBackend, JSONBackend, YAMLBackend]
every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=["pickle", "json", "yaml"])


class TestPickle(BackendSuite):
    backend = PickleBackend


class TestJSON(BackendSuite):
    backend = JSONBackend


class TestYAML(BackendSuite):
    backend = YAMLBackend


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: float
    label: str = "here"


Pair = collections.namedtuple("Pair", "left right")

zones = st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3))])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**3000), max_value=2**3000)
    | st.floats()
    | st.text(st.characters(codec=None))  # type: ignore[arg-type] # lone surrogates included
    | st.binary()
    | st.datetimes(timezones=zones)
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(st.sampled_from(["$blob", "$pickle", "$tuple", "a"]), inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=12,
)


@every_backend
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=plain)
def test_any_plain_value_comes_back(backend: type[Backend], tmp_path: Path, value: Any) -> None:
    store = backend(tmp_path)
    recorded = Observation(new_id(), {"value": value}, value, {})
    store.record(recorded)
    loaded = store.load(recorded.id)
    assert digest(loaded.result) == digest(value)
    assert digest(loaded.config) == digest({"value": value})


OBJECTS: dict[str, Any] = {
    "array": np.arange(6).reshape(2, 3),
    "object array": np.array([1, "a", None], dtype=object),
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["r", "s"]),
    "series": pd.Series([1.5, math.nan], name="s"),
    "dataclass": Point(1.5),
    "enum": Colour.RED,
    "namedtuple": Pair(1, [2]),
    "frozenset": frozenset({1, 2}),
    "complex": 1 + 2j,
    "date": datetime.date(2026, 1, 2),
    "path": Path("a/b"),
    "ordered": collections.OrderedDict(a=1),
    "nested": {"deep": [np.ones(2), (Point(0), {"k": Colour.RED})]},
    "huge int": 10**10_000,
    "surrogate": "\ud800",
}


@every_backend
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_come_back(backend: type[Backend], tmp_path: Path, name: str) -> None:
    store, value = backend(tmp_path), OBJECTS[name]
    recorded = Observation(new_id(), {"value": value}, value, {})
    store.record(recorded)
    loaded = store.load(recorded.id)
    assert type(loaded.result) is type(value)
    assert digest(loaded.result) == digest(value) == digest(loaded.config["value"])


@every_backend
def test_numpy_numbers_become_python_numbers(backend: type[Backend], tmp_path: Path) -> None:
    store = backend(tmp_path)
    value = {"f": np.float64(0.5), "i": np.int8(3), "b": np.bool_(True)}
    recorded = Observation(new_id(), {}, value, {})
    store.record(recorded)
    loaded = store.load(recorded.id).result
    assert loaded == {"f": 0.5, "i": 3, "b": True}
    assert [type(v) for v in loaded.values()] == [float, int, bool]


@every_backend
def test_a_lambda_comes_back(backend: type[Backend], tmp_path: Path) -> None:
    store = backend(tmp_path)
    recorded = Observation(new_id(), {}, lambda x: x + 1, {})
    store.record(recorded)
    assert store.load(recorded.id).result(2) == 3


@every_backend
def test_large_values_lie_on_disk_once(backend: type[Backend], tmp_path: Path) -> None:
    store = backend(tmp_path)
    data, listed = np.arange(100_000), list(range(50_000))
    for _ in range(20):
        result = {"accuracy": 0.5, "rows": listed}
        store.record(Observation(new_id(), {"data": data}, result, {}))
    assert len([p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]) == 2
    observations = store.load_all()
    assert len(observations) == 20
    assert all(o.result["rows"] == listed for o in observations)
    assert all(np.array_equal(o.config["data"], data) for o in observations)
    assert observations[0].shown("result")["accuracy"] == 0.5
    assert all(p.stat().st_size < 2000 for p in tmp_path.glob("*.*"))


def test_text_formats_are_valid_for_other_programs(tmp_path: Path) -> None:
    store = JSONBackend(tmp_path)
    store.record(Observation(new_id(), {}, [math.nan, math.inf, (1,)], {}))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["result"] == [{"$float": "nan"}, {"$float": "inf"}, {"$tuple": [1]}]


def test_listing_runs_no_code_from_the_store(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    store = PickleBackend(tmp_path)
    store.record(Observation(new_id(), {"trap": Trap()}, Trap(), {}))
    (tmp_path / f"{new_id()}.pkl").write_bytes(pickle.dumps(Trap()))
    recorded = experiment(root=tmp_path)(lambda trap: None)
    with pytest.warns(UserWarning, match="1 record was left out"):
        found = recorded.observations(current_code_only=False)
    assert len(found) == 1
    repr(found), found.to_dataframe(), found._repr_html_()
    assert not (tmp_path / "sprung").exists()
    assert found[0].result is None  # mkdir's, now that it was asked for
    assert (tmp_path / "sprung").exists()


@every_backend
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x05", b"[1, 2]", b"{}", b"\xff\xfe"])
def test_garbage_costs_nothing_but_itself(
    backend: type[Backend], tmp_path: Path, content: bytes
) -> None:
    store = backend(tmp_path)
    good = Observation(new_id(), {}, 1, {})
    store.record(good)
    bad = new_id()
    (tmp_path / f"{bad}{backend.suffix}").write_bytes(content)  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=bad):
        assert store.load_all() == [good]


@every_backend
def test_a_record_cut_at_any_byte_is_told(backend: type[Backend], tmp_path: Path) -> None:
    store = backend(tmp_path)
    recorded = Observation(new_id(), {"x": 1}, "result", {"status": "completed"})
    store.record(recorded)
    path = tmp_path / f"{recorded.id}{backend.suffix}"  # type: ignore[attr-defined]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            loaded = store.load(recorded.id)
        except DamagedRecord:
            continue
        assert loaded._asdict() == recorded._asdict(), f"cut at {length}"


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    store, id = JSONBackend(tmp_path), new_id()
    record = {"format": 99, "id": id, "config": {}, "result": 1, "metadata": {}}
    (tmp_path / f"{id}.json").write_text(json.dumps(record))
    with pytest.raises(NewerFormat, match=r"format 99.*upgrade"):
        store.load(id)


def test_a_renamed_record_is_told(tmp_path: Path) -> None:
    store = PickleBackend(tmp_path)
    recorded = Observation(new_id(), {}, 1, {})
    store.record(recorded)
    other = new_id()
    (tmp_path / f"{recorded.id}.pkl").rename(tmp_path / f"{other}.pkl")
    with pytest.raises(DamagedRecord, match=recorded.id):
        store.load(other)


@pytest.mark.parametrize("id", ["../x", "a/b", "..", "", ".hidden", "a\\b", "nul\0", "x" * 300])
def test_an_id_can_not_leave_the_store(tmp_path: Path, id: str) -> None:
    store = PickleBackend(tmp_path / "store")
    for attempt in (store.load, store.artefacts):
        with pytest.raises(ValueError, match="can't be an observation's id"):
            attempt(id)
    with pytest.raises(ValueError, match="can't be"):
        store.record(Observation(id, {}, 1, {}))


def test_a_damaged_blob_is_told_when_its_value_is_asked_for(tmp_path: Path) -> None:
    recorded = experiment(root=tmp_path, name="large")(lambda n: list(range(n)))
    recorded(30_000)
    recorded(3)
    (blob,) = (tmp_path / "blobs").rglob("*.pkl")
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    large, small = recorded.observations()
    assert small.result == [0, 1, 2]
    with pytest.raises(ValueError, match="is damaged"):
        large.result
    assert isinstance(large.shown("result"), ValueView)


def test_a_damaged_environment_is_warned_of(tmp_path: Path) -> None:
    recorded = experiment(root=tmp_path, name="one")(lambda: 1)
    recorded()
    (blob,) = (tmp_path / "blobs").rglob("*.json")
    blob.unlink()
    with pytest.warns(UserWarning, match="is missing"):
        metadata = recorded.observations()[0].metadata
    assert metadata["status"] == "completed"


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UnknownBackend, match="Did you mean 'json'"):
        experiment(backend="jsn")(lambda: 1)


def test_a_backend_of_2x_works_unchanged(tmp_path: Path) -> None:
    @register_backend("listed")
    class Listed(Backend):
        def record(self, observation: Observation) -> None:
            with (self.root / f"{observation.id}.rec").open("wb") as file:
                pickle.dump(observation._asdict(), file)

        def load(self, id: str) -> Observation:
            with (self.root / f"{id}.rec").open("rb") as file:
                return Observation(**pickle.load(file))

        def all_ids(self) -> list[str]:
            return [path.stem for path in self.root.glob("*.rec")]

    recorded = experiment(root=tmp_path / "made", backend="listed")(abs)
    assert [recorded(i) for i in (-1, 2)] == [1, 2]
    assert [o.result for o in recorded.observations()] == [1, 2]
    assert set(string.hexdigits) >= set(recorded.observations()[0].metadata["fingerprint"])
