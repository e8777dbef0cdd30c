"""What can go to another process, and what can't: told by name before it is tried."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterable
from typing import Any

from digital_experiments.callbacks.code import plain_function
from digital_experiments.calls import Numbered


def check_travels(experiment: Any) -> None:
    """Refuse a function that holds what can't be handed to another process, and name it.

    A fork would hand it over all the same: a connection or a lock that two processes use is
    worse than an error.
    """
    if _can_travel(experiment.function) is None:
        return
    inner = plain_function(experiment.function)
    held = inspect.getclosurevars(inner) if inner is not None else None
    for name, value in {**held.nonlocals, **held.globals}.items() if held else ():
        problem = None if value is experiment else _can_travel(value)
        if problem is not None:
            raise TypeError(
                f"{experiment.name!r} uses {name!r}, which can't be sent to a worker, because "
                f"{problem}. Make it in the function, or hand over what it is made from."
            )
    raise TypeError(
        f"{experiment.name!r} can't be sent to a worker: {_can_travel(experiment.function)}."
    )


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _can_travel(value: Any) -> Exception | None:
    """Why a value can't be pickled, if it can't; the data of arrays are not copied for that."""
    import cloudpickle

    try:
        cloudpickle.CloudPickler(_Nowhere(), 5, lambda buffer: False).dump(value)
    except Exception as problem:
        return problem
    return None


def name_unfit(calls: Iterable[Numbered], problem: Exception) -> None:
    """Say which argument can't travel to a worker."""
    for number, (args, kwargs) in calls:
        for name, value in [*enumerate(args), *kwargs.items()]:
            reason = _can_travel(value)
            if reason is not None:
                raise TypeError(
                    f"Argument {name!r} of config {number} can't be sent to a worker, "
                    f"because {reason}. Give what it is made from, and make it in the function."
                ) from problem


def fit_to_travel(error: BaseException) -> BaseException:
    """The exception, or one that can be pickled in its place."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
