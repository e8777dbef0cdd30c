"""Deleting is in two steps, and a kill in the middle of any is completed by the same call."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import Experiment, current_dir, experiment, open_experiment
from digital_experiments.errors import ObservationNotFound


@pytest.fixture
def save() -> Experiment[..., Any]:
    @experiment(root="save")
    def save(n: int, large: bool = False) -> Any:
        (current_dir() / "model.bin").write_bytes(b"m" * n)
        return np.full(20_000, n) if large else n

    for n in range(1, 6):
        save(n)
    return save


def results(save: Any) -> list[Any]:
    return [o.result for o in save.observations()]


def test_what_is_deleted_is_gone_with_its_files_and_can_be_restored(
    save: Experiment[..., Any], folder: Path
) -> None:
    second = save.observations()[1]
    assert save.delete(second.id) == [second.id]
    assert results(save) == [1, 3, 4, 5]
    assert not second.dir.exists()
    assert save.trash() == [second.id]
    assert [o.result for o in open_experiment("save/trash").observations()] == [2]
    with pytest.raises(ObservationNotFound):
        save.load(second.id)
    assert save.restore([second]) == [second.id]
    assert results(save) == [1, 2, 3, 4, 5]
    assert (second.dir / "model.bin").read_bytes() == b"mm"
    assert save.trash() == []


def test_deleting_takes_observations_lists_and_ids(save: Experiment[..., Any]) -> None:
    save.delete(save.observations(n=1))
    save.delete([save.observations(n=2)[0], save.observations(n=3)[0].id])
    assert results(save) == [4, 5]
    assert save.delete([]) == []
    with pytest.raises(ObservationNotFound, match="Nothing was changed"):
        save.delete([save.observations(n=4)[0].id, "missing"])
    for wrong, error in ((None, TypeError), (3, TypeError), ("../x", ValueError)):
        with pytest.raises(error):
            save.delete(wrong)  # type: ignore[arg-type]
    assert results(save) == [4, 5]


def test_purging_is_for_good_and_takes_what_belongs_to_it_alone(folder: Path) -> None:
    @experiment(root="arrays")
    def arrays(n: int, shared: Any) -> Any:
        (current_dir() / "x").write_text("x")
        return np.full(20_000, n)

    shared = np.arange(30_000)
    for n in range(3):
        arrays(n, shared)
    gone = arrays.observations()[0]
    arrays.annotate(gone.id, tags=["x"], note="secret note")
    with pytest.raises(ObservationNotFound, match="not in the trash"):
        arrays.purge(gone.id)
    arrays.delete(gone)
    assert arrays.gc().blobs == []  # what is in the trash still needs its blobs
    before = len(list((folder / "arrays" / "blobs").rglob("*.cloudpickle")))
    assert arrays.purge() == [gone.id]
    assert len(list((folder / "arrays" / "blobs").rglob("*.cloudpickle"))) == before - 1
    assert not any(gone.id in str(path) for path in (folder / "arrays").rglob("*"))
    assert not any(b"secret note" in p.read_bytes() for p in folder.rglob("*.json"))
    assert [o.result[0] for o in arrays.observations()] == [1, 2]
    assert np.array_equal(arrays.observations()[0].config["shared"], shared)
    assert arrays.check().ok
    with pytest.raises(ObservationNotFound):
        arrays.restore(gone.id)


def test_a_deleted_result_is_computed_anew(folder: Path) -> None:
    calls = []

    @experiment(cache=True)
    def cached(x: int) -> int:
        calls.append(x)
        return x

    cached(1)
    cached(1)
    assert calls == [1]
    cached.delete(cached.observations())
    cached(1)
    assert calls == [1, 1]


@pytest.mark.parametrize("step", ["delete", "restore", "purge"])
def test_a_kill_at_any_instant_is_completed_by_the_same_call(
    save: Experiment[..., Any], folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file system call that changes something is made to be the last one, in turn."""
    ids = [o.id for o in save.observations()[1:4]]
    shutil.copytree("save", "original")
    for last in range(1, 200):
        shutil.rmtree("save")
        shutil.copytree("original", "save")
        if step != "delete":
            save.delete(ids)
        with monkeypatch.context() as patch:
            died = _die_after(patch, last)
            with suppress(_Killed):
                getattr(save, step)(ids)
        getattr(save, step)(ids)
        kept = {"delete": [1, 5], "purge": [1, 5], "restore": [1, 2, 3, 4, 5]}[step]
        assert results(save) == kept
        folders = {p.name for p in Path("save/storage").iterdir()}
        assert folders == {o.id for o in save.observations()}
        assert save.trash() == (ids if step == "delete" else [])
        assert save.check().ok
        assert not save.check().notices
        if not died:
            return
    pytest.fail("it did not come to an end")


class _Killed(BaseException):
    pass


def _die_after(patch: pytest.MonkeyPatch, last: int) -> list[str]:
    """Let the process 'die' before a change of the file system, and say so in the list."""
    left = [last]
    died: list[str] = []

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                died.append(name)
                raise _Killed
            return real(*args, **kwargs)

        return call

    for name in ("replace", "unlink", "rmdir", "mkdir"):
        patch.setattr(os, name, wrap(name))
    return died


def test_files_are_pruned_by_number_age_and_size(save: Experiment[..., Any]) -> None:
    would = save.prune(keep=2, dry_run=True)
    assert [(path, size) for _, path, size in would.files] == [
        *(("model.bin", 1), ("model.bin", 2), ("model.bin", 3))
    ]
    assert would.bytes == 6
    assert all(o.artefacts() for o in save.observations())
    assert save.prune(keep=2, bigger_than=1).bytes == 5
    assert [bool(o.artefacts()) for o in save.observations()] == [True, False, False, True, True]
    assert save.prune(older_than="1h").files == []
    assert save.prune(older_than="0s").bytes == 1 + 4 + 5
    assert results(save) == [1, 2, 3, 4, 5]
    assert save.prune(keep=0).files == []


def test_pruning_needs_a_condition_that_can_be_read(save: Experiment[..., Any]) -> None:
    with pytest.raises(ValueError, match="needs a condition"):
        save.prune()
    with pytest.raises(ValueError, match="bigger_than must be a size"):
        save.prune(bigger_than="large")
    with pytest.raises(ValueError, match="keep must be a number"):
        save.prune(keep=-1)
    with pytest.raises(ValueError, match="older_than='old' is no time"):
        save.prune(older_than="old")


def test_pruning_leaves_other_experiments_and_runs_in_flight_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DE_ROOT", "shared")

    @experiment
    def other() -> None:
        (current_dir() / "theirs").write_text("theirs")

    @experiment
    def mine() -> Any:
        (current_dir() / "mine").write_text("mine")
        return mine.prune(keep=0).files

    other()
    assert mine() == []
    assert [path for _, path, _ in mine.prune(keep=0).files] == ["mine"]
    assert other.observations()[0].artefacts()


def test_a_collection_is_safe_beside_writers(folder: Path) -> None:
    """Writers use the same blobs again and again while these are deleted and collected."""
    writer = (
        "import sys, random\nfrom digital_experiments import experiment\nimport numpy as np\n"
        "f = experiment(root='busy', name='f')(lambda n: np.full(9000, n))\n"
        "for i in range(150): f(random.randrange(4))\n"
    )
    collector = (
        "from digital_experiments import open_experiment\nimport os, random, time\n"
        "while not os.path.isdir('busy/blobs'): time.sleep(0.01)\n"
        "busy = open_experiment('busy')\n"
        "for _ in range(40):\n"
        "    found = busy.observations(limit=20)\n"
        "    busy.delete(found); busy.purge()\n"
        "    assert not busy.gc().postponed\n"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE)
        for code in [writer] * 4 + [collector]
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors.decode()
    store = open_experiment("busy")
    found = store.check()
    assert found.ok, found
    for observation in store.observations():
        assert len(observation.result) == 9000
        assert observation.metadata["environment"]["system"]
        assert observation.metadata["code"]


def test_a_collection_waits_for_a_writer_in_flight(folder: Path) -> None:
    """A writer that is suspended between its blobs and its record keeps them from removal."""
    writer = (
        "import os, time\nfrom digital_experiments import experiment, files\nimport numpy as np\n"
        "f = experiment(root='slow', name='f')(lambda: np.zeros(9000))\n"
        "f()\n"
        "real = os.replace\n"
        "def slow(source, target):\n"
        "    if target.endswith('.pkl') and 'blobs' not in target:\n"
        "        print('waiting', flush=True); time.sleep(2)\n"
        "    real(source, target)\n"
        "os.replace = slow\n"
        "f()\n"
    )
    job = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "waiting\n"
    store = open_experiment("slow")
    store.delete(store.observations())
    start = time.monotonic()
    store.purge()  # nothing that is listed needs the array's blob now
    assert time.monotonic() - start > 1
    job.communicate()
    assert job.returncode == 0
    (found,) = store.observations()
    assert len(found.result) == 9000
    assert store.check().ok


def test_a_killed_collection_loses_nothing(folder: Path) -> None:
    @experiment(root="killed")
    def killed(n: int) -> Any:
        return np.full(9000, n)

    for n in range(3):
        killed(n)
    aside = folder / "killed" / "blobs" / ".collected-x"
    aside.mkdir()
    for path in list((folder / "killed" / "blobs").glob("*/*.cloudpickle")):
        path.rename(aside / path.name)
    assert [o.result[0] for o in killed.observations()] == [0, 1, 2]  # still read from there
    os.utime(aside, (time.time() - 7200,) * 2)
    assert killed.check().notices
    assert killed.repair().ok
    assert not aside.exists()
    assert killed.check().ok
    assert [o.result[0] for o in killed.observations()] == [0, 1, 2]


def test_what_killed_writers_left_is_removed(folder: Path) -> None:
    @experiment(root="left", cache=True)
    def left(n: int) -> int:
        return n

    left(1)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    from digital_experiments.files import _host

    name = f".2026-01-01_00-00-00_000000_aaaaaa.pkl.{_host()}-{dead}-1.tmp"
    (folder / "left" / name).write_bytes(b"torn")
    random.seed(0)
    assert left.check().ok
    assert [n.kind for n in left.check().notices] == ["unfinished"]
    assert left.gc().leftovers == 1
    assert not (folder / "left" / name).exists()
    left.delete(left.observations())
    left.purge()
    assert not list((folder / "left" / "cache").rglob("*_*"))
