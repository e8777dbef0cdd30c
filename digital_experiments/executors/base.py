"""The contract of executors: who runs one function on many arguments, and where."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, Self

Task = Callable[[Any], Any]


class WorkerDied(Exception):
    """The worker that ran a task is gone, and nobody knows what came of the task."""


class Executor(ABC):
    """Runs one function on many arguments: here, in threads, in processes, on a cluster.

    It knows a function and its arguments, nothing of experiments.

    Starting
        :meth:`start` is called once, before all else, with the function.
    Submitting
        :meth:`submit` returns at once, or when there is room, with a
        :class:`concurrent.futures.Future` for the function's value. An exception in it means
        that the function raised it; WorkerDied that the worker is gone; TimeoutError that it was
        ended because its time was over. What one task comes to harms no other.
    Stopping
        :meth:`stop` waits for what has begun, or with ``at_once=True`` ends it where that can be
        done. No process or thread of the executor stays behind. It may be called twice.

    Attributes
    ----------
    workers : int
        How many tasks run at once.
    keeps_time : bool
        Whether a timeout really ends a task.
    awaits : bool
        Whether the function is a coroutine function.
    shares_interpreter : bool
        Whether workers are threads of this process, of which one at a time runs Python.
    travels : bool
        Whether the function and its arguments go to other processes.
    """

    keeps_time: ClassVar[bool] = False
    awaits: ClassVar[bool] = False
    shares_interpreter: ClassVar[bool] = False
    travels: bool = False
    workers: int = 1

    @abstractmethod
    def start(self, function: Task) -> None:
        """Make ready to run a function."""

    @abstractmethod
    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have the function run on an argument, for at most ``timeout`` seconds."""

    @abstractmethod
    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun, or end it; then leave nothing behind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(at_once=error is not None)


def checked_workers(workers: int | None) -> int:
    """A number of workers; by default as many as this process may use cores.

    Raises
    ------
    ValueError
        If it is not a positive whole number.
    """
    if workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else (os.cpu_count() or 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a number of workers, 1 or more, not {workers!r}.")
    return workers
