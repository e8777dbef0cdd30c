"""Every damage is named, every healthy run is kept, and listing goes on all the while."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import Experiment, experiment, open_experiment
from digital_experiments.errors import DamagedWarning
from digital_experiments.storekeeping import Storekeeping


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "delete": Path.unlink}
KINDS = {
    "record": "20*.{suffix}",
    "result": "blobs/*/*.cloudpickle",
    "plain value": "blobs/*/*.{blob}",
    "environment": "blobs/*/*.json",
    "code": "blobs/*/*.txt",
    "note": "notes/*.json",
    "pointer": "cache/*/*",
}


def make(backend: str) -> Experiment[..., Any]:
    @experiment(root="store", backend=backend, cache=True)
    def make(n: int) -> Any:
        return {"array": np.full(20_000, n), "list": list(range(n, 30_000)), "n": n}

    for n in range(3):
        make(n)
    make.annotate(make.observations()[0].id, tags=["best"], note="a note")
    make.observations()  # seen once: that one of them is gone is noticed
    return make


def one_of(kind: str, backend: str) -> Path:
    suffix = {"pickle": "pkl", "json": "json", "yaml": "yaml"}[backend]
    blob = "pkl" if backend == "pickle" else "json"
    paths = sorted(Path("store").glob(KINDS[kind].format(suffix=suffix, blob=blob)))
    if kind == "plain value":
        return max(paths, key=lambda p: p.stat().st_size)
    if kind == "environment":
        return next(p for p in paths if b"python_version" in p.read_bytes())
    return paths[0]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_damage_of_any_kind_is_named_and_set_aside(backend: str, kind: str, how: str) -> None:
    store = make(backend)
    before = [o.id for o in store.observations()]
    assert store.check().ok
    path = one_of(kind, backend)
    DAMAGES[how](path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedWarning)
        assert len(store.observations()) >= 2  # listing goes on
        found = store.check()
        names = [damage.name for damage in found.damages]
        harmless = how == "delete" and kind in ("note", "pointer")
        harmless = harmless or (kind == "pointer" and how == "flip" and found.ok)
        assert harmless or any(path.name in name or path.stem in name for name in names), found
        repaired = store.repair()
    kept = [o.id for o in store.observations()]
    lost = [path.stem] if kind == "record" else []
    assert kept == [id for id in before if id not in lost]
    assert store.check().ok, store.check()
    assert len(store.to_dataframe()) == len(kept)
    assert [o.result["n"] for o in store.observations()] == [
        n for n, id in enumerate(before) if id not in lost
    ]
    if kind == "record":
        assert path.stem in repr(repaired)
    elif kind == "result":
        assert "result['array'] of 20" in repr(repaired)
    elif kind == "environment":
        assert "metadata['environment'] of 20" in repr(repaired)


@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_a_record_cut_at_any_byte_is_named(backend: str) -> None:
    @experiment(root="cut", backend=backend)
    def small(x: int) -> int:
        return x

    small(1)
    small(2)
    second = small.observations()[1]
    (path,) = Path("cut").glob(f"{second.id}.*")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = small.check()
        assert [d.name for d in found.damages] == [path.name], length
        assert found.records == 1
    path.write_bytes(whole)
    assert small.check().ok


@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_any_bit_flipped_in_a_record_is_named(backend: str) -> None:
    @experiment(root="flipped", backend=backend)
    def small(x: int) -> int:
        return x

    small(1)
    (path,) = Path("flipped").glob("20*")
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        found = small.check()
        assert [d.name for d in found.damages] == [path.name], place


def test_what_was_lost_is_told_once_and_remembered() -> None:
    store = make("pickle")
    one_of("result", "pickle").unlink()
    assert not store.check()
    store.repair()
    again = store.check()
    assert (again.ok, again.known) == (True, 1)
    assert "as an earlier repair has told" in repr(again)
    views = [o.result["array"] for o in store.observations()]
    assert sum(isinstance(v, np.ndarray) for v in views) == 2


def test_a_healthy_copy_gives_back_what_was_lost() -> None:
    store = make("pickle")
    shutil.copytree("store", "backup")
    lost = one_of("record", "pickle")
    flip(lost)
    one_of("result", "pickle").unlink()
    store.repair()
    done = store.merge("backup")
    assert done.added == [lost.stem]
    assert (store.check().ok, store.check().known) == (True, 0)
    assert [o.result["array"][0] for o in store.observations()] == [0, 1, 2]


def test_records_of_a_later_release_are_left_alone() -> None:
    store = experiment(root="store", backend="json", name="f")(lambda x: x)
    store(1)
    (path,) = Path("store").glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": 99}))
    found = store.repair()
    assert found.ok
    assert "upgrade digital-experiments" in repr(found)
    assert path.exists()


def test_a_store_of_2x_is_healthy_and_merges(folder: Path) -> None:
    legacy = Path(__file__).parents[1] / "legacy" / "stores"
    store = experiment(root="new", backend="json", name="f")(lambda x: x)
    store(1)
    for name in ("pickle", "yaml", "json"):
        old = open_experiment(legacy / name)
        assert old.check().ok
        count = len(old.observations(status=None))
        assert len(store.merge(old).added) == count
        assert len(old.to_dataframe(include_metadata=True)) == count
    assert store.check().ok
    assert len(open_experiment("new").observations()) >= 7


def content(place: str) -> dict[str, bytes]:
    root = Path(place)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_merging_both_ways_and_twice_gives_equal_stores() -> None:
    def fill(root: str, numbers: range) -> Storekeeping:
        from digital_experiments import current_dir

        @experiment(root=root, name="f")
        def f(n: int, shared: Any) -> Any:
            (current_dir() / "deep").mkdir()
            (current_dir() / "deep" / "n.txt").write_text(str(n))
            return np.full(20_000, n)

        for n in numbers:
            f(n, np.arange(30_000))
        f.annotate(f.observations()[0].id, tags=[root])
        return f

    one, two = fill("one", range(3)), fill("two", range(2, 5))
    done = one.merge(two)
    assert (len(done.added), done.known, done.notes) == (3, 0, 1)
    after = content("one")
    again = one.merge("two")
    assert (again.added, again.known, again.notes, again.conflicts) == ([], 3, 0, [])
    assert content("one") == after
    two.merge(one)
    assert content("two") == after
    store = open_experiment("one")
    assert [o.result[0] for o in store.observations()] == [0, 1, 2, 2, 3, 4]
    assert len(store.observations(tags="two")) == 1
    assert (store.observations()[5].dir / "deep" / "n.txt").read_text() == "4"
    assert store.check().ok


def test_what_was_deleted_or_purged_does_not_come_back_by_a_merge() -> None:
    store = experiment(root="a", name="f")(lambda x: x)
    for x in range(3):
        store(x)
    shutil.copytree("a", "b")
    first, second, _ = store.observations()
    store.delete([first, second])
    store.purge(first)
    done = store.merge("b")
    assert sorted(done.deleted) == sorted([first.id, second.id])
    assert [o.result for o in store.observations()] == [2]


def test_a_conflict_keeps_ones_own() -> None:
    store = experiment(root="a", backend="json", name="f")(lambda x: x)
    store(1)
    other = experiment(root="b", backend="json", name="f")(lambda x: x)
    id = store.observations()[0].id
    other.backend.record(store.observations()[0]._replace(result=99))
    done = store.merge("b")
    assert done.conflicts == [id]
    assert store.observations()[0].result == 1


def test_a_merge_refuses_itself_and_what_is_no_store() -> None:
    store = experiment(root="a", name="f")(lambda x: x)
    store(1)
    with pytest.raises(ValueError, match="merged with itself"):
        store.merge("a")
    with pytest.raises(FileNotFoundError, match="no store at 'nowhere'"):
        store.merge("nowhere")


def test_a_damaged_record_is_not_merged() -> None:
    store = experiment(root="a", name="f")(lambda x: x)
    store(1)
    shutil.copytree("a", "b")
    (path,) = Path("b").glob("*.pkl")
    store.delete(store.observations())
    store.purge()
    shutil.rmtree("a/trash")
    flip(path)
    done = store.merge("b")
    assert done.added == []
    assert "checksum" in done.problems[0]


def test_a_copy_of_a_record_is_no_loss(folder: Path) -> None:
    square = experiment(root="copied", name="square")(lambda x: x * x)
    square(3)
    (record,) = (folder / "copied").glob("20*.pkl")
    (folder / "copied" / "copy of run.pkl").write_bytes(record.read_bytes())
    found = square.check()
    assert found.ok
    assert found.records == 1
    assert f"copy of run.pkl: it is a copy of {record.stem}; it is no loss." in str(found)
