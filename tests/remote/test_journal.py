"""Records that were sent and have no file here yet are this machine's own, and are not lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from s3_server import BUCKET, Server

from digital_experiments import Registry, experiment, open_experiment, start_run
from digital_experiments.backends import JSONBackend
from digital_experiments.cli import main
from digital_experiments.errors import OfflineWarning
from digital_experiments.remote import Place, journal, located
from digital_experiments.remote.opening import bucket_of, folder_for

WORKER = """
import os, signal, sys
from fractions import Fraction
from digital_experiments import experiment
@experiment(root=sys.argv[1])
def train(x):
    return Fraction(x, 3)
for x in range(int(sys.argv[2])):
    train(x)
print("made", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def worker(root: str, runs: int) -> subprocess.Popen[bytes]:
    """A process that makes runs, tells so, and waits."""
    Path("worker.py").write_text(WORKER)
    words = [sys.executable, "worker.py", root, str(runs)]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline().strip() == b"made"
    return started


def end(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n")


def copy_of(root: str) -> Path:
    place = located(root)
    assert isinstance(place, Place)
    return Path(folder_for(place))


def files_of(root: str) -> set[str]:
    return {path.name for path in copy_of(root).glob("20*.pkl")}


def values(root: str) -> list[Any]:
    return sorted(o.result for o in open_experiment(root).observations())


def test_runs_of_a_killed_worker_are_seen_as_our_own_even_offline(
    own_server: Server, impatient: None, folder: Path
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    end(worker(root, 5))
    assert not files_of(root)
    own_server.kill()
    with pytest.warns(OfflineWarning):
        assert [str(v) for v in values(root)] == ["0", "1/3", "2/3", "1", "4/3"]
    assert len(files_of(root)) == 5
    assert not list((copy_of(root) / ".journals").iterdir())


def test_what_is_recorded_beside_us_is_no_stranger_and_stays_deleted(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/train"
    beside = worker(root, 4)
    assert [str(v) for v in values(root)] == ["0", "1/3", "2/3", "1"]
    store = open_experiment(root)
    store.delete(store.observations()[:1])
    store.purge()
    store.delete(store.observations()[:1])
    assert len(values(root)) == 2
    end(beside)
    assert len(values(root)) == 2
    another_host()
    assert len(open_experiment(root).observations()) == 2


def test_a_run_whose_put_never_ended_goes_up_later(
    own_server: Server, impatient: None, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    Path("stuck.py").write_text(
        WORKER.replace("    train(x)", "    x == 2 and print('made', flush=True) or train(x)")
    )
    words = [sys.executable, "stuck.py", root, "1000000"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stuck:
        assert stuck.stdout is not None
        stuck.stdout.readline()
        own_server.pause()
        time.sleep(1)
        stuck.send_signal(signal.SIGKILL)
    own_server.resume()
    (journaled,) = (copy_of(root) / ".journals").iterdir()
    made = journaled.read_bytes().count(b".pkl\n")
    assert made > 2
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    another_host()
    assert len(open_experiment(root).observations()) == made


def test_a_copy_that_is_removed_while_in_use_is_made_anew(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/square"

    @experiment(root=root)
    def square(x: int) -> complex:
        return complex(x, x)

    square(1)
    shutil.rmtree(copy_of(root))
    square(2)
    square(3)
    assert [o.result for o in square.observations()[1:]] == [2 + 2j, 3 + 3j]
    another_host()
    assert len(open_experiment(root).observations()) == 3


def test_children_of_a_fork_have_journals_of_their_own(s3: str, folder: Path) -> None:
    root = f"{s3}/train"
    Path("forking.py").write_text(
        WORKER.replace("for x in range(int(sys.argv[2])):", "train(7)\nos.fork()\nfor x in (1, 2):")
    )
    subprocess.run([sys.executable, "forking.py", root, "0"], input=b"\n\n", check=False)
    deadline = time.monotonic() + 20
    while len(values(root)) < 5 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [str(v) for v in values(root)] == ["1/3", "1/3", "2/3", "2/3", "7/3"]


def test_a_long_journal_is_ended(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch, another_host: Callable[[], None]
) -> None:
    monkeypatch.setattr(journal, "_MOST", 3000)
    root = f"{s3}/square"

    @experiment(root=root)
    def square(x: int) -> int:
        return x * x

    for x in range(20):
        square(x)
    assert files_of(root)
    kept = list((copy_of(root) / ".journals").iterdir())
    assert sum(path.stat().st_size for path in kept) < 3000
    assert values(root) == [x * x for x in range(20)]


def test_a_record_is_added_wholly_or_not_at_all(folder: Path) -> None:
    """On a disk that is full: here a file may not grow any more."""
    script = """
import resource, sys
from digital_experiments.remote.journal import Journal
kept = Journal(sys.argv[1])
kept.add("one.pkl", b"1" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 10**6))
try:
    kept.add("two.pkl", b"2" * 100)
except OSError as problem:
    print(type(problem).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
kept.add("three.pkl", b"3" * 100)
kept.settle()
"""
    pytest.importorskip("resource")
    words = [sys.executable, "-c", script, str(folder)]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout == "OSError\n"
    assert {p.name: p.read_bytes() for p in folder.glob("*.pkl")} == {
        "one.pkl": b"1" * 100,
        "three.pkl": b"3" * 100,
    }


def test_what_was_being_added_when_its_writer_was_killed_is_left_out(folder: Path) -> None:
    kept = journal.Journal(str(folder))
    kept.add("one.pkl", b"1" * 100)
    (path,) = (folder / ".journals").iterdir()
    with path.open("ab") as file:
        file.write(b"100 two.pkl\n222")
    os.rename(path, path.with_name(".gone.00000000-1-1.tmp"))
    os.utime(path.with_name(".gone.00000000-1-1.tmp"), (0, 0))
    journal.Journal(str(folder)).settle()
    assert [p.name for p in folder.glob("*.pkl")] == ["one.pkl"]
    assert not list((folder / ".journals").iterdir())


def test_a_run_that_nobody_has_looked_at_is_pushed_on(s3: str, folder: Path) -> None:
    with start_run("train", params={"x": 1}, root=f"{s3}/one/train") as run:
        run.log_metric("loss", 1.0)
    assert run.observation is not None
    there = Registry(f"{s3}/two")
    there.push(run.observation)
    assert there.runs("train") == [run.id]
    Registry(f"{s3}/one").delete("train")
    with pytest.raises(ValueError, match="it was deleted, or still runs"):
        Registry(f"{s3}/three").push(run.observation)


def test_what_was_removed_does_not_come_back_from_a_worker_that_lives(
    s3: str, folder: Path
) -> None:
    root = f"{s3}/train"
    beside = worker(root, 3)
    looking = "import sys; from digital_experiments import open_experiment as o; "
    looking += "print(len(o(sys.argv[1]).observations()))"

    def look() -> str:
        words = [sys.executable, "-c", looking, root]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    assert look() == "3"
    store = open_experiment(root)
    replaced, removed = store.observations()[:2]
    other = folder / "other" / "train"
    JSONBackend(other).record(replaced._replace(result=99))
    Registry(s3).push(open_experiment(other), overwrite=True)
    place = located(root)
    assert isinstance(place, Place)
    bucket_of(place).remove(f"{removed.id}.pkl")
    assert [look(), look(), look()] == ["2", "2", "2"]
    assert set(bucket_of(place).here("")[0]) & {f"{replaced.id}.pkl", f"{removed.id}.pkl"} == set()
    assert store.check().records == 2
    end(beside)
    assert look() == "2"


def test_a_child_that_is_forked_while_we_push_can_push_too(s3: str, folder: Path) -> None:
    Path("forked.py").write_text(
        "import os, sys, threading, time, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from digital_experiments import Registry, experiment\n"
        "@experiment(root='many/train')\n"
        "def train(x):\n    return x\n"
        "@experiment(root='few/small')\n"
        "def small(x):\n    return x\n"
        "for x in range(200):\n    train(x)\n"
        "small(1)\n"
        "pushing = threading.Thread(target=lambda: Registry(sys.argv[1]).push(train))\n"
        "pushing.start()\n"
        "time.sleep(0.1)\n"
        "child = os.fork()\n"
        "if child == 0:\n    Registry('elsewhere').push(small)\n    os._exit(7)\n"
        "pushing.join()\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    words = [sys.executable, "forked.py", s3]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "7\n", told.stderr


def test_on_a_full_disk_what_is_there_is_shown(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"{s3}/train"
    end(worker(root, 2))
    assert len(values(root)) == 2
    end(worker(root, 3))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a file")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_here", full)
        with pytest.warns(OfflineWarning, match="can't be written.*a file.*Make room"):
            assert len(values(root)) == 2
    assert len(values(root)) == 5
