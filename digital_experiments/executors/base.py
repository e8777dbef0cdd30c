"""The contract of executors: who runs one function on many arguments, and where."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ClassVar, Self

Task = Callable[[Any], Any]
in_worker: ContextVar[str] = ContextVar("digital_experiments_in_worker", default="")
"""The executor that runs what runs here."""


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
    draws_too : bool
        Whether its workers draw from the global generators of random numbers themselves.
    travels : bool
        Whether the function and its arguments go to other processes.
    restarts : bool
        Whether it may start a task again, by itself, when the worker that was at it has died.
    leaves : bool
        Whether what has begun goes on, somewhere, after ``stop(at_once=True)``.
    portion : float
        Seconds of work that are worth a hand-over.
    """

    keeps_time: ClassVar[bool] = False
    awaits: ClassVar[bool] = False
    shares_interpreter: ClassVar[bool] = False
    draws_too: ClassVar[bool] = False
    travels: bool = False
    restarts: ClassVar[bool] = False
    leaves: bool = False
    portion: ClassVar[float] = 0.02
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


def refuse_in_worker(name: str) -> None:
    """Refuse to start workers from within a worker.

    Raises
    ------
    RuntimeError
        In a worker.
    """
    within = in_worker.get()
    if within:
        raise RuntimeError(
            f"A run on a worker of {within!r} can't start workers of {name!r}: use "
            "executor='serial' or 'thread' there."
        )


def settle(future: Future[Any], value: Any, problem: BaseException | None) -> None:
    """Tell a future what came of it, unless it was cancelled meanwhile."""
    with suppress(InvalidStateError):
        if problem is None:
            future.set_result(value)
        else:
            future.set_exception(problem)


def give_up(future: Future[Any]) -> None:
    """Cancel a future, and wake who waits for it."""
    if future.cancel():
        future.set_running_or_notify_cancel()
