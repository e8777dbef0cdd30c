"""Every executor keeps the contract, and a process that dies costs its own task only."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from digital_experiments.executors import (
    AsyncExecutor,
    Executor,
    FuturesExecutor,
    ProcessExecutor,
    SerialExecutor,
    ThreadExecutor,
    WorkerDied,
    executor_of,
)
from digital_experiments.testing import ExecutorSuite


class TestSerial(ExecutorSuite):
    def make(self) -> Executor:
        return SerialExecutor()


class TestThread(ExecutorSuite):
    def make(self) -> Executor:
        return ThreadExecutor(2)


class TestProcess(ExecutorSuite):
    def make(self) -> Executor:
        return ProcessExecutor(2)


class TestAsync(ExecutorSuite):
    def make(self) -> Executor:
        return AsyncExecutor(10)


class TestFutures(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def pool(self) -> Iterator[None]:
        with concurrent.futures.ThreadPoolExecutor(2) as self.threads:
            yield

    def make(self) -> Executor:
        return FuturesExecutor(self.threads)


def test_a_process_that_dies_costs_its_own_task() -> None:
    def work(task: str) -> str:
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with ProcessExecutor(2) as executor:
        executor.start(work)
        futures = [executor.submit(task) for task in ("a", "die", "b", "die", "c")]
        for future, task in zip(futures, ("a", None, "b", None, "c"), strict=True):
            if task is None:
                with pytest.raises(WorkerDied, match="exit code"):
                    future.result(30)
            else:
                assert future.result(30) == task


def test_executors_go_by_name() -> None:
    assert isinstance(executor_of("process", 3), ProcessExecutor)
    assert executor_of("thread", 3).workers == 3
    with pytest.raises(ValueError, match="Did you mean 'process'"):
        executor_of("proces")
    for workers in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="1 or more"):
            executor_of("process", workers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one after another"):
        executor_of("serial", 2)
    with pytest.raises(TypeError, match="must be 'serial'"):
        executor_of(5)
    with pytest.raises(ValueError, match="goes with an executor's name"):
        executor_of(ThreadExecutor(2), 3)


@pytest.mark.parametrize(
    ("name", "library"), [("dask", "distributed"), ("ray", "ray"), ("slurm", "submitit")]
)
def test_a_missing_cluster_library_names_the_extra(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"digital_experiments.executors.{name}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"digital-experiments\[{name}\]"):
        executor_of(name)
