"""Who runs a function on many arguments. Knows no experiment."""

from __future__ import annotations

import concurrent.futures
from importlib import import_module
from typing import Any

from digital_experiments.errors import did_you_mean
from digital_experiments.executors.base import Executor, WorkerDied
from digital_experiments.executors.futures import FuturesExecutor
from digital_experiments.executors.local import AsyncExecutor, SerialExecutor, ThreadExecutor
from digital_experiments.executors.process import ProcessExecutor

__all__ = [
    "AsyncExecutor",
    "DaskExecutor",
    "Executor",
    "FuturesExecutor",
    "ProcessExecutor",
    "RayExecutor",
    "SerialExecutor",
    "SlurmExecutor",
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
_CLUSTERS = {"dask": "DaskExecutor", "ray": "RayExecutor", "slurm": "SlurmExecutor"}


def executor_of(named: object, workers: int | None = None) -> Executor:
    """The executor of a name, or for an object that is one.

    Parameters
    ----------
    named
        A name; an Executor; an executor of :mod:`concurrent.futures`; a client or a cluster of
        Dask.
    workers : int, optional
        How many workers one of a name is to have.

    Raises
    ------
    ValueError
        For another name, or a wrong number of workers.
    TypeError
        For what is no executor.
    ModuleNotFoundError
        If what it needs is not installed.
    """
    if isinstance(named, str):
        made: Executor = _class_of(named)(workers=workers)
        return made
    if workers is not None:
        raise ValueError("workers= goes with an executor's name; this one has its own number.")
    if isinstance(named, concurrent.futures.Executor):
        return FuturesExecutor(named)
    if type(named).__module__.partition(".")[0] in ("distributed", "dask_jobqueue"):
        named = _cluster_class("dask")(named)
    if isinstance(named, Executor):
        return named
    raise TypeError(
        f"executor must be {', '.join(map(repr, [*_NAMED, *_CLUSTERS]))}, an Executor, a client "
        f"or cluster of Dask, or one of concurrent.futures, not {named!r}."
    )


def checked_name(name: str) -> str:
    """The name of an executor; what that needs may not be installed here.

    Raises
    ------
    ValueError
        For another name.
    """
    known = {**_NAMED, **_CLUSTERS}
    if name not in known:
        raise ValueError(f"There is no executor {name!r}. {did_you_mean(name, known)}")
    return name


def _class_of(name: str) -> Any:
    checked_name(name)
    return _NAMED.get(name) or _cluster_class(name)


def _cluster_class(name: str) -> Any:
    try:
        module = import_module(f"digital_experiments.executors.{name}")
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            f"executor={name!r} needs more packages: pip install 'digital-experiments[{name}]'."
        ) from problem
    return getattr(module, _CLUSTERS[name])


def __getattr__(name: str) -> Any:
    for short, long in _CLUSTERS.items():
        if name == long:
            return _cluster_class(short)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
