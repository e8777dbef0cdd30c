"""Runs in flight are seen by others as running or lost, and what they logged is safe."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import digital_experiments as de
from digital_experiments import experiment, open_experiment
from digital_experiments.errors import NoActiveRun

LOGS = (
    "import sys, time\n"
    "from digital_experiments import experiment, log_metric\n"
    "@experiment(root='store', tags=['long'])\n"
    "def fit(lr, big=bytes(100_000)):\n"
    "    print('go', flush=True)\n"
    "    end = time.time() + float(sys.argv[1])\n"
    "    while time.time() < end:\n"
    "        log_metric('clock', time.time())\n"
    "        time.sleep(0.01)\n"
    "    return 1\n"
    "fit(0.1)\n"
)


def wait_for(what: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.time() + seconds
    while time.time() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that runs for some seconds, until its function is called."""
    script = folder / "script.py"
    jobs = []

    def start(code: str = LOGS, *words: str) -> subprocess.Popen[str]:
        script.write_text(code)
        command = [sys.executable, "-W", "error", str(script), *(words or ["60"])]
        job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        jobs.append(job)
        assert job.stdout is not None
        assert job.stdout.readline() == "go\n"
        return job

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def listed(status: str) -> list[de.Observation]:
    return open_experiment("store").observations(status=status)


def test_a_run_of_more_than_a_second_is_seen_as_running_until_it_ends(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    job = start(LOGS, "4")
    (seen,) = wait_for(lambda: Path("store/running").exists() and listed("running"))
    assert seen.status == "running"
    assert seen.config["lr"] == 0.1
    assert "bytes" in repr(seen.config["big"]) or "b'" in repr(seen.config["big"])
    assert seen.result is None
    assert seen.tags == ["long"]
    heartbeat = seen.metadata["heartbeat"]
    assert heartbeat["pid"] == job.pid
    assert seen.metadata["metrics"]["clock"]["count"] > 10
    assert not seen.metrics("clock").empty
    store = open_experiment("store")
    assert store.load(seen.id).status == "running"
    assert [o.id for o in store.observations(status=None)] == [seen.id]
    assert store.observations() == []
    assert store.to_dataframe(where="status == 'running' and config.lr < 1")["id"].tolist() == [
        seen.id
    ]
    assert store.check().ok
    with pytest.raises(ValueError, match="still running"):
        store.delete(seen)
    assert job.wait() == 0
    (ended,) = store.observations()
    assert ended.id == seen.id
    assert listed("running") == []
    assert not os.listdir("store/running")
    used = ended.metadata["resources"]
    assert used["wall_seconds"] == pytest.approx(4, abs=1)
    assert 0 < used["cpu_seconds"] < 4
    assert used["peak_rss_bytes"] > 10**7
    assert used["written_bytes"] >= 0


def test_a_short_run_leaves_no_trace_but_its_record(folder: Path) -> None:
    @experiment
    def quick() -> None:
        de.log_metric("a", 1)

    quick()
    assert not Path("experiments/quick/running").exists()
    assert "resources" not in quick.observations()[0].metadata


def test_a_killed_run_is_lost_and_misses_a_second_of_points_at_most(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    job = start()
    wait_for(lambda: Path("store/running").exists() and listed("running"))
    time.sleep(1.3)
    killed = time.time()
    job.send_signal(signal.SIGKILL)
    job.wait()
    (lost,) = listed("lost")
    assert lost.status == "lost"
    points = lost.metrics("clock")["value"]
    assert killed - points.max() < 1
    assert points.diff().max() < 0.5
    assert lost.metadata["metrics"]["clock"]["count"] == len(points)
    assert listed("running") == []
    store = open_experiment("store")
    assert store.observations() == []
    assert store.check().ok
    assert store.gc().leftovers == 0
    assert [o.id for o in store.observations(status="lost")] == [lost.id]
    assert repr(lost).endswith("→ lost, long)")
    experiment(root="copy", name="fit")(lambda: 1)()
    copy = open_experiment("copy")
    assert copy.merge("store").added == [lost.id]
    assert copy.merge("store").known == 1
    assert [o.id for o in copy.observations(status="lost")] == [lost.id]
    assert len(copy.load(lost.id).metrics("clock")) == len(points)
    store.delete(lost)
    assert store.observations(status=None) == []
    store.restore(lost.id)
    assert store.load(lost.id).status == "lost"
    store.delete(lost)
    store.purge()
    assert not Path(f"store/storage/{lost.id}").exists()


def test_a_suspended_run_is_lost_after_a_minute_and_completes_all_the_same(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    job = start(LOGS, "3")
    (seen,) = wait_for(lambda: Path("store/running").exists() and listed("running"))
    job.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    beat = Path(f"store/running/{seen.id}.json")
    os.utime(beat, (time.time() - 61, time.time() - 61))
    assert [o.id for o in listed("lost")] == [seen.id]
    job.send_signal(signal.SIGCONT)
    assert job.wait() == 0
    assert listed("lost") == []
    assert [o.id for o in listed("completed")] == [seen.id]


def test_a_run_of_another_host_is_judged_by_its_beats(folder: Path) -> None:
    @experiment(root="store")
    def short() -> None: ...

    short()
    (record,) = short.observations()
    running = folder / "store" / "running"
    running.mkdir()
    heartbeat = {"pid": 1, "host": "elsewhere", "process": "0"}
    beat = {"format": 4, "id": "2026-01-01_00-00-00_000000_aaaaaa", "config": {}, "result": None}
    beat["metadata"] = {"status": "running", "experiment": "short", "heartbeat": heartbeat}
    path = running / f"{beat['id']}.json"
    path.write_text(json.dumps(beat))
    assert len(listed("running")) == 1
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert len(listed("lost")) == 1
    path.write_text(json.dumps(beat)[:50])
    assert [d.kind for d in open_experiment("store").check().damages] == ["run"]
    assert listed("running") == listed("lost") == []
    assert len(open_experiment("store").repair().damages) == 1
    assert open_experiment("store").check().ok
    left = running / f"{record.id}.json"  # killed between its record and this file's removal
    left.write_text(json.dumps({**beat, "id": record.id}))
    assert listed("running") == []
    assert open_experiment("store").gc().leftovers == 1
    assert not left.exists()


def test_forked_processes_log_to_the_run_that_forked_them() -> None:
    @experiment(root="store")
    def fit() -> None:
        de.log_metric("parent", 1)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_log_some, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        de.log_metric("parent", 2)

    fit()
    (found,) = fit.observations()
    assert sorted(found.metrics("child")["value"]) == [0, 0, 1, 1, 2, 2]
    assert found.metrics("parent")["value"].tolist() == [1, 2]
    assert found.metadata["metrics"]["child"]["count"] == 6
    assert len(fit.observations(status=None)) == 1


def test_what_a_forked_process_could_only_lose_is_refused() -> None:
    @experiment(root="store")
    def fit() -> list[str]:
        calls = [("log_param", "a", 1), ("log_features", ["a"]), ("log_dict", "a", {})]
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return pool.map(_refused, calls)

    assert fit() == ["it is for the process that started the run"] * 3


def _refused(call: tuple[Any, ...]) -> str:
    function, *arguments = call
    with pytest.raises(NoActiveRun, match="works in the process that started the run"):
        getattr(de, function)(*arguments)
    return "it is for the process that started the run"


def _log_some(n: int) -> None:
    for _ in range(2):
        de.log_metric("child", n)


def test_forks_do_not_warn_of_threads_nor_hang() -> None:
    code = (
        "import os, time\n"
        "from digital_experiments import experiment, log_metric\n"
        "@experiment(root='store')\n"
        "def fit():\n"
        "    print('go', flush=True)\n"
        "    time.sleep(1.2)\n"
        "    for n in range(20):\n"
        "        log_metric('a', n)\n"
        "        pid = os.fork()\n"
        "        if pid == 0:\n"
        "            log_metric('b', n)\n"
        "            os._exit(0)\n"
        "        os.waitpid(pid, 0)\n"
        "fit()\n"
    )
    Path("fork.py").write_text(code)
    seen = subprocess.run(
        [sys.executable, "-W", "error", "fork.py"], capture_output=True, text=True
    )
    assert seen.returncode == 0, seen.stderr
    (found,) = open_experiment("store").observations()
    assert found.metrics("a")["value"].tolist() == list(range(20))


@pytest.mark.parametrize("end", ["os._exit(3)", "sys.exit(3)", "raise SystemExit(3)"])
def test_the_end_of_the_process_in_a_run_loses_nothing_that_was_flushed(end: str) -> None:
    code = (
        "import os, sys, time\n"
        "from digital_experiments import experiment, log_metric\n"
        "@experiment(root='store')\n"
        "def fit():\n"
        "    log_metric('a', 1)\n"
        "    time.sleep(1.5)\n"
        f"    {end}\n"
        "fit()\n"
    )
    Path("end.py").write_text(code)
    before = time.time()
    assert subprocess.run([sys.executable, "end.py"], check=False).returncode == 3
    assert time.time() - before < 15
    (found,) = open_experiment("store").observations(status=["lost", "interrupted"])
    assert found.status == ("lost" if "_exit(3)" in end and "os." in end else "interrupted")
    assert found.metrics("a")["value"].tolist() == [1]


def test_a_daemon_thread_that_outlives_the_run_neither_hangs_nor_loses() -> None:
    code = (
        "import contextvars, threading, time\n"
        "from digital_experiments import experiment, log_metric\n"
        "from digital_experiments.errors import NoActiveRun\n"
        "def work():\n"
        "    while True:\n"
        "        log_metric('a', 1)\n"
        "        time.sleep(0.001)\n"
        "def guarded():\n"
        "    try: work()\n"
        "    except NoActiveRun: print('refused', flush=True)\n"
        "@experiment(root='store')\n"
        "def fit():\n"
        "    context = contextvars.copy_context()\n"
        "    threading.Thread(target=context.run, args=(guarded,), daemon=True).start()\n"
        "    time.sleep(0.3)\n"
        "fit()\n"
        "time.sleep(0.1)\n"
    )
    Path("daemon.py").write_text(code)
    seen = subprocess.run([sys.executable, "daemon.py"], capture_output=True, text=True, timeout=30)
    assert (seen.returncode, seen.stdout) == (0, "refused\n")
    (found,) = open_experiment("store").observations()
    assert found.metadata["metrics"]["a"]["count"] == len(found.metrics("a")) > 10


def test_the_thread_that_looks_after_runs_ends_after_them() -> None:
    @experiment
    def slow() -> None:
        time.sleep(0.6)
        assert [t.name for t in threading.enumerate() if "heart" in t.name]

    slow()
    wait_for(lambda: not [t for t in threading.enumerate() if "heart" in t.name], 5)
    with pytest.raises(NoActiveRun):
        de.log_metric("a", 1)
