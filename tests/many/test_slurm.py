"""A real Slurm, as `start_slurm.sh` starts it: jobs that are killed or cancelled cost their run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import Experiment, experiment
from digital_experiments.executors import Executor, executor_of
from digital_experiments.testing import ExecutorSuite


def _answers() -> bool:
    if shutil.which("sinfo") is None:
        return False
    asked = subprocess.run(["sinfo", "-h"], capture_output=True, timeout=20)
    return asked.returncode == 0


if not os.environ.get("DE_CI"):  # there a missing part is a failure
    pytest.importorskip("submitit", reason="submitit is not installed")
    if not _answers():
        pytest.skip(
            "no Slurm answers; tests/many/start_slurm.sh starts one", allow_module_level=True
        )

from digital_experiments.executors import SlurmExecutor  # noqa: E402 # it needs submitit


def jobs(name: str) -> list[str]:
    command = ["squeue", "-h", "-o", "%i", "-n", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def trial(tmp_path: Path) -> Experiment[..., Any]:
    @experiment(root=tmp_path / "store")
    def trial(x: float, seconds: float = 0.0, dies_once: str = "") -> float:
        if dies_once and not Path(dies_once).exists():
            Path(dies_once).write_text(os.environ["SLURM_JOB_ID"])
            if "killed" in dies_once:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        time.sleep(seconds)
        if x < 0:
            raise ValueError(f"{x} is negative")
        return x * x

    return trial


class TestSlurm(ExecutorSuite):
    tasks = 6

    def make(self) -> Executor:
        return executor_of("slurm", 2)


def test_jobs_that_are_killed_or_cancelled_are_lost_and_made_again(
    trial: Experiment[..., Any], tmp_path: Path
) -> None:
    configs: list[dict[str, Any]] = [{"x": x, "seconds": 0.05} for x in range(60)]
    configs[20]["dies_once"] = str(tmp_path / "killed")
    configs[40]["dies_once"] = str(cancelled := tmp_path / "cancelled")

    def cancel() -> None:
        while not (cancelled.exists() and (job := cancelled.read_text())):
            time.sleep(0.1)
        subprocess.run(["scancel", job], check=True)

    threading.Thread(target=cancel, daemon=True).start()
    found = trial.map(configs, executor=SlurmExecutor(2, job_name="kills"), retries=1)
    assert [o.config["x"] for o in found] == list(range(60))
    assert {o.status for o in found} == {"completed"}
    assert len(trial.observations()) == 60
    lost = {o.config["x"]: o for o in trial.observations(status="lost")}
    assert set(lost) == {20, 40}
    assert found[20].metadata["retry_of"] == lost[20].id
    assert "Slurm's job" in lost[20].error["message"]
    assert jobs("kills") == []


def test_a_run_that_takes_too_long_is_ended(trial: Experiment[..., Any]) -> None:
    configs = [{"x": 1, "seconds": 600}, {"x": -2}]
    late, bad = trial.map(configs, executor=SlurmExecutor(2, time=5), timeout=3)
    assert (late.status, bad.status) == ("timeout", "failed")
    assert "is negative" in bad.error["traceback"]


def test_what_slurm_refuses_is_told(trial: Experiment[..., Any], tmp_path: Path) -> None:
    executor = SlurmExecutor(1, folder=tmp_path / "jobs", partition="there_is_none")
    with pytest.raises(RuntimeError, match="invalid partition"):
        trial.map([{"x": 1}], executor=executor)
    assert trial.observations(status=None) == []


SCRIPT = """
import time
from digital_experiments import experiment
from digital_experiments.executors import SlurmExecutor

@experiment(root="store")
def wait(x):
    time.sleep(600 if x else 0.1)
    return x

if __name__ == "__main__":
    wait.map([{"x": x} for x in range(6)], executor=SlurmExecutor(2, job_name="ended"))
"""


def test_ctrl_c_cancels_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, start_new_session=True)
    store = tmp_path / "store"
    deadline = time.monotonic() + 60
    while not (list(store.glob("running/*.json")) and list(store.glob("*.pkl"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    deadline = time.monotonic() + 30
    while jobs("ended"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = experiment(root=store, name="wait")(lambda x: x).observations(
        status=None, current_code_only=False
    )
    ended = [o.status for o in found]
    assert ended[0] == "completed"
    assert ended.count("interrupted") in (1, 2)
    assert set(ended) == {"completed", "interrupted"}
