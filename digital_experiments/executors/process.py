"""Processes of this machine, by pebble: one that dies costs its task, and no other."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import warnings
from concurrent.futures import Future
from functools import partial
from typing import Any

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

_PATIENCE = 3.0  # seconds that a worker has to end when it is told to
_FORK = r"This process .* is multi-threaded, use of fork"
_function: Task | None = None


class ProcessExecutor(Executor):
    """Processes of this machine.

    On Linux they are forked, so a function may be a lambda, a closure, or of a notebook;
    elsewhere they are started anew, and get the function by cloudpickle.

    Parameters
    ----------
    workers : int, optional
        How many; by default as many as this process may use cores.
    """

    keeps_time = True
    travels = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = checked_workers(workers)
        self._stopped = True
        self._given: set[Future[Any]] = set()

    def start(self, function: Task) -> None:
        """Start the processes.

        Raises
        ------
        RuntimeError
            In a process of such a pool: it can have none of its own.
        """
        import multiprocessing

        from pebble import ProcessPool

        refuse_in_worker("process")
        forks = sys.platform == "linux"
        warnings.filterwarnings("ignore", _FORK, DeprecationWarning)  # pebble's threads are ready
        self._pool = ProcessPool(
            max_workers=self.workers,
            initializer=_begin,
            initargs=(function if forks else _dumped(function),),
            context=multiprocessing.get_context("fork" if forks else "spawn"),
        )
        self._stopped = False

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have a process run it; it is killed when its time is over."""
        future: Future[Any] = Future()
        inner = self._pool.schedule(_work, args=(_dumped(argument),), timeout=timeout)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        inner.add_done_callback(partial(_hand_on, future))
        return future

    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun, or kill it."""
        if self._stopped:
            return
        self._stopped = True
        if at_once:
            self._pool.stop()  # type: ignore[no-untyped-call] # pebble has no hints there
        else:
            self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.join()
        for future in list(self._given):  # of those that were killed nobody tells
            give_up(future)


def _dumped(value: Any) -> bytes:
    """By name what has one, which is quick; by value what has none."""
    try:
        return pickle.dumps(value, 5)
    except Exception:
        import cloudpickle

        data: bytes = cloudpickle.dumps(value)
        return data


def _begin(function: Task | bytes) -> None:
    global _function  # a process of the pool has one function
    in_worker.set("process")
    signal.signal(signal.SIGTERM, _end)
    _function = pickle.loads(function) if isinstance(function, bytes) else function


def _end(number: int, frame: object) -> None:
    """End in order, unless that has begun: a pool closes the pipe, and then sends this signal.

    pebble's own handler would end the process at once, in the middle of its clean-up.
    """
    from multiprocessing import util

    if not util._exiting:  # type: ignore[attr-defined] # of all processes of multiprocessing
        util._exit_function()  # type: ignore[attr-defined]
        os._exit(number)


def _work(argument: bytes) -> Any:
    assert _function is not None
    return _function(pickle.loads(argument))


def _hand_on(future: Future[Any], inner: Future[Any]) -> None:
    from pebble import ProcessExpired

    if inner.cancelled():
        give_up(future)
        return
    problem = inner.exception()
    if isinstance(problem, ProcessExpired):
        problem = WorkerDied(f"its process ended with exit code {problem.exitcode}")
    settle(future, None if problem else inner.result(), problem)
