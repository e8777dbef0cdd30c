"""What an experiment is told by its options: checked at once, and made ready.

Knows backends and callbacks; nothing of runs.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from digital_experiments.backends import Backend, FileBackend, UnusableBackend
from digital_experiments.callbacks import (
    Callback,
    CodeVersioning,
    GitInfo,
    Logging,
    PipFreeze,
    SystemInfo,
    Timing,
)
from digital_experiments.errors import CallbackWarning
from digital_experiments.files import refuse_file
from digital_experiments.remote import Place, Root, check_opens, folder_of, located

OPTIONS = (
    "root",
    "name",
    "backend",
    "cache",
    "callbacks",
    "tags",
    "verbose",
    "strict",
    "retention",
    "storage_options",
    "trust",
)


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def name_if_found(made: Any) -> str | None:
    """The name under which an object is pickled, as functions are, if it is found by it."""
    name: str = getattr(made, "__qualname__", "")
    found: Any = sys.modules.get(made.__module__)
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is made else None


def call_kind(function: Callable[..., Any]) -> str:
    """What a call gives: a value, a coroutine, or a generator of either sort."""
    inner = function if inspect.isroutine(function) else vars(type(function)).get("__call__")
    for candidate in (function, inner):
        if inspect.iscoroutinefunction(candidate):
            return "coroutine"
        if inspect.isasyncgenfunction(candidate):
            return "async generator"
        if inspect.isgeneratorfunction(candidate):
            return "generator"
    return "value"


def listens(callback: Callback, hook: str) -> bool:
    """Whether a callback has a hook of its own."""
    return getattr(type(callback), hook) is not getattr(Callback, hook)


def all_callbacks(
    function: Callable[..., Any], verbose: bool, own: Sequence[Callback]
) -> list[Callback]:
    """The built-in callbacks around the user's; Timing last, so that it ends first."""
    told = [Logging()] if verbose else []
    facts = [CodeVersioning(), GitInfo(), PipFreeze(), SystemInfo()]
    callbacks: list[Callback] = [*told, *facts, *own, Timing()]
    return [callback for callback in callbacks if is_set_up(callback, function)]


def is_set_up(callback: Callback, function: Callable[..., Any]) -> bool:
    """Whether a callback could be set up; a warning says why not."""
    try:
        callback.setup(function)
    except Exception as problem:  # a callback of the user's may raise anything
        warnings.warn(
            f"Callback {type(callback).__name__}.setup raised {type(problem).__name__}: {problem}. "
            "The experiment goes on without it.",
            CallbackWarning,
            stacklevel=6,
        )
        return False
    return True


def checked_root(root: Root | None, options: Mapping[str, Any] | None, kind: type[Backend]) -> Any:
    """A root that can be the folder of a store, or the place of one on a bucket."""
    if root is None:
        if options:
            raise TypeError("storage_options are for a root such as s3://bucket/folder: give one.")
        return None
    place = located(root, options)
    if isinstance(place, Path):
        refuse_file(place)
        return root if isinstance(root, (str, os.PathLike)) and "://" not in str(root) else place
    if not issubclass(kind, FileBackend):
        raise TypeError(
            f"{place.uri} takes records that are files: backend='pickle', 'json' or 'yaml', not "
            f"{kind.__name__}."
        )
    check_opens(place)
    return place


def make_backend(
    kind: type[Backend], root: Place | str | os.PathLike[str] | None, name: str, trust: bool = False
) -> Backend:
    """The backend of an experiment, or one that tells with each run why there is none."""
    place = root or os.environ.get("DE_ROOT") or f"experiments/{name}"
    path = Path(".")
    try:
        path = folder_of(place, trust)
        backend = kind(path)
    except Exception as problem:  # a backend of the user's may raise anything
        return UnusableBackend(path, problem, place.uri if isinstance(place, Place) else None)
    return backend.trusting() if trust and isinstance(backend, FileBackend) else backend


def checked_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, each an instance."""
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of callbacks, not {callbacks!r}.")
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            hint = " Give an instance: add ()." if isinstance(callback, type) else ""
            raise TypeError(f"callbacks must be instances of Callback, not {callback!r}.{hint}")
    return callbacks
