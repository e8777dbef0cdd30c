"""Backends by name. Hands on :class:`Backend` and keeps the list of those registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from digital_experiments.backends.base import Backend, UnusableBackend
from digital_experiments.backends.files import FileBackend, JSONBackend, PickleBackend, YAMLBackend
from digital_experiments.errors import UnknownBackend, did_you_mean

__all__ = [
    "Backend",
    "FileBackend",
    "JSONBackend",
    "PickleBackend",
    "UnusableBackend",
    "YAMLBackend",
    "backend_class",
    "register_backend",
]

_B = TypeVar("_B", bound=type[Backend])

_BACKENDS: dict[str, type[Backend]] = {
    "pickle": PickleBackend,
    "json": JSONBackend,
    "yaml": YAMLBackend,
}


def register_backend(name: str) -> Callable[[_B], _B]:
    """Make a backend available as ``@experiment(backend=name)``.

    Parameters
    ----------
    name : str
        Its name from now on; a name that was registered before is given anew.

    Raises
    ------
    TypeError
        If what is decorated is no subclass of :class:`Backend`.

    Examples
    --------
    >>> from digital_experiments import Backend, register_backend
    >>> @register_backend("memory")
    ... class MemoryBackend(Backend):
    ...     kept = {}
    ...     def record(self, observation):
    ...         self.kept[observation.id] = observation
    ...     def load(self, id):
    ...         return self.kept[id]
    ...     def all_ids(self):
    ...         return list(self.kept)
    """

    def register(kind: _B) -> _B:
        if not (isinstance(kind, type) and issubclass(kind, Backend)):
            raise TypeError(f"expected a subclass of Backend to register, not {kind!r}.")
        _BACKENDS[name] = kind
        return kind

    return register


def backend_class(backend: str | type[Backend]) -> type[Backend]:
    """The class of a backend, by its name.

    Raises
    ------
    UnknownBackend
        With the names there are, and the nearest.
    """
    if isinstance(backend, type) and issubclass(backend, Backend):
        return backend
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a name or a subclass of Backend, not {backend!r}.")
    if backend not in _BACKENDS:
        raise UnknownBackend(
            f"Unknown backend {backend!r}. {did_you_mean(backend, _BACKENDS)} "
            "A backend of your own is made known by @register_backend."
        )
    return _BACKENDS[backend]
