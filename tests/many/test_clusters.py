"""Dask and Ray, really started: a sweep on a cluster loses nothing and repeats nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from digital_experiments import Experiment, experiment
from digital_experiments.executors import Executor, executor_of
from digital_experiments.testing import ExecutorSuite

CI = bool(os.environ.get("DE_CI"))
if CI:  # there a missing part is a failure
    import distributed
    import ray
else:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
EVERYWHERE = ["dask", "ray"]


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Any]]:
    """What is started once for many tests."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    )
    with cluster, distributed.Client(cluster) as client:
        yield {"dask": client, "ray": "ray"}
    ray.shutdown()


@pytest.fixture
def trial(tmp_path: Path) -> Experiment[..., Any]:
    @experiment(root=tmp_path / "store")
    def trial(x: float, seconds: float = 0.0, data: Any = None, dies_once: str = "") -> Any:
        if dies_once and not Path(dies_once).exists():
            Path(dies_once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        if x < 0:
            raise ValueError(f"{x} is negative")
        return x * x if data is None else float(data.sum())

    return trial


class TestDask(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def cluster(self, running: dict[str, Any]) -> None:
        self.client = running["dask"]

    def make(self) -> Executor:
        return executor_of(self.client)


class TestRay(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def cluster(self, running: dict[str, Any]) -> None:
        pass

    def make(self) -> Executor:
        return executor_of("ray")


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_sweep_runs_on_a_cluster_that_is_there(
    name: str, running: dict[str, Any], trial: Experiment[..., Any]
) -> None:
    found = trial.map([{"x": x} for x in [*range(20), -1]], executor=running[name])
    assert [o.result for o in found] == [*(x * x for x in range(20)), None]
    assert found[-1].status == "failed"
    assert "is negative" in found[-1].error["traceback"]
    assert len(trial.observations()) == 20  # of the code that is here
    assert "def trial" in found[0].metadata["code"]
    with pytest.raises(ValueError, match="-1 is negative"):
        trial.map([{"x": -1}], executor=running[name], on_error="raise")


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_worker_that_is_killed_costs_its_run_only(
    name: str, running: dict[str, Any], trial: Experiment[..., Any], tmp_path: Path
) -> None:
    configs = [{"x": x, "seconds": 0.01} for x in range(200)]
    configs[77]["dies_once"] = str(tmp_path / "died")
    found = trial.map(configs, executor=running[name], retries=1)
    assert [o.config["x"] for o in found] == list(range(200))
    assert {o.status for o in found} == {"completed"}
    assert len(trial.observations()) == 200
    (lost,) = trial.observations(status="lost")
    assert lost.config["x"] == 77
    assert found[77].metadata["retry_of"] == lost.id
    assert trial.observations(status="running") == []


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_run_that_takes_too_long_is_ended(
    name: str, running: dict[str, Any], trial: Experiment[..., Any]
) -> None:
    begun = time.monotonic()
    late, short = trial.map([{"x": 1, "seconds": 600}, {"x": 2}], executor=running[name], timeout=3)
    assert (late.status, short.status) == ("timeout", "completed")
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_large_argument_is_sent_once(
    name: str, running: dict[str, Any], trial: Experiment[..., Any], tmp_path: Path
) -> None:
    data = np.arange(1_000_000)
    found = trial.map([{"x": x, "data": data} for x in range(4)], executor=running[name])
    assert {o.result for o in found} == {float(data.sum())}
    np.testing.assert_array_equal(found[3].config["data"], data)
    large = [p for p in (tmp_path / "store").rglob("*") if p.stat().st_size > 1_000_000]
    assert len(large) == 1  # what was sent is what is recorded


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_worker_starts_no_workers(
    name: str, running: dict[str, Any], trial: Experiment[..., Any], tmp_path: Path
) -> None:
    @experiment(root=tmp_path / "outer")
    def outer(n: int) -> list[float]:
        inner = experiment(root=tmp_path / "inner")(lambda x: x + 1)
        with pytest.raises(RuntimeError, match="use executor='serial'"):
            inner.map([{"x": 1}], executor="process")
        return [o.result for o in inner.map([{"x": x} for x in range(n)], executor="thread")]

    (found,) = outer.map([{"n": 3}], executor=running[name])
    assert found.result == [1, 2, 3]


SCRIPT = """
import sys, time
from digital_experiments import experiment

@experiment(root="store")
def wait(x):
    time.sleep(0.2 if x < 2 else 60)
    return x

if __name__ == "__main__":
    wait.map([{"x": x} for x in range(8)], executor=sys.argv[1], workers=2)
"""


@pytest.mark.parametrize("name", EVERYWHERE)
def test_ctrl_c_ends_a_cluster_that_it_has_started(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", name], cwd=tmp_path, start_new_session=True
    )
    store = tmp_path / "store"
    deadline = time.monotonic() + 60
    while len(list(store.glob("running/*.json"))) < 2 or len(list(store.glob("*.pkl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    _, alive = psutil.wait_procs(below, 10)
    assert alive == []
    found = experiment(root=store, name="wait")(lambda x: x).observations(
        status=None, current_code_only=False
    )
    assert sorted(o.status for o in found) == ["completed"] * 2 + ["interrupted"] * 2


def test_a_script_that_lacks_the_guard_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from digital_experiments import experiment\n"
        "f = experiment(root='store')(lambda x: x)\n"
        "f.map([{'x': 1}], executor='dask', workers=1)\n"
    )
    told = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.returncode == 1
    assert "has to stand below `if __name__ == '__main__':`" in told.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_whatever_is_raised_ends_its_run_only(
    name: str, running: dict[str, Any], tmp_path: Path
) -> None:
    class Stop(BaseException):
        pass

    @experiment(root=tmp_path / "stops")
    def stop(x: int) -> int:
        if x == 1:
            raise Stop("enough")
        if x == 2:
            sys.exit(3)
        return x

    found = stop.map([{"x": x} for x in range(4)], executor=running[name])
    assert [o.result for o in found] == [0, None, None, 3]
    assert {o.status for o in found[1:3]} == {"interrupted"}
