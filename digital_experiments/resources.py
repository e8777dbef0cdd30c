"""Resources: what each worker makes once and keeps - a connection, a model, a client.

A worker is a thread: so what a library allows in one thread only is safe, and threads that work
side by side do not share it. Knows no run.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from digital_experiments.config import Binder
from digital_experiments.options import call_kind, name_if_found, name_of

T = TypeVar("T")
_watched: set[int] = set()  # processes whose end is heard of
_numbers = itertools.count()
_held: weakref.WeakSet[_Held] = weakref.WeakSet()
_inherited: list[Any] = []  # what belongs to the process that this one was forked from


class _Held:
    """A value that a thread has made; closed when the thread ends, or its process."""

    def __init__(self, name: str, value: Any, rest: Any) -> None:
        self.number = next(_numbers)
        self.process = os.getpid()
        self.value = value
        self.close = weakref.finalize(self, _close, name, value, rest, self.process)


def _close(name: str, value: Any, rest: Any, process: int) -> None:
    if process != os.getpid():
        _inherited.append((value, rest))  # closing it here might close it there
        return
    try:
        if rest is not None:
            next(rest, None)
        elif hasattr(value, "close"):
            value.close()
    except Exception as problem:
        text = f"Resource {name!r} could not be closed: {type(problem).__name__}: {problem}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _close_at_end(process: int) -> None:
    """Have what a process of :mod:`multiprocessing` holds closed at its end.

    Of other processes :func:`weakref.finalize` sees to that.
    """
    import multiprocessing.util

    if process not in _watched:
        _watched.add(process)
        if multiprocessing.parent_process() is not None:
            multiprocessing.util.Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for held in sorted(_held, key=lambda held: held.number, reverse=True):
        held.close()


class Resource(Generic[T]):
    """What each worker makes once. Made by :func:`resource`; call it to get the value.

    Attributes
    ----------
    name : str
        The name of the function that makes it.
    function : callable
        That function.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        if not callable(function):
            raise TypeError(f"@resource expects a function that makes it, not {function!r}.")
        self.name = name_of(function)
        kind = call_kind(function)
        if kind in ("coroutine", "async generator"):
            raise TypeError(
                f"{self.name!r} is a coroutine function: a resource is made by a plain function, "
                "or by a generator that yields it once."
            )
        try:
            Binder(function)((), {})
        except TypeError:
            raise TypeError(
                f"{self.name!r} has parameters without defaults: a worker makes a resource by "
                "itself, and has nothing to give it."
            ) from None
        functools.update_wrapper(self, function)
        self.function = function
        self._yields = kind == "generator"
        self._mine = threading.local()

    def __call__(self) -> T:
        """The value of this worker, made if it has none yet."""
        held: _Held | None = getattr(self._mine, "held", None)
        if held is None or held.process != os.getpid() or not held.close.alive:
            held = self._mine.held = self._make()
            _held.add(held)
            _close_at_end(held.process)
        value: T = held.value
        return value

    def _make(self) -> _Held:
        made: Any = self.function()
        if not self._yields:
            return _Held(self.name, made, None)
        try:
            return _Held(self.name, next(made), made)
        except StopIteration:
            raise RuntimeError(f"Resource {self.name!r} has ended without a yield.") from None

    def close(self) -> None:
        """Close this worker's value, if it has one; the next call makes another."""
        held: _Held | None = getattr(self._mine, "held", None)
        if held is not None:
            held.close()
            del self._mine.held

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By name where it is found under its name; never with its value."""
        return name_if_found(self) or self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """How to pickle it for a process that can't find it under its name."""
        return (Resource, (self.function,))

    def __repr__(self) -> str:
        return f"Resource({self.name})"


def resource(function: Callable[[], Any]) -> Resource[Any]:
    """Have each worker make something once: a connection, a loaded model, a client.

    Call it to get the value, in a run or anywhere. Each thread has its own, made when it is first
    asked for, and closed when the thread or the process ends: by the rest of a generator, or by
    the value's ``close()`` if it has one. It never travels: a worker that is handed a function
    which uses it makes one of its own.

    Parameters
    ----------
    function : callable
        What makes it, without parameters: returns it, or yields it once and cleans up after.

    Returns
    -------
    Resource

    Raises
    ------
    TypeError
        For a coroutine function, and one that needs arguments.

    Examples
    --------
    >>> import sqlite3
    >>> from digital_experiments import experiment, resource
    >>> @resource
    ... def database():
    ...     connection = sqlite3.connect(":memory:")
    ...     yield connection
    ...     connection.close()
    >>> @experiment
    ... def double(x):
    ...     return database().execute("select 2 * ?", (x,)).fetchone()[0]
    >>> [o.result for o in double.map([{"x": 1}, {"x": 2}], executor="thread")]
    [2, 4]
    >>> database() is database()
    True
    >>> database.close()
    """
    return Resource(function)
