"""What goes to another process, and how; what can't go is told by name before it is tried."""

from __future__ import annotations

import inspect
import io
import pickle
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from digital_experiments.callbacks.code import plain_function
from digital_experiments.many.calls import Call, Numbered
from digital_experiments.store.blobs import Blobs

LARGE = 65_536  # bytes of an argument that is put into the store rather than sent


class Parcel(NamedTuple):
    """Stands for a large argument, which is in a blob of the store."""

    blob: str


def packed(value: Any) -> bytes:
    """A value as bytes: by name what can be found by its name elsewhere, by value the rest."""
    file = io.BytesIO()
    _packer()(file, 5).dump(value)
    return file.getvalue()


@cache
def _packer() -> Any:
    import cloudpickle

    class Packer(cloudpickle.Pickler):  # type: ignore[misc] # it has no hints
        def reducer_override(self, value: Any) -> Any:
            if hasattr(type(value), "by_value") and value.__module__ == "__main__":
                return value.by_value()  # another process has another __main__
            return super().reducer_override(value)

    return Packer


def light(call: Call, blobs: Blobs) -> Call:
    """A call with parcels in place of its large arguments, each in the store once."""
    args = tuple(_light(value, blobs) for value in call.args)
    kwargs = {name: _light(value, blobs) for name, value in call.kwargs.items()}
    return call._replace(args=args, kwargs=kwargs)


def _light(value: Any, blobs: Blobs) -> Any:
    data = packed(value)
    return Parcel(blobs.put(data, "cloudpickle")) if len(data) > LARGE else value


def whole(call: Call, blobs: Blobs) -> Call:
    """A call as it was before it was made light."""
    args = tuple(_whole(value, blobs) for value in call.args)
    kwargs = {name: _whole(value, blobs) for name, value in call.kwargs.items()}
    return call._replace(args=args, kwargs=kwargs)


def _whole(value: Any, blobs: Blobs) -> Any:
    return pickle.loads(blobs.bytes_of(value.blob)) if isinstance(value, Parcel) else value


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
                f"{problem}. Have each worker make its own: put what makes it into a function, "
                f"decorate that with @resource, and call it in {experiment.name!r}."
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
    for number, call in calls:
        for name, value in [*enumerate(call.args), *call.kwargs.items()]:
            reason = _can_travel(value)
            if reason is not None:
                raise TypeError(
                    f"Argument {name!r} of config {number} can't be sent to a worker, "
                    f"because {reason}. Give what it is made from, and make it in the function."
                ) from problem


def unfit_of(config: Mapping[str, Any]) -> tuple[str, Exception] | None:
    """A value of a config that can't travel to a worker, and why; None if all can."""
    reasons = ((name, _can_travel(value)) for name, value in config.items())
    return next(((name, why) for name, why in reasons if why is not None), None)


def fit_to_travel(error: BaseException) -> BaseException:
    """The exception, or one that can be pickled in its place."""
    try:
        pickle.loads(packed(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
