"""A store on a bucket does what one in a folder does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy
import pytest

from digital_experiments import (
    Experiment,
    current_dir,
    experiment,
    log_metric,
    log_text,
    open_experiment,
    start_run,
)
from digital_experiments.errors import ObservationNotFound, StoreNotFound
from digital_experiments.remote import collect, located
from digital_experiments.remote.opening import bucket_of

LARGE = numpy.arange(20_000)


def make(root: str, **options: Any) -> Experiment[..., Any]:
    @experiment(root=root, name="train", **options)
    def train(lr: float, data: Any = None) -> Any:
        (current_dir() / "weights").mkdir(exist_ok=True)
        (current_dir() / "weights" / "model.bin").write_bytes(b"w" * 1000)
        log_metric("loss", lr)
        log_text("said", f"lr is {lr}")
        if lr > 1:
            raise ValueError("too large")
        return {"loss": lr, "data": data}

    return train


def objects(root: str) -> set[str]:
    """What is in the bucket, by another client than ours."""
    if root.startswith("s3"):
        from obstore.store import from_url

        store: Any = from_url(root, client_options={"allow_http": True})
        return {entry["path"] for chunk in store.list() for entry in chunk}
    top = root.partition("://")[2]
    found = fsspec.filesystem(root.partition("://")[0]).find(top)
    return {path.lstrip("/").removeprefix(f"{top}/") for path in found}


def test_runs_are_recorded_in_the_bucket_and_found_again_elsewhere(
    registry: str, another_host: Callable[[], None]
) -> None:
    root = f"{registry}/train"
    train = make(root)
    for lr in (0.1, 0.2):
        train(lr)
    assert [o.config["lr"] for o in train.observations()] == [0.1, 0.2]
    ids = [o.id for o in train.observations()]
    there = objects(root)
    assert {f"{id}.pkl" for id in ids} <= there
    assert {f"storage/{id}/weights/model.bin" for id in ids} <= there

    another_host()
    store = open_experiment(root)
    assert [o.result["loss"] for o in store.observations()] == [0.1, 0.2]
    assert list(store.to_dataframe()["config.lr"]) == [0.1, 0.2]
    first = store.load(ids[0])
    assert {"metrics.jsonl", "weights"} <= {p.name for p in first.artefacts()}
    assert (first.dir / "weights" / "model.bin").read_bytes() == b"w" * 1000
    assert list(first.metrics("loss")["value"]) == [0.1]
    assert first.texts()["said"] == "lr is 0.1"
    assert (
        first.metadata["code"].startswith("    @experiment")
        or "def train" in (first.metadata["code"])
    )


def test_a_failed_run_is_recorded_with_its_files(
    registry: str, another_host: Callable[[], None]
) -> None:
    train = make(f"{registry}/train")
    with pytest.raises(ValueError, match="too large"):
        train(2.0)
    another_host()
    (failed,) = open_experiment(f"{registry}/train").observations(status="failed")
    assert failed.error is not None
    assert failed.error["type"] == "ValueError"
    assert (failed.dir / "weights" / "model.bin").exists()


def test_an_equal_large_value_lies_in_the_bucket_once(registry: str) -> None:
    train = make(f"{registry}/train")
    before = len(objects(f"{registry}/train"))
    for lr in (0.1, 0.2, 0.3):
        train(lr, LARGE)
    blobs = [name for name in objects(f"{registry}/train") if name.endswith("cloudpickle")]
    assert before == 0
    assert len(blobs) == 1
    assert numpy.array_equal(train.observations()[-1].config["data"], LARGE)


@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_each_format_of_records_can_be_on_a_bucket(
    registry: str, backend: str, another_host: Callable[[], None]
) -> None:
    make(f"{registry}/train", backend=backend)(0.5)
    another_host()
    (found,) = open_experiment(f"{registry}/train").observations()
    assert found.config["lr"] == 0.5


def test_a_backend_that_keeps_no_files_is_refused_for_a_bucket(registry: str) -> None:
    from digital_experiments import Backend

    class Nowhere(Backend):
        def record(self, observation: Any) -> None: ...
        def load(self, id: str) -> Any: ...
        def all_ids(self) -> list[str]:
            return []

    with pytest.raises(TypeError, match="takes records that are files"):
        make(f"{registry}/train", backend=Nowhere)


def test_the_cache_works_across_hosts(registry: str, another_host: Callable[[], None]) -> None:
    calls = []

    def make_double() -> Experiment[..., int]:
        @experiment(root=f"{registry}/double", cache=True)
        def double(x: int) -> int:
            calls.append(x)
            return 2 * x

        return double

    assert make_double()(4) == 8
    another_host()
    assert make_double()(4) == 8
    assert len(calls) == 1


def test_tags_and_notes_are_seen_elsewhere(registry: str, another_host: Callable[[], None]) -> None:
    train = make(f"{registry}/train")
    train(0.1)
    train.annotate(train.observations()[0].id, tags=["best"], note="keep this")
    another_host()
    store = open_experiment(f"{registry}/train")
    (best,) = store.observations(tags=["best"])
    assert best.note == "keep this"
    store.untag(best.id, "best")
    assert store.observations(tags=["best"]) == []


def test_what_is_deleted_here_is_gone_elsewhere_and_can_be_restored(
    registry: str, another_host: Callable[[], None]
) -> None:
    root = f"{registry}/train"
    train = make(root)
    train(0.1)
    train(0.2)
    another_host()
    there = open_experiment(root)
    first, second = (o.id for o in there.observations())
    there.delete(first)
    assert f"{first}.pkl" not in objects(root)
    assert f"trash/storage/{first}/weights/model.bin" in objects(root)

    another_host()
    store = open_experiment(root)
    assert [o.id for o in store.observations()] == [second]
    assert store.trash() == [first]
    store.restore(first)
    assert [o.id for o in store.observations()] == [first, second]
    assert (store.load(first).dir / "weights" / "model.bin").exists()
    assert not any(name.startswith("trash/storage") for name in objects(root))


def test_a_host_that_had_a_copy_sees_what_others_delete_and_purge(registry: str) -> None:
    root = f"{registry}/train"
    train = make(root)
    train(0.1)
    (one,) = train.observations()
    other = bucket_of(located(root))
    other.copy(f"{one.id}.pkl", f"trash/{one.id}.pkl")
    other.remove(f"{one.id}.pkl")
    assert train.observations() == []
    assert train.trash() == [one.id]
    with pytest.raises(ObservationNotFound):
        train.load(one.id)


def test_purged_runs_leave_nothing_but_their_ids(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "WAIT", 0.1)
    root = f"{registry}/train"
    train = make(root)
    train(0.1, LARGE)
    train(0.2)
    gone = train.observations()[0].id
    train.delete(gone)
    train.purge()
    left = objects(root)
    assert not any(gone in name for name in left)
    assert not any(name.endswith("cloudpickle") for name in left)
    assert train.check()
    assert len(train.observations()) == 1


def test_a_collection_leaves_what_is_named_meanwhile(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"{registry}/train"
    train = make(root)
    train(0.1, LARGE)
    train.delete(train.observations()[0].id)
    names = {name for name in objects(root) if name.endswith("cloudpickle")}
    assert train.gc(dry_run=True).blobs == []  # the trash names it

    def somebody_records() -> None:
        train(0.2, LARGE)

    trash = next(name for name in objects(root) if name.startswith("trash/20"))
    bucket_of(located(root)).remove(trash)
    monkeypatch.setattr(collect, "_wait", somebody_records)
    assert train.gc().blobs == []
    assert {name for name in objects(root) if name.endswith("cloudpickle")} == names
    assert numpy.array_equal(train.observations()[-1].config["data"], LARGE)


def test_files_are_pruned_in_the_bucket(registry: str) -> None:
    root = f"{registry}/train"
    train = make(root)
    for lr in (0.1, 0.2, 0.3):
        train(lr)
    done = train.prune(keep=1, bigger_than=500)
    assert len(done.files) == 2
    assert sum(name.endswith("model.bin") for name in objects(root)) == 1


def test_damage_in_the_bucket_is_found_and_set_aside(
    registry: str, another_host: Callable[[], None]
) -> None:
    root = f"{registry}/train"
    train = make(root)
    for lr in (0.1, 0.2):
        train(lr, LARGE + int(10 * lr))
    first, second = train.observations()
    bucket = bucket_of(located(root))
    record = bucket.read(f"{first.id}.pkl")
    bucket.write(f"{first.id}.pkl", record[:-40] + b"x" * 40, new=False)
    blob = next(name for name in objects(root) if name.endswith("cloudpickle"))
    bucket.write(blob, b"torn", new=False)
    another_host()  # which has no healthy copy
    store = open_experiment(root)
    found = store.check()
    assert not found
    assert {damage.kind for damage in found.damages} == {"record", "blob"}
    assert repr(found).startswith(root)
    with pytest.warns(UserWarning, match="left out"):
        store.observations()
    store.repair()
    assert store.check()
    assert f"damaged/{first.id}.pkl" in objects(root)
    another_host()
    store = open_experiment(root)
    assert [o.id for o in store.observations()] == [second.id]
    assert store.check()


def test_stores_on_buckets_and_in_folders_merge_into_each_other(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{registry}/train"
    make(root)(0.1, LARGE)
    here = make(str(folder / "here"))
    here(0.2)
    assert len(here.merge(root).added) == 1
    assert here.merge(root).added == []
    there = open_experiment(root)
    assert len(there.merge(folder / "here").added) == 1
    assert there.merge(folder / "here").added == []
    another_host()
    again = open_experiment(root)
    assert [o.id for o in again.observations()] == [o.id for o in here.observations()]
    assert again.check()
    assert here.check()
    bucket = bucket_of(located(root))
    content = {name for name in objects(root) if name.startswith(("storage/", "20", "blobs/"))}
    assert content >= {p.name for p in (folder / "here").glob("*.pkl")}
    for name in content:
        assert (folder / "here" / name).read_bytes() == bucket.read(name)


def test_an_imperative_run_goes_to_a_bucket(
    registry: str, another_host: Callable[[], None]
) -> None:
    with start_run("fit", variant="b", params={"x": 1}, root=f"{registry}/fit") as run:
        run.log_metric("loss", 1.0)
        run.result = 3
    another_host()
    (found,) = open_experiment(f"{registry}/fit").observations()
    assert (found.config, found.result) == ({"x": 1}, 3)


def test_the_usual_root_may_be_a_bucket(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DE_ROOT", f"{registry}/usual")

    @experiment
    def usual(x: int) -> int:
        return x

    usual(1)
    assert open_experiment("usual").observations()[0].result == 1
    assert any(name.endswith(".pkl") for name in objects(f"{registry}/usual"))


def test_a_study_runs_on_a_bucket_and_is_found_elsewhere(
    registry: str, another_host: Callable[[], None]
) -> None:
    from digital_experiments import Study

    def study() -> Any:
        @experiment(root=f"{registry}/noise", name="noise")
        def noise(shift: float = 0.0, seed: int = 0) -> dict[str, float]:
            return {"value": shift + seed % 7}

        return Study(
            noise,
            treatments={"high": {"shift": 100.0}},
            replicates=8,
            seed=1,
            hypotheses="high.value > baseline.value",
            name="shifted",
        )

    done = study().run(progress=False)
    another_host()
    again = study().load()
    assert again.verdicts[0].p == done.verdicts[0].p
    assert again.verdicts[0]
    assert any(name.startswith("studies/shifted/") for name in objects(f"{registry}/noise"))


def test_a_place_without_a_store_is_told_with_the_stores_around_it(registry: str) -> None:
    make(f"{registry}/train")(0.1)
    with pytest.raises(StoreNotFound, match="nothing was recorded there"):
        open_experiment(f"{registry}/nothing")
    with pytest.raises(StoreNotFound, match="'train'"):
        open_experiment(registry)


def test_records_hold_no_credentials(server: Any, s3: str, folder: Path) -> None:
    train = make(
        f"{s3}/train",
        storage_options={
            "key": server.environment["AWS_ACCESS_KEY_ID"],
            "secret": server.environment["AWS_SECRET_ACCESS_KEY"],
        },
    )
    train(0.1)
    with pytest.raises(ValueError, match="too large"):
        train(2.0)
    train.to_dataframe()
    secret = server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    for path in folder.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert secret.decode() not in json.dumps([repr(train), repr(train.backend.root)])
