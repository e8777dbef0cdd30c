"""Workers of a Ray cluster."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import Future, wait
from functools import lru_cache, partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from digital_experiments.executors.apart import run_apart
from digital_experiments.executors.base import (
    Executor,
    Task,
    WorkerDied,
    checked_workers,
    give_up,
    in_worker,
    refuse_in_worker,
    settle,
)
from digital_experiments.ids import new_id

_PATIENCE = 10.0  # seconds that Ray has to kill what runs


class RayExecutor(Executor):
    """Workers of a Ray cluster: the one that is connected, or one on this machine.

    The function is sent to each node once. A worker that dies costs the task that it was at.

    Parameters
    ----------
    workers : int, optional
        How many tasks run at once on a cluster that is started on this machine, and is ended
        with the executor; by default one for each core.
    **options
        For the ``options`` of Ray's remote functions, such as ``num_gpus=1``.
    """

    keeps_time = True
    travels = True
    portion = 0.1

    def __init__(self, workers: int | None = None, **options: Any) -> None:
        self._asked = checked_workers(workers)
        self._options = {"max_retries": 0, "name": "run", **options}
        self._is_own = False
        self._given: dict[Future[Any], Any] = {}

    def start(self, function: Task) -> None:
        """Connect, and send the function.

        Raises
        ------
        RuntimeError
            In a worker: it can have none of its own.
        """
        import cloudpickle

        refuse_in_worker("ray")
        self._is_own = not ray.is_initialized()
        if self._is_own:
            ray.init(num_cpus=self._asked, include_dashboard=False, logging_level=logging.ERROR)
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._function = [ray.put(cloudpickle.dumps(function))]  # in a list it is not unpacked
        self._token = new_id()
        self._task = ray.remote(_work).options(**self._options)

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have a worker run it; its process is killed when its time is over."""
        future: Future[Any] = Future()
        reference = self._task.remote(self._token, self._function, argument, timeout)
        self._given[future] = reference
        reference.future().add_done_callback(partial(self._hand_on, future))
        return future

    def _hand_on(self, future: Future[Any], inner: Future[Any]) -> None:
        value, problem = None, inner.exception()
        if problem is None:
            value = inner.result()
        elif isinstance(problem, RayTaskError):
            problem = problem.cause
        elif isinstance(problem, RayError):
            problem = WorkerDied(str(problem))
        del self._given[future]
        settle(future, value, problem)

    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun, or kill it."""
        if at_once:
            self._kill(dict(self._given))
        else:
            wait(list(self._given))
        if self._is_own:
            self._is_own = False
            ray.shutdown()

    def _kill(self, given: dict[Future[Any], Any]) -> None:
        for reference in given.values():
            ray.cancel(reference, force=True)
        ray.wait(list(given.values()), num_returns=len(given), timeout=_PATIENCE)
        for future in given:
            give_up(future)


@lru_cache(maxsize=8)
def _bytes(token: str, function: Any) -> bytes:
    kept: bytes = ray.get(function)
    return kept


@lru_cache(maxsize=8)
def _loaded(token: str, function: Any) -> Task:
    loaded: Task = pickle.loads(_bytes(token, function))
    return loaded


def _work(token: str, function: list[Any], argument: Any, timeout: float | None) -> Any:
    in_worker.set("ray")
    if timeout is not None:
        return run_apart(_bytes(token, function[0]), argument, timeout)
    return _loaded(token, function[0])(argument)
