"""The index is a cache: whatever befalls it, lists are complete and right."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digital_experiments import Experiment, Observation, experiment, open_experiment
from digital_experiments.callbacks import Callback
from digital_experiments.errors import DamagedWarning
from digital_experiments.store.listings import difference


@pytest.fixture
def square() -> Experiment[..., Any]:
    @experiment(root="square")
    def square(x: int) -> int:
        return x * x

    for x in range(10):
        square(x)
    return square


def files(folder: Path) -> list[Path]:
    return sorted((folder / "cache").rglob("*.sqlite"))


def fresh() -> list[Any]:
    """The results as another process finds them."""
    code = "from digital_experiments import open_experiment as o; print(o('square').to_dataframe()"
    code += "['result'].tolist())"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stderr == ""
    return list(eval(seen.stdout))


def results(square: Any) -> list[int]:
    return [o.result for o in square.observations()]


SQUARES = [x * x for x in range(10)]


def test_there_is_one_index_a_store_in_the_users_cache(
    square: Experiment[..., Any], folder: Path
) -> None:
    assert results(square) == SQUARES
    assert len(files(folder)) == 1
    assert fresh() == SQUARES
    assert len(files(folder)) == 1
    assert {p.suffix for p in (folder / "square").iterdir()} == {".pkl", ""}


def test_nothing_is_indexed_when_a_run_is_recorded(
    square: Experiment[..., Any], folder: Path
) -> None:
    assert not (folder / "cache").exists()


@pytest.mark.parametrize("how", ["delete", "truncate", "garbage", "empty", "version", "flip"])
def test_a_lost_or_damaged_index_is_made_anew(
    square: Experiment[..., Any], folder: Path, how: str
) -> None:
    assert fresh() == SQUARES
    (path,) = files(folder)
    data = path.read_bytes()
    if how == "delete":
        shutil.rmtree(folder / "cache")
    elif how == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif how == "garbage":
        path.write_bytes(os.urandom(len(data)))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flip":
        path.write_bytes(data[:100] + bytes(256 - b for b in data[100:2000] if b) + data[2000:])
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    square(10)
    assert fresh() == [*SQUARES, 100]


def test_an_index_damaged_under_an_open_experiment_is_made_anew(
    square: Experiment[..., Any], folder: Path
) -> None:
    assert results(square) == SQUARES
    for path in (folder / "cache").rglob("*.sqlite*"):
        path.write_bytes(b"garbage" * 1000)
    square(10)
    assert results(square) == [*SQUARES, 100]


def test_a_cache_that_can_not_be_written_falls_back_to_the_files(
    square: Experiment[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("DE_CACHE_DIR", str(folder / "file" / "below"))
    assert results(square) == SQUARES
    square(10)
    assert results(square) == [*SQUARES, 100]
    assert list(square.to_dataframe(where="result > 80")["config.x"]) == [9, 10]


def test_what_comes_and_goes_by_other_means_is_seen(
    square: Experiment[..., Any], folder: Path
) -> None:
    assert results(square) == SQUARES
    records = sorted((folder / "square").glob("*.pkl"))
    records[3].unlink()
    shutil.copytree(folder / "square", folder / "copy")
    assert results(square) == [x for x in SQUARES if x != 9]
    assert results(open_experiment("copy")) == results(square)
    shutil.rmtree(folder / "square")
    assert results(square) == []
    shutil.move(folder / "copy", folder / "square")
    assert results(square) == [x for x in SQUARES if x != 9]


def test_a_settled_folder_is_not_listed_again(
    square: Experiment[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    past = time.time_ns() - 60 * 10**9
    state = [0, 0, past, past]
    monkeypatch.setattr(type(square.backend), "state", lambda self: state)
    assert results(square) == SQUARES
    monkeypatch.setattr(type(square.backend), "listing", lambda self: pytest.fail("was listed"))
    assert results(square) == SQUARES
    assert len(square.to_dataframe()) == 10


def test_a_change_right_after_a_list_is_seen(square: Experiment[..., Any]) -> None:
    for x in range(10, 60):  # many changes within one tick of the file system's clock
        square(x)
        assert len(square.observations()) == x + 1


def test_a_damaged_record_costs_itself_and_is_seen_again_when_it_is_back(
    square: Experiment[..., Any], folder: Path
) -> None:
    path = sorted((folder / "square").glob("*.pkl"))[4]
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    for _ in range(2):
        with pytest.warns(DamagedWarning, match=path.stem):
            assert results(square) == [x for x in SQUARES if x != 16]
    path.write_bytes(whole)
    assert results(square) == SQUARES


def test_other_files_in_a_store_are_no_records(square: Experiment[..., Any], folder: Path) -> None:
    for name in ("config.yaml", "package.json", "notes.txt", "README"):
        (folder / "square" / name).write_text("a: [1")
    (folder / "square" / "2026-01-01_00-00-00_000000_folder.pkl").mkdir()
    assert results(square) == SQUARES


def test_a_list_opens_no_blob_and_runs_nothing(folder: Path) -> None:
    @experiment(root="large")
    def large(n: int) -> Any:
        return {"n": n, "data": np.zeros(100_000), "model": Trap()}

    for n in range(3):
        large(n)
    shutil.rmtree(folder / "large" / "blobs")
    Trap.sprung = False
    table = large.to_dataframe()
    assert list(table["result.n"]) == [0, 1, 2]
    assert list(table["result.data"]) == ["ndarray(100000, float64)"] * 3
    assert "ndarray" in repr(large.observations())
    assert not Trap.sprung


class Trap:
    sprung = False

    def __setstate__(self, state: object) -> None:
        Trap.sprung = True

    def __getstate__(self) -> dict[str, int]:
        return {"x": 1}


def test_values_in_the_index_load_from_their_files(folder: Path) -> None:
    @experiment(root="mixed")
    def mixed(n: int) -> Any:
        return {"range": range(n), "array": np.arange(n), "nested": [{"set": {n}, "r": range(2)}]}

    mixed(3)
    (found,) = mixed.observations()
    assert found.result["range"] == range(3)
    assert found.result["nested"] == [{"set": {3}, "r": range(2)}]
    assert np.array_equal(found.result["array"], np.arange(3))
    import pickle

    again = pickle.loads(pickle.dumps(mixed.observations()[0]))
    assert again.result["range"] == range(3)
    other = experiment(root="other")(lambda: None)
    other.backend.record(mixed.observations()[0])
    assert other.load(found.id).result["range"] == range(3)


def test_many_readers_and_writers_at_once(folder: Path) -> None:
    writer = (
        "import sys\nfrom digital_experiments import experiment\n"
        "f = experiment(root='busy', name='f')(lambda x: x)\n"
        "for i in range(300): f(i)\n"
    )
    reader = (
        "from digital_experiments import open_experiment\nimport time, glob\n"
        "last = 0\n"
        "while not glob.glob('busy/*.pkl'): time.sleep(0.01)\n"
        "while last < 900:\n"
        "    n = len(open_experiment('busy').to_dataframe())\n"
        "    assert n >= last, (n, last)\n"
        "    last = n\n"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE)
        for code in [writer] * 3 + [reader] * 3
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors.decode()
    assert len(open_experiment("busy").observations()) == 900


def test_readers_while_another_process_builds_the_index_anew(
    square: Experiment[..., Any], folder: Path
) -> None:
    assert fresh() == SQUARES
    spoiler = (
        "import shutil, time, glob, os\n"
        "for n in range(60):\n"
        "    for p in glob.glob('cache/index/*/*.sqlite'):\n"
        "        if n % 2: os.unlink(p)\n"
        "        else: open(p, 'wb').write(b'no database')\n"
        "    time.sleep(0.01)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", spoiler])
    while job.poll() is None:
        assert results(open_experiment("square")) == SQUARES
    assert results(square) == SQUARES


def test_a_fork_reads_with_a_connection_of_its_own(square: Experiment[..., Any]) -> None:
    assert results(square) == SQUARES
    child = os.fork()
    if child == 0:
        square(10)
        os._exit(0 if results(square) == [*SQUARES, 100] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert results(square) == [*SQUARES, 100]


def test_long_work_shows_how_it_gets_on(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    from digital_experiments.store import progress

    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with progress.progress(10, "Reading things") as advance:
        advance(10)
    assert "Reading things" in capfd.readouterr().err
    monkeypatch.setattr(progress, "_PATIENCE", 2.0)
    with progress.progress(10, "Reading things") as advance:
        advance(10)
    assert capfd.readouterr().err == ""


names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=30)


@given(names, names, names)
def test_the_difference_of_two_listings(
    before: list[str], after: list[str], later: list[str]
) -> None:
    changes = difference("\n".join(before).encode(), "\n".join(after).encode(), later)
    assert changes.added == set(after) - set(before) - set(later)
    assert changes.gone == {*before, *later} - set(after)


def test_a_difference_does_not_depend_on_order() -> None:
    changes = difference(b"a\nb\nc\nd", b"d\nb\ne\na")
    assert (changes.added, changes.gone) == ({"e"}, {"c"})


def test_many_records_are_indexed_by_two_processes_as_by_one(folder: Path) -> None:
    """In a process of one thread, and if the other process dies."""
    script = folder / "many.py"
    script.write_text(
        "import os, sys, threading\n"
        "from digital_experiments import experiment, open_experiment\n"
        "from digital_experiments.store import halves\n"
        "f = experiment(root='many', name='f')(lambda x: {'y': range(x), 'x': x})\n"
        "for x in range(300): f(x)\n"
        "g = experiment(root='many', name='f')(lambda x, z=1: {'z': x if x % 2 else 'even'})\n"
        "for x in range(300, 500): g(x)\n"
        "from digital_experiments.store import index, results\n"
        "halves.MANY = results.LARGE = index.results.LARGE = 10\n"
        "forks, real = [], os.fork\n"
        "def fork():\n"
        "    forks.append(1)\n"
        "    pid = real()\n"
        "    if pid == 0 and 'die' in sys.argv: os._exit(1)\n"
        "    if pid == 0 and 'late' in sys.argv: index.prepared = lambda *_: os._exit(1)\n"
        "    return pid\n"
        "os.fork = fork\n"
        "if 'thread' in sys.argv:\n"
        "    event = threading.Event()\n"
        "    thread = threading.Thread(target=event.wait); thread.start()\n"
        "table = open_experiment('many').to_dataframe()\n"
        "assert table['config.x'].tolist() == list(range(500))\n"
        "assert table['result.z'].tolist()[300:304] == ['even', 301, 'even', 303]\n"
        "found = open_experiment('many').observations()\n"
        "assert table['id'].tolist() == [o.id for o in found]\n"
        "assert [o.config['x'] for o in found] == list(range(500))\n"
        "assert found[7].result == {'y': range(7), 'x': 7}\n"
        "if 'thread' in sys.argv: event.set(); thread.join()\n"
        "print(len(forks))\n"
        "try: os.waitpid(-1, 0)\n"
        "except ChildProcessError: print('no child is left')\n"
    )
    for words, forks in (([], "1"), (["die"], "1"), (["late"], "1"), (["thread"], "0")):
        shutil.rmtree("many", ignore_errors=True)
        shutil.rmtree("cache", ignore_errors=True)
        command = [sys.executable, "-W", "error", script, *words]
        seen = subprocess.run(command, capture_output=True, text=True)
        assert seen.returncode == 0, seen.stderr
        if len(os.sched_getaffinity(0)) > 1:
            assert seen.stdout.split("\n")[:2] == [forks, "no child is left"]


def test_a_store_that_was_deleted_leaves_no_ghosts(folder: Path) -> None:
    script = folder / "ghosts.py"
    script.write_text(
        "import sys\n"
        "from digital_experiments import experiment\n"
        "@experiment(root='ghosts')\n"
        "def f(x): return x\n"
        "for x in map(int, sys.argv[1:]):\n"
        "    f(x)\n"
        "    found = f.observations()\n"
        "print(sorted(o.config['x'] for o in found))\n"
        "print([o.result for o in f.map([{'x': 2}], resume=True)])\n"
    )

    def run(*values: int) -> str:
        command = [sys.executable, str(script), *map(str, values)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run(1, 2).splitlines() == ["[1, 2]", "[2]"]
    shutil.rmtree(folder / "ghosts")
    assert run(3).splitlines() == ["[3]", "[2]"]


def test_what_runs_have_in_common_keeps_its_types(folder: Path) -> None:
    class Told(Callback):
        value: Any = None

        def end(self, observation: Observation) -> None:
            observation.metadata["tags"] = ["a", self.value]

    told = Told()

    @experiment(root="typed", callbacks=[told])
    def run(x: int) -> int:
        return x

    values = ["a", "a", None, 1, True, 1.0, 1, "1"]
    for told.value in values:
        run(0)
    found = [o.metadata["tags"][1] for o in run.observations()]
    assert list(map(repr, found)) == list(map(repr, values))


def test_what_was_out_of_reach_is_seen_when_it_is_back(folder: Path) -> None:
    class Told(Callback):
        def end(self, observation: Observation) -> None:
            many = ["a long list"] * 5000
            observation.metadata["environment"] = {"of": observation.config["x"], "all": many}

    @experiment(root="asked", callbacks=[Told()])
    def run(x: int) -> int:
        return x

    run(1), run(2)
    where = "metadata.environment.of == 2"
    name = run.observations()[1].plain("metadata")["environment"]["$blob"]
    (blob,) = (folder / "asked" / "blobs").rglob(name)
    blob.rename(folder / "away")
    assert run.observations(where=where) == []
    (folder / "away").rename(blob)
    assert [o.result for o in run.observations(where=where)] == [2]
