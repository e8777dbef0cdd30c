"""Who runs a function on many arguments. Knows no experiment."""

from __future__ import annotations

import concurrent.futures

from digital_experiments.errors import did_you_mean
from digital_experiments.executors.base import Executor, WorkerDied
from digital_experiments.executors.futures import FuturesExecutor
from digital_experiments.executors.local import AsyncExecutor, SerialExecutor, ThreadExecutor
from digital_experiments.executors.process import ProcessExecutor

__all__ = [
    "AsyncExecutor",
    "Executor",
    "FuturesExecutor",
    "ProcessExecutor",
    "SerialExecutor",
    "ThreadExecutor",
    "WorkerDied",
    "executor_of",
]

_NAMED: dict[str, type[Executor]] = {
    "serial": SerialExecutor,
    "thread": ThreadExecutor,
    "process": ProcessExecutor,
    "async": AsyncExecutor,
}


def executor_of(named: object, workers: int | None = None) -> Executor:
    """The executor of a name, or for an object that is one.

    Raises
    ------
    ValueError
        For another name, or a wrong number of workers.
    TypeError
        For what is no executor.
    """
    if isinstance(named, str):
        if named not in _NAMED:
            raise ValueError(f"There is no executor {named!r}. {did_you_mean(named, _NAMED)}")
        made: Executor = _NAMED[named](workers)  # type: ignore[call-arg] # each takes them
        return made
    if workers is not None:
        raise ValueError("workers= goes with an executor's name; this one has its own number.")
    if isinstance(named, concurrent.futures.Executor):
        return FuturesExecutor(named)
    if isinstance(named, Executor):
        return named
    raise TypeError(
        f"executor must be {', '.join(map(repr, _NAMED))}, an Executor, or one of "
        f"concurrent.futures, not {named!r}."
    )
