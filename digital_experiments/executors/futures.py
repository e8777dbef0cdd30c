"""Any executor of :mod:`concurrent.futures`, such as one of loky, MPI, or a cluster's own."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import BrokenExecutor, Future
from functools import lru_cache, partial
from typing import Any

from digital_experiments.executors.base import Executor, Task, WorkerDied, give_up, settle


class FuturesExecutor(Executor):
    """Hands tasks to an executor that somebody else has made, and will shut down."""

    def __init__(self, pool: concurrent.futures.Executor) -> None:
        self._pool = pool
        self.travels = not isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        self.workers = int(getattr(pool, "_max_workers", None) or 1)
        self._given: set[Future[Any]] = set()

    def start(self, function: Task) -> None:
        """Make the function fit to travel."""
        import cloudpickle

        self._task = partial(_work, cloudpickle.dumps(function)) if self.travels else function

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Hand it on."""
        future: Future[Any] = Future()
        try:
            inner = self._pool.submit(self._task, argument)
        except BrokenExecutor as problem:
            future.set_exception(WorkerDied(f"the executor is broken: {problem}"))
            return future
        self._given.add(inner)
        inner.add_done_callback(partial(self._hand_on, future))
        return future

    def _hand_on(self, future: Future[Any], inner: Future[Any]) -> None:
        self._given.discard(inner)
        if inner.cancelled():
            give_up(future)
            return
        problem = inner.exception()
        if isinstance(problem, BrokenExecutor):
            problem = WorkerDied(str(problem))
        settle(future, None if problem else inner.result(), problem)

    def stop(self, at_once: bool = False) -> None:
        """Take back what has not begun, and wait for the rest; the executor lives on."""
        given = list(self._given)
        for future in given if at_once else ():
            future.cancel()
        concurrent.futures.wait(given)


@lru_cache(maxsize=8)
def _loaded(function: bytes) -> Task:
    import pickle

    loaded: Task = pickle.loads(function)
    return loaded


def _work(function: bytes, argument: Any) -> Any:
    return _loaded(function)(argument)
